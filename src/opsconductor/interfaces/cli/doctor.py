"""`opsconductor doctor`: what works on this machine, and how to mend the rest."""

from __future__ import annotations

import asyncio

import click

from opsconductor.interfaces.cli.output import print_json, show
from opsconductor.interfaces.cli.tools import JSON
from opsconductor.interfaces.ports import Runtime


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
    marks = {"ok": "✓", "warning": "!", "error": "✗"}
    for check in checks:
        show(f"{marks[check['level']]} {check['check']}: {check['detail']}", indent=4)
        if check["fix"]:
            show(f"    fix: {check['fix']}", indent=9)
    return 1 if broken else 0
