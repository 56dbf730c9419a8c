"""Where the `opsconductor` command begins."""

from __future__ import annotations

import gc
import sys

_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Importing makes 60,000 objects and no garbage; Python's 700 would look through them again and again meanwhile, a
tenth of the time that a short command takes."""


def main() -> None:
    """Run the command line of this process and exit with its code."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)
    from opsconductor.bootstrap.runtime import LocalRuntime
    from opsconductor.interfaces.cli.main import run_cli

    run_cli(LocalRuntime(), sys.argv[1:])
