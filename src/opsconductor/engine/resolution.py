"""What the tool, operation, service and target of a step are: asked by validation, explain and dispatch alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import msgspec

from opsconductor.engine.plan_schema import nearest
from opsconductor.model.errors import OpsError
from opsconductor.model.names import canonical
from opsconductor.model.target import TARGET_INPUTS
from opsconductor.model.tool import Operation, Placement, ToolDefinition


class Decision(Protocol):
    """A routing decision; `routing.router` makes them."""

    @property
    def tool(self) -> str:
        """The name as the step spells it."""
        ...

    @property
    def id(self) -> str:
        """The canonical name."""
        ...

    @property
    def service(self) -> str:
        """Who answers."""
        ...

    @property
    def url(self) -> str | None:
        """Where; None means in this process."""
        ...

    @property
    def reason(self) -> str:
        """`metadata`, or `fallback:…`."""
        ...


class Router(Protocol):
    """Every name has a decision, or is refused because fallbacks are denied."""

    def resolve(self, tool: str) -> Decision:
        """Who executes `tool`. Raises OpsError(`routing_denied`)."""
        ...


class CatalogEntry(Protocol):
    """What the catalog holds for one tool."""

    @property
    def definition(self) -> ToolDefinition:
        """The tool's definition."""
        ...


class Catalog(Protocol):
    """Finds definitions by any spelling of their names."""

    def find(self, name: str) -> CatalogEntry | None:
        """The entry, or None."""
        ...

    def get(self, name: str) -> CatalogEntry:
        """The entry. Raises OpsError(`tool_not_found`) with `suggestions`, or with what broke its file."""
        ...


class Chosen(msgspec.Struct, frozen=True):
    """A definition with the operation that a step asks for; no operation where the older format has none."""

    definition: ToolDefinition
    operation_name: str | None = None
    operation: Operation | None = None

    @property
    def runs_on_target(self) -> bool:
        """Whether the operation runs on the step's target rather than from the service."""
        if self.operation is None:
            return self.definition.runs_on is Placement.TARGET
        return self.definition.placement(self.operation) is Placement.TARGET


def choose(definition: ToolDefinition, wanted: str | None) -> Chosen:
    """The operation that is meant: named, the default, or the only one. Raises OpsError(`operation_unknown`)."""
    operations = definition.operations
    if not operations:
        if wanted:
            raise OpsError("operation_unknown", f"{definition.tool_name} has no operations, found {wanted!r}")
        return Chosen(definition)
    name = wanted or definition.default_operation or (next(iter(operations)) if len(operations) == 1 else None)
    folded = None if name is None else canonical(name)
    if name is not None and folded in operations:
        return Chosen(definition, folded, operations[folded])
    listed = ", ".join(operations)
    found = "none is named and there is no default" if name is None else f"found {name!r}"
    hint = nearest(folded or "", operations)
    raise OpsError(
        "operation_unknown",
        f"{definition.tool_name}: {found}; it has {listed}",
        operation=name,
        suggestion=hint,
    )


def split_target(chosen: Chosen, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(inputs that name the target, the tool's own inputs)."""
    if not chosen.runs_on_target:
        return {}, dict(inputs)
    declared = {name for key, spec in chosen.definition.inputs.items() for name in (key, *spec.aliases)}
    naming = {key: value for key, value in inputs.items() if key in TARGET_INPUTS and key not in declared}
    return naming, {key: value for key, value in inputs.items() if key not in naming}


def target_name(naming: Mapping[str, Any], default_target: str, target: str | None = None) -> str | None:
    """The target in words: the step's `target`, what its inputs say, or the default; None when nobody named one."""
    if target:
        return target
    values = [value for value in naming.values() if value not in (None, "", [])]
    if not values:
        return default_target or None
    first = values[0]
    return ", ".join(map(str, first)) if isinstance(first, list | tuple) else str(first)


def without_credentials(url: str | None) -> str | None:
    """A URL without user and password."""
    if url is None or "@" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
