"""Where the `opsconductor` command begins."""

from __future__ import annotations

import sys

from opsconductor.bootstrap.runtime import LocalRuntime
from opsconductor.interfaces.cli.main import run_cli


def main() -> None:
    """Run the command line of this process and exit with its code."""
    run_cli(LocalRuntime(), sys.argv[1:])
