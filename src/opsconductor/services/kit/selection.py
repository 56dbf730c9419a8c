"""Which operation of which tool a step means, and whether this service answers for it. Pure.

A tool's name is only ever looked up; what cannot be found is an error, never a command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.model.names import canonical, canonical_location
from opsconductor.model.outcome import StepRequest
from opsconductor.model.tool import Operation, ToolDefinition

FALLBACK_SERVICE = "automation-service"
"""The service that answers for tools that no service owns."""
_OPERATION_INPUTS = ("operation", "action")


class CatalogEntry(Protocol):
    """What the kit reads of a catalog entry."""

    id: str
    tool_name: str

    @property
    def definition(self) -> ToolDefinition:
        """The tool's definition. Raises OpsError(`definition_invalid`) when it can be read no more."""
        ...


class Catalog(Protocol):
    """What the kit needs of the catalog; one snapshot serves a whole request."""

    def find(self, name: str) -> CatalogEntry | None:
        """The tool of that name, in any spelling."""
        ...

    def get(self, name: str) -> CatalogEntry:
        """The tool of that name. Raises OpsError(`tool_not_found`) that names the nearest."""
        ...

    def entries(self) -> Iterable[CatalogEntry]:
        """Every tool."""
        ...


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """The operation a step means, and its inputs without the one that named it."""

    definition: ToolDefinition
    operation_name: str
    operation: Operation
    inputs: dict[str, Any]


def _near(name: str, known: list[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1)), None)


def owns(service: str, definition: ToolDefinition) -> bool:
    """Whether `service` executes the tool; a tool without a location is the fallback service's."""
    if definition.execution_location is None:
        return service == FALLBACK_SERVICE
    return canonical_location(definition.execution_location) == service


def find_tool(service: str, catalog: Catalog, name: str) -> ToolDefinition:
    """The tool of that name.

    Raises OpsError(`tool_not_found`, `definition_invalid`, and `tool_not_executable` when it is another service's).
    """
    definition = catalog.get(name).definition
    if not owns(service, definition):
        raise OpsError(
            "tool_not_executable",
            f"{definition.tool_name} is executed by {definition.execution_location}, not by {service}; "
            "send the step there (for a service of your own: set its URL)",
            tool=definition.tool_name,
            service=service,
            execution_location=definition.execution_location,
        )
    return definition


def _named_operation(definition: ToolDefinition, step: StepRequest) -> tuple[str | None, dict[str, Any]]:
    """The operation's name as the step gives it, and the inputs that remain."""
    if step.operation:
        return step.operation, step.inputs
    declared = {name for key, spec in definition.inputs.items() for name in (key, *spec.aliases)}
    for key in _OPERATION_INPUTS:
        if key in step.inputs and key not in declared:
            rest = {name: value for name, value in step.inputs.items() if name != key}
            return str(step.inputs[key]), rest
    return None, step.inputs


def _default_name(definition: ToolDefinition) -> str | None:
    names = list(definition.operations)
    return definition.default_operation or (names[0] if len(names) == 1 else None)


def select(definition: ToolDefinition, step: StepRequest) -> Selected:
    """The operation that `step` means: its own word, an `operation`/`action` input, else the tool's default.

    Raises OpsError(`operation_unknown`, `tool_not_executable`).
    """
    operations: Mapping[str, Operation] = definition.operations
    if not operations:
        raise OpsError(
            "tool_not_executable",
            f"{definition.tool_name} says what it does but not how: its definition has no operations",
            tool=definition.tool_name,
        )
    named, inputs = _named_operation(definition, step)
    name = canonical(named) if named is not None else _default_name(definition)
    if name is None or name not in operations:
        found = f"no operation {named!r}" if named is not None else "several operations and no default"
        near = _near(name, list(operations)) if name else None
        hint = f" (did you mean {near!r}?)" if near else ""
        raise OpsError(
            "operation_unknown",
            f"{definition.tool_name} has {found}; expected one of {', '.join(operations)}{hint}",
            tool=definition.tool_name,
            field="operation",
            suggestion=near,
        )
    operation = operations[name]
    if operation.not_executable is not None:
        raise OpsError(
            "tool_not_executable",
            f"{definition.tool_name} {name} cannot be executed: {operation.not_executable}",
            tool=definition.tool_name,
            operation=name,
        )
    return Selected(definition=definition, operation_name=name, operation=operation, inputs=inputs)
