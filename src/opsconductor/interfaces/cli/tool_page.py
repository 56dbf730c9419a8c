"""`opsconductor tools show` for people: one tool on a page."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec

from opsconductor.catalog.inputs import required_inputs
from opsconductor.interfaces.cli.output import show, table
from opsconductor.model.tool import InputSpec, ToolDefinition


def show_tool(entry: Any) -> None:
    """Print the page of a catalog entry: what it is, inputs, operations, examples."""
    definition: ToolDefinition = entry.definition
    show(f"{definition.tool_name} — {definition.description}", "bold", indent=2)
    where = "on the machine a step names" if definition.runs_on == "target" else "from its service"
    show(f"{definition.execution_location or 'no service'} · {definition.category} · runs {where}")
    if entry.overrides:
        show(f"{entry.path} replaces {entry.overrides}")
    inputs = [_input_row(name, spec) for name, spec in definition.inputs.items() if spec.source == "caller"]
    if inputs:
        show("\nInputs", "bold")
        table(["name", "type", "meaning"], inputs, margin="  ")
    show("\nOperations", "bold")
    common = _common_reason(definition)
    rows = [_operation_row(definition, name, say_why=common is None) for name in definition.operations]
    table(["", "name", "effect", "meaning"], rows, margin="  ")
    if common:
        show(f"  – not executable: {common}", indent=4)
    _show_examples(definition)


def _show_examples(definition: ToolDefinition) -> None:
    examples = [
        (name, operation.examples[0]) for name, operation in definition.operations.items() if operation.examples
    ]
    if examples:
        show("\nExamples", "bold")
    for name, example in examples:
        show(f"  {_command(definition, name, example.inputs)}", indent=6)


def _command(definition: ToolDefinition, operation: str, inputs: dict[str, Any]) -> str:
    """The command line that runs an example."""
    words = ["opsconductor", "exec", definition.tool_name]
    if operation != definition.default_operation:
        words += ["-o", operation]
    for key, value in inputs.items():
        several = isinstance(value, list) and len(value) > 1 and all(isinstance(each, str) for each in value)
        words += [f"{key}={_word(each)}" for each in (value if several else [value])]
    return shlex.join(words)


def _word(value: Any) -> str:
    only = value[0] if isinstance(value, list) and len(value) == 1 else value
    return only if isinstance(only, str) else _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _input_row(name: str, spec: InputSpec) -> list[str]:
    kind = f"list of {spec.format or spec.items or 'string'}" if spec.type == "array" else spec.format or spec.type
    return [name, kind, " ".join([spec.description, *_limits(spec)])]


def _limits(spec: InputSpec) -> list[str]:
    """Short sentences: choices, range with unit, default, secrecy."""
    found = [f"One of {', '.join(map(str, spec.enum))}."] if spec.enum else []
    if reach := _range(spec):
        found.append(reach)
    if spec.default is not msgspec.UNSET and spec.default not in (None, ""):
        found.append(f"Default {spec.default if isinstance(spec.default, str) else _json(spec.default)}.")
    return [*found, "Secret."] if spec.secret else found


def _range(spec: InputSpec) -> str:
    unit = f" {spec.unit}" if spec.unit else ""
    least, most = (None if bound is None else f"{bound:.10g}" for bound in (spec.minimum, spec.maximum))
    if least and most:
        return f"{least} to {most}{unit}."
    if least or most:
        return f"At {f'least {least}' if least else f'most {most}'}{unit}."
    return f"In{unit}." if unit else ""


def _common_reason(definition: ToolDefinition) -> str | None:
    """Why nothing of this tool can be executed, where that is the same for all its operations."""
    reasons = {operation.not_executable for operation in definition.operations.values()}
    return reasons.pop() if len(reasons) == 1 else None


def _operation_row(definition: ToolDefinition, name: str, *, say_why: bool) -> list[str]:
    operation = definition.operations[name]
    meaning = [operation.description]
    if needed := sorted(required_inputs(definition, operation)):
        meaning.append(f"Needs {', '.join(needed)}.")
    if name == definition.default_operation and len(definition.operations) > 1:
        meaning.append("The default.")
    if not operation.is_idempotent:
        meaning.append("Not idempotent.")
    if operation.not_executable and say_why:
        meaning.append(f"Not executable: {operation.not_executable}")
    mark = "–" if operation.not_executable else "✓"
    return [mark, name, str(operation.effect), " ".join(filter(None, meaning))]
