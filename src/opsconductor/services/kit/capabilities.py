"""What a service can execute on this machine, and for what it cannot the reason. Answers `GET /tools`.

Looks at programs on the fixed PATH, at privileges of this process and at settings; nothing is started.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from opsconductor.model.errors import OpsError
from opsconductor.model.tool import Operation, ToolDefinition
from opsconductor.services.kit.handlers import HandlerRegistry
from opsconductor.services.kit.selection import Catalog, CatalogEntry, owns

_CACHE_S = 10.0
_STATUS = Path("/proc/self/status")
# Bit numbers of capabilities(7), <linux/capability.h>.
_CAPABILITY_BITS = {"net_admin": 12, "net_raw": 13}


class ProgramFinder:
    """Finds programs on a PATH. What it found, or not, is believed for ten seconds."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folders = [folder for folder in path.split(os.pathsep) if folder]
        self._clock = clock
        self._known: dict[str, tuple[float, str | None]] = {}

    def find(self, program: str) -> str | None:
        """The program's absolute path; a name with '/' is taken as it is."""
        moment = self._clock()
        known = self._known.get(program)
        if known is None or moment - known[0] > _CACHE_S:
            known = self._known[program] = (moment, self._look(program))
        return known[1]

    def _look(self, program: str) -> str | None:
        places = [Path(program)] if "/" in program else [Path(folder, program) for folder in self._folders]
        return next((str(place) for place in places if place.is_file() and os.access(place, os.X_OK)), None)


def effective_capabilities(status: Path = _STATUS) -> int:
    """The process's effective capability set (CapEff in proc(5)), 0 where there is none to read."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    values = (line.split()[1] for line in lines if line.startswith("CapEff:"))
    return int(next(values, "0"), 16)


def missing_privileges(wanted: Iterable[str], *, capabilities: int, user_id: int) -> list[str]:
    """Which of `root`, `net_raw`, `net_admin` this process lacks."""
    return [
        name for name in wanted if not (user_id == 0 if name == "root" else capabilities >> _CAPABILITY_BITS[name] & 1)
    ]


def programs_of(definition: ToolDefinition, operation: Operation) -> tuple[str, ...]:
    """The programs an operation starts: what the tool requires, else the first word of its argv."""
    if operation.argv is None:
        return definition.requires.programs
    first = operation.argv[0] if operation.argv else ""
    named = (first,) if isinstance(first, str) and first and "{" not in first else ()
    return definition.requires.programs or named


def with_remedy(error: OpsError, definition: ToolDefinition | None) -> OpsError:
    """The error, and for a program that is absent also which package brings it, where the definition knows."""
    packages = definition.requires.packages if definition is not None else {}
    if error.code != "program_not_found" or not packages:
        return error
    ways = ", ".join(f"{system.capitalize()}: {package}" for system, package in packages.items())
    return OpsError(error.code, f"{error.message}; the package that brings it: {ways}", **error.context)


class Capabilities:
    """Judges operations by what is present here. `setting_present(name)` says whether a setting has a value."""

    def __init__(
        self,
        *,
        handlers: HandlerRegistry,
        environment: Mapping[str, str],
        setting_present: Callable[[str], bool],
    ) -> None:
        self._handlers = handlers
        self._programs = ProgramFinder(environment.get("PATH", ""))
        self._setting_present = setting_present

    def reason(self, definition: ToolDefinition, operation: Operation) -> str | None:
        """Why the operation cannot be executed here; None when nothing is missing."""
        if operation.not_executable is not None:
            return operation.not_executable
        if operation.handler is not None and operation.handler not in self._handlers:
            return f"handler {operation.handler} is not part of this service"
        requires = definition.requires
        missing = [name for name in programs_of(definition, operation) if self._programs.find(name) is None]
        if missing:
            package = requires.packages.get("debian")
            hint = f" (Debian package {package})" if package else ""
            return f"program not found: {', '.join(missing)}{hint}"
        if lacking := self._lacking(requires.privileges):
            return f"privilege missing: {', '.join(lacking)}"
        unset = [name for name in requires.settings if not self._setting_present(name)]
        return f"setting without a value: {', '.join(unset)}" if unset else None

    def _lacking(self, privileges: tuple[str, ...]) -> list[str]:
        if not privileges:
            return []
        return missing_privileges(privileges, capabilities=effective_capabilities(), user_id=os.geteuid())

    def listing(self, service: str, catalog: Catalog) -> list[dict[str, Any]]:
        """One entry for each operation of the service's tools.

        A tool without operations, or whose definition can be read no more, has one entry without an operation.
        """
        return [shown for entry in catalog.entries() for shown in self._entries(service, entry)]

    def _entries(self, service: str, entry: CatalogEntry) -> Iterable[dict[str, Any]]:
        tool = {"tool": entry.tool_name, "id": entry.id}
        nothing = {**tool, "operation": None, "effect": None, "runs_on": None, "executable": False}
        try:
            definition = entry.definition
        except OpsError as error:
            yield {**nothing, "reason": error.message}
            return
        if not owns(service, definition):
            return
        if not definition.operations:
            yield {**nothing, "reason": "the definition says what the tool does but not how: it has no operations"}
        for name, operation in definition.operations.items():
            reason = self.reason(definition, operation)
            yield {
                **tool,
                "operation": name,
                "effect": str(operation.effect),
                "runs_on": str(definition.placement(operation)),
                "executable": reason is None,
                "reason": reason,
            }
