"""Where the `opsconductor` command begins."""

from __future__ import annotations

import gc
import os
import sys

_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Importing makes 60,000 objects and no garbage; Python's 700 would look through them again and again meanwhile, a
tenth of the time that a short command takes."""


def main() -> None:
    """Run the command line of this process and exit with its code."""
    _complete_streams()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)
    from opsconductor.bootstrap.runtime import LocalRuntime
    from opsconductor.interfaces.cli.main import run_cli

    run_cli(LocalRuntime(), sys.argv[1:])


def _complete_streams() -> None:
    """Put /dev/null where a standard stream was closed (`>&-`).

    Python then has None there, and the next files that are opened would become streams 0 to 2: of this process, and of
    the programs that it starts.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is not None:
            continue
        fd = os.open(os.devnull, os.O_RDWR)
        if fd != number:
            os.dup2(fd, number)
            os.close(fd)
        os.set_inheritable(number, True)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for good
