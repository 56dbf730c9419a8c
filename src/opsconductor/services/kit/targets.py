"""Where a step's operation runs: on this machine, or on a target somebody named. Never a guess.

Called by the step runner with the operation's placement; the inventory stands behind `TargetResolver`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.model.target import LOCAL, TARGET_INPUTS, Target, TargetKind
from opsconductor.model.tool import Placement, ToolDefinition
from opsconductor.services.kit.selection import Selected

LOCAL_NAMES = frozenset({"local", "localhost"})


class TargetResolver(Protocol):
    """Knows the targets that have names."""

    async def resolve(self, name: str, tenant_id: str | None) -> Target:
        """The tenant's target of that name or address. Raises OpsError(`target_unknown`)."""
        ...


class NoTargets:
    """The resolver of a service that has no inventory: only `local` exists."""

    async def resolve(self, name: str, tenant_id: str | None) -> Target:
        """Raise `target_unknown`."""
        raise OpsError(
            "target_unknown",
            f"target {name[:100]!r} is not known here; this service has no inventory, expected local",
            target=name[:100],
        )


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved target, and the inputs without the one that named it."""

    target: Target
    inputs: dict[str, Any]


def _reserved_inputs(definition: ToolDefinition, inputs: dict[str, Any]) -> dict[str, Any]:
    declared = {name for key, spec in definition.inputs.items() for name in (key, *spec.aliases)}
    return {name: inputs[name] for name in TARGET_INPUTS if name in inputs and name not in declared}


def _one_name(value: Any, field: str) -> str:
    """The single target name in `value`: a text, or a list of one."""
    entry = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    if isinstance(entry, list | tuple) and entry:
        raise OpsError(
            "input_invalid",
            f"{field}: found {len(entry)} targets, expected one; a step runs on one target (use for_each for more)",
            field=field,
        )
    if not isinstance(entry, str) or not entry.strip():
        raise OpsError(
            "input_invalid", f"{field}: found {str(entry)[:60]!r}, expected the name of one target", field=field
        )
    return entry.strip()


def named_target(definition: ToolDefinition, target: str | None, inputs: dict[str, Any]) -> tuple[str | None, set[str]]:
    """The one name that the step gives its target, and which inputs gave it. Raises OpsError(`input_invalid`)."""
    reserved = {key: value for key, value in _reserved_inputs(definition, inputs).items() if value not in (None, [])}
    names = {f"inputs.{key}": _one_name(value, f"inputs.{key}") for key, value in reserved.items()}
    if target is not None:
        names = {"target": _one_name(target, "target"), **names}
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{field}={name}" for field, name in names.items())
        raise OpsError("input_invalid", f"the step names different targets: {listed}; expected one", field="target")
    return next(iter(names.values()), None), set(_reserved_inputs(definition, inputs))


def _refuse_target_of_service_run(selected: Selected, target: str | None) -> None:
    if target is not None and target.strip() not in LOCAL_NAMES:
        raise OpsError(
            "step_invalid",
            f"{selected.definition.tool_name} {selected.operation_name} runs from the service itself and takes no "
            f"target, found {target[:100]!r}; name what it should reach in its inputs",
            field="target",
            target=target[:100],
        )


async def _resolve(name: str, resolver: TargetResolver, tenant_id: str | None, limit_s: float | None) -> Target:
    if name.casefold() in LOCAL_NAMES:
        return LOCAL
    try:
        async with asyncio.timeout(limit_s):
            target = await resolver.resolve(name, tenant_id)
    except TimeoutError as error:
        message = f"the target was not resolved within {limit_s:g} s; nothing was started"
        raise OpsError("target_unreachable", message, timeout_s=limit_s) from error
    if target.kind is TargetKind.LOCAL or target.connection.get("transport") == "local":
        return target
    raise OpsError(
        "transport_unavailable",
        f"{target.name} is another machine, and remote transports are not part of this version; "
        "only target local can run commands. Nothing was run",
        target=target.name,
    )


async def place(
    selected: Selected,
    target: str | None,
    *,
    default_target: str,
    resolver: TargetResolver,
    tenant_id: str | None = None,
    limit_s: float | None = None,
) -> Placed:
    """Resolve where the step runs, in at most `limit_s` seconds.

    Raises OpsError: `target_missing`, `target_unknown`, `transport_unavailable`, `input_invalid`, and `step_invalid`
    for a target of an operation that runs from the service.
    """
    definition, inputs = selected.definition, selected.inputs
    if definition.placement(selected.operation) is Placement.SERVICE:
        _refuse_target_of_service_run(selected, target)
        return Placed(target=LOCAL, inputs=inputs)
    name, used = named_target(definition, target, inputs)
    name = name or default_target
    if not name:
        raise OpsError(
            "target_missing",
            f"{definition.tool_name} runs on a target and the step names none; "
            "say target: local for this machine, or the name of an asset",
            field="target",
        )
    rest = {key: value for key, value in inputs.items() if key not in used} if used else inputs
    return Placed(target=await _resolve(name, resolver, tenant_id, limit_s), inputs=rest)
