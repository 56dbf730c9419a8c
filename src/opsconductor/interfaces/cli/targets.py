"""Where `exec --on` runs a tool: names and selectors, and the input by which a tool is told."""

from __future__ import annotations

import click

from opsconductor.engine.resolution import choose
from opsconductor.interfaces.cli.executions import with_conductor
from opsconductor.interfaces.ports import Conductor, Runtime
from opsconductor.model.errors import OpsError
from opsconductor.model.target import LOCAL, TARGET_INPUTS


def named_targets(runtime: Runtime, targets: tuple[str, ...]) -> tuple[str, ...]:
    """Targets by name: a selector such as `env=prod, tag=web` becomes the assets that fit, each target once."""
    if not any(map(_is_selector, targets)):
        return tuple(dict.fromkeys(targets))

    async def select(conductor: Conductor) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for target in targets:
            found = [target]
            if _is_selector(target):
                inputs = {"selector": target, "fields": ["hostname"]}
                page = await conductor.call("asset-service", "asset-query", "query", inputs)
                found = [asset["hostname"] for asset in page["assets"]]
                if not found:
                    raise OpsError(
                        "target_unknown", f"no asset fits the selector {target[:200]!r}", target=target[:200]
                    )
            names |= dict.fromkeys(found)
        return tuple(names)

    return with_conductor(runtime, select)


def _is_selector(target: str) -> bool:
    """Names and addresses have none of these signs, and every selector has one."""
    return any(sign in target for sign in ("=", "~", "!")) or " in (" in target


def target_input(runtime: Runtime, tool: str, operation: str | None, targets: tuple[str, ...]) -> str | None:
    """The input that names the target of this tool; None where it runs from the service, which is `local`."""
    entry = runtime.catalog().find(tool)
    if entry is None:  # a tool that only the server knows, or nobody
        return TARGET_INPUTS[0]
    chosen = choose(entry.definition, operation)
    if not chosen.runs_on_target:
        if set(targets) == {LOCAL.name}:
            return None
        message = f"{entry.tool_name} runs from its service and takes no --on; name what it should reach in its inputs"
        raise click.UsageError(message)
    declared = {name for key, spec in entry.definition.inputs.items() for name in (key, *spec.aliases)}
    return next((name for name in TARGET_INPUTS if name not in declared), TARGET_INPUTS[0])
