"""`opsconductor doctor`: what works on this machine, and how to mend the rest."""

from __future__ import annotations

import asyncio

import click

from opsconductor.interfaces.cli.output import print_json, show
from opsconductor.interfaces.cli.tools import JSON
from opsconductor.interfaces.ports import Runtime

_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}
_INSTALL = "Debian: apt-get install "


@click.command()
@JSON
@click.pass_obj
def doctor(runtime: Runtime, as_json: bool) -> int:
    """Check settings, state folder, journal, catalog, services and the programs that tools need."""
    checks = asyncio.run(runtime.examine())
    broken = [check for check in checks if check["level"] == "error"]
    if as_json:
        print_json({"ok": not broken, "checks": checks})
        return 1 if broken else 0
    installable = [check for check in checks if check["fix"].startswith(_INSTALL)]
    for check in checks:
        if check not in installable:
            _show(check["level"], f"{check['check']}: {check['detail']}", check["fix"])
    if installable:
        names = ", ".join(check["check"] for check in installable)
        packages = sorted({word for check in installable for word in check["fix"].removeprefix(_INSTALL).split()})
        _show("warning", f"programs that are not installed here are needed by: {names}", _INSTALL + " ".join(packages))
    return 1 if broken else 0


def _show(level: str, text: str, fix: str) -> None:
    show(f"{_MARKS[level]} {text}", indent=4)
    if fix:
        show(f"    fix: {fix}", indent=9)
