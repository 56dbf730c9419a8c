"""`opsconductor doctor`: looks at everything a command needs, and says how to mend what is missing."""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from typing import Any

from opsconductor.bootstrap.machine import Machine
from opsconductor.bootstrap.services import SERVICE_NAMES
from opsconductor.model.errors import OpsError

Check = dict[str, Any]


def _check(name: str, level: str, detail: str, fix: str = "") -> Check:
    return {"check": name, "level": level, "detail": detail, "fix": fix}


async def examine(machine: Machine) -> list[Check]:
    """Checks in the order in which a failure of one explains those after it: `{"check", "level", "detail", "fix"}`."""
    version = ".".join(map(str, sys.version_info[:3]))
    checks = [_check("python", "ok", f"{version}, SQLite {sqlite3.sqlite_version}")]
    try:
        settings = machine.settings
    except OpsError as error:
        return [*checks, _check("settings", "error", error.message, "correct the variable, or unset it")]
    checks.append(_check("settings", "ok", f"state folder {settings.state_dir}"))
    try:
        conductor = await machine.embedded(person_present=True)
    except OpsError as error:
        return [*checks, _check("journal", "error", error.message, "see the message")]
    try:
        checks.append(_check("journal", "ok", "opened and writable"))
        checks.append(_catalog(machine))
        for name in SERVICE_NAMES:
            checks += await _service(machine, conductor.clients, name)
    finally:
        await conductor.close()
    return checks


def _catalog(machine: Machine) -> Check:
    catalog = machine.catalog()
    errors = [problem for problem in catalog.problems if problem.level == "error"]
    counts = Counter(entry.executable for entry in catalog.entries())
    detail = f"{len(catalog)} tools: {counts['yes']} executable, {counts['partial']} in part, {counts['no']} not yet"
    if errors:
        return _check("catalog", "warning", f"{detail}; {len(errors)} problems", "opsconductor tools lint")
    return _check("catalog", "ok", detail)


async def _service(machine: Machine, clients: Any, name: str) -> list[Check]:
    url = machine.settings.service_urls.get(name)
    where = url.rpartition("@")[2] if url else "in this process"
    try:
        answer = await clients.get(name, url).ready()
        tools = await clients.get(name, url).tools()
    except OpsError as error:
        return [_check(name, "error", f"{where}: {error.message}", "start it, or correct its URL and credential")]
    if not answer["ready"]:
        return [_check(name, "error", f"{where}: {'; '.join(answer['missing'])}", "see the message")]
    usable = [tool for tool in tools if tool["executable"]]
    checks = [_check(name, "ok", f"{where}; {len(usable)} of {len(tools)} operations can be executed here")]
    return checks + [_absent(machine, reason, sorted(names)) for reason, names in _absent_programs(tools).items()]


def _absent_programs(tools: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Reasons that an installation could mend, and the tools that have them."""
    found: dict[str, set[str]] = {}
    for tool in tools:
        reason = tool.get("reason") or ""
        if not tool["executable"] and ("install" in reason or "not found" in reason):
            found.setdefault(reason, set()).add(tool["tool"])
    return found


def _absent(machine: Machine, reason: str, names: list[str]) -> Check:
    packages = {
        package
        for name in names
        if (entry := machine.catalog().find(name)) is not None
        for package in entry.definition.requires.packages.values()
    }
    fix = f"Debian: apt-get install {' '.join(sorted(packages))}" if packages else f"install what {names[0]} needs"
    return _check(", ".join(names), "warning", reason, fix)
