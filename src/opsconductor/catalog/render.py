"""From checked inputs to a command: an argv list, what goes to stdin, and variables. Pure; no shell anywhere.

The rules, which docs/how-to/write-a-tool.md explains to authors:

- An element is emitted as it is, with `{input}` replaced by that input's value. One value never becomes two elements.
- A nested list is a group: emitted only when every input it names has a value. In a group an element that is
  exactly one boolean input is a switch: it emits nothing, and false takes the group away.
- A list input that is a whole element becomes one element per entry; inside a longer element, that element is
  repeated once per entry.
- A value at the beginning of an element may not begin with '-': the program would read it as an option.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from opsconductor.catalog.inputs import DEFAULT_LIMITS, PLACEHOLDER, placeholders
from opsconductor.model.errors import OpsError
from opsconductor.model.limits import InputLimits
from opsconductor.model.tool import InputSpec, Operation, ToolDefinition

_DASHES = ("-", "‐", "‑", "‒", "–", "—", "―", "−", "﹣", "－")
# Some programs fold the typographic dashes to '-'.


class RenderedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What a transport is asked to start. `env` holds only what the definition sets."""

    argv: tuple[str, ...]
    stdin: bytes | None = None
    env: dict[str, str] = {}


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _guard(name: str, text: str, spec: InputSpec) -> str:
    if text.startswith(_DASHES) and spec.type in ("string", "array") and not spec.allow_leading_dash:
        raise OpsError(
            "option_like_argument",
            f"{name}: found {text[:60]!r}, which the program would read as an option; "
            "expected a value that does not begin with '-' (a file of that name is written ./-name)",
            field=f"inputs.{name}",
        )
    return text


def _substitute(element: str, values: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> str:
    def replace(match: Any) -> str:
        name = match.group(1)
        if name not in specs:
            return str(match.group(0))
        text = _to_text(values[name])
        return _guard(name, text, specs[name]) if match.start() == 0 else text

    return PLACEHOLDER.sub(replace, element)


def _emit(element: str, values: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> Iterable[str]:
    lists = [name for name in placeholders(element) if name in specs and isinstance(values.get(name), list)]
    if not lists:
        return [_substitute(element, values, specs)]
    name = lists[0]
    return [_substitute(element, {**values, name: entry}, specs) for entry in values[name]]


def _is_switch(element: str, specs: Mapping[str, InputSpec]) -> bool:
    match = PLACEHOLDER.fullmatch(element)
    return match is not None and match.group(1) in specs and specs[match.group(1)].type == "boolean"


def _emit_group(group: tuple[str, ...], values: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> Iterable[str]:
    names = [name for element in group for name in placeholders(element) if name in specs]
    switches = [element for element in group if _is_switch(element, specs)]
    if any(values.get(name) in (None, []) for name in names) or not all(values[s[1:-1]] for s in switches):
        return
    for element in group:
        if element not in switches:
            yield from _emit(element, values, specs)


def render_argv(operation: Operation, values: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> tuple[str, ...]:
    """The argument list of an operation. Raises OpsError(`option_like_argument`)."""
    argv: list[str] = []
    for part in operation.argv or ():
        argv.extend(_emit(part, values, specs) if isinstance(part, str) else _emit_group(part, values, specs))
    return tuple(argv)


def render_command(
    definition: ToolDefinition, operation_name: str, values: Mapping[str, Any], limits: InputLimits = DEFAULT_LIMITS
) -> RenderedCommand:
    """The command of an operation from inputs that `check_inputs` returned.

    Raises OpsError(`option_like_argument`, `input_too_large`).
    """
    operation, specs = definition.operations[operation_name], definition.inputs
    argv = render_argv(operation, values, specs)
    size = sum(len(element.encode()) + 1 for element in argv)
    if size > limits.max_argv_bytes:
        raise OpsError("input_too_large", f"the command is {size} bytes long, at most {limits.max_argv_bytes} fit")
    for element in argv:
        if len(element.encode()) > limits.max_input_bytes:
            raise OpsError("input_too_large", f"an argument is longer than {limits.max_input_bytes} bytes")
    stdin = None if operation.stdin is None else _substitute_text(operation.stdin, values, specs).encode()
    env = {
        key: _substitute_text(text, values, specs)
        for key, text in operation.env.items()
        if all(values.get(name) is not None for name in placeholders(text) if name in specs)
    }
    return RenderedCommand(argv=argv, stdin=stdin, env=env)


def _substitute_text(text: str, values: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> str:
    return PLACEHOLDER.sub(
        lambda match: _to_text(values[match.group(1)]) if match.group(1) in specs else match.group(0), text
    )
