"""What a definition must say beyond its structure. Pure; every finding has a path into the document.

`check_definition` runs at each load and decides whether a tool can be used. `check_examples` is slower and proves that
each example is accepted and becomes exactly the command that it shows; `opsconductor tools lint` and the tests run it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from msgspec import UNSET

from opsconductor.catalog.findings import Finding, PathKey
from opsconductor.catalog.formats import FORMATS
from opsconductor.catalog.inputs import PLACEHOLDER, check_inputs, check_value
from opsconductor.catalog.render import render_command
from opsconductor.model.errors import OpsError
from opsconductor.model.tool import ArgvElement, Effect, Example, InputSpec, Operation, ToolDefinition

Path = tuple[PathKey, ...]
_NUMERIC = ("integer", "number")
_ENUM_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_definition(definition: ToolDefinition) -> list[Finding]:
    """Everything that would make the tool unusable or unsafe, and warnings; empty for a good definition."""
    findings = list(_check_tool(definition))
    for name, spec in definition.inputs.items():
        _check_input(spec, name, findings)
    plain = {name for name, spec in definition.inputs.items() if not spec.secret and spec.type != "boolean"}
    for name, operation in definition.operations.items():
        _check_operation(definition, operation, name, plain, findings)
    return findings


def _near(name: str, known: Any) -> str | None:
    return next(iter(get_close_matches(name, sorted(known), n=1)), None)


def _unknown(path: Path, what: str, name: str, known: Any) -> Finding:
    names = ", ".join(sorted(known)) or "none"
    return Finding(path, f"there is no {what} {name!r}; there are: {names}", suggestion=_near(name, known))


def _check_tool(definition: ToolDefinition) -> Iterator[Finding]:
    if not definition.operations:
        message = "the tool has no operation; it can be routed, and only a service of your own may know how to run it"
        yield Finding(("operations",), message, level="warning")
    default = definition.default_operation
    if default is not None and default not in definition.operations:
        yield _unknown(("default_operation",), "operation", default, definition.operations)
    if any(spec.aliases for spec in definition.inputs.values()):
        yield from _check_aliases(definition)


def _check_aliases(definition: ToolDefinition) -> Iterator[Finding]:
    taken: dict[str, str] = dict.fromkeys(definition.inputs, "an input")
    for name, spec in definition.inputs.items():
        for index, alias in enumerate(spec.aliases):
            if alias in taken:
                message = f"the alias {alias!r} of {name!r} is already the name of {taken[alias]}"
                yield Finding(("inputs", name, "aliases", index), message)
            taken[alias] = f"an alias of {name!r}"


def _check_input(spec: InputSpec, name: str, findings: list[Finding]) -> None:
    path: Path = ("inputs", name)
    kind = (spec.items or "string") if spec.type == "array" else spec.type
    if spec.items is not None and spec.type != "array":
        findings.append(Finding((*path, "items"), f"items is for lists, and this is of type {spec.type}"))
    if spec.minimum is not None or spec.maximum is not None:
        findings.extend(_check_range(spec, kind, path))
    if spec.min_length is not None or spec.max_length is not None:
        findings.extend(_check_length(spec, path))
    if spec.enum:
        findings.extend(_check_enum(spec, kind, path))
    if spec.pattern is not None:
        findings.extend(_check_pattern(spec.pattern, kind, path))
    if spec.format is not None:
        findings.extend(_check_format(spec.format, kind, path))
    if spec.default is not UNSET and not findings:  # what is said of the spec itself comes first
        findings.extend(_check_default(spec, path))


def _check_format(name: str, kind: str, path: Path) -> Iterator[Finding]:
    if name not in FORMATS:
        yield _unknown((*path, "format"), "format", name, FORMATS)
    elif kind != "string":
        yield Finding((*path, "format"), f"format is for text, and this is of type {kind}")


def _check_range(spec: InputSpec, kind: str, path: Path) -> Iterator[Finding]:
    if kind not in _NUMERIC:
        key = "minimum" if spec.minimum is not None else "maximum"
        yield Finding((*path, key), f"{key} is for numbers, and this is of type {kind}")
    if spec.minimum is not None and spec.maximum is not None and spec.minimum > spec.maximum:
        yield Finding((*path, "minimum"), f"minimum {spec.minimum:g} is more than maximum {spec.maximum:g}")


def _check_length(spec: InputSpec, path: Path) -> Iterator[Finding]:
    key = "max_length" if spec.max_length is not None else "min_length"
    if spec.type not in ("string", "array"):
        yield Finding((*path, key), f"{key} is for text and lists, and this is of type {spec.type}")
    least, most = spec.min_length or 0, spec.max_length
    if least < 0 or (most is not None and most < least):
        yield Finding((*path, key), f"no length is at least {least} and at most {most}")


def _check_enum(spec: InputSpec, kind: str, path: Path) -> Iterator[Finding]:
    fitting = _ENUM_TYPES.get(kind)
    if fitting is None:
        yield Finding((*path, "enum"), f"enum is for text and numbers, and this is of type {kind}")
        return
    for index, choice in enumerate(spec.enum):
        if not isinstance(choice, fitting):
            yield Finding((*path, "enum", index), f"found {choice!r}, expected a value of type {kind}")
    if len(set(spec.enum)) < len(spec.enum):
        yield Finding((*path, "enum"), "a choice is given twice")


def _check_pattern(pattern: str, kind: str, path: Path) -> Iterator[Finding]:
    if kind != "string":
        yield Finding((*path, "pattern"), f"pattern is for text, and this is of type {kind}")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        yield Finding((*path, "pattern"), f"{pattern[:80]!r} is not a regular expression: {error}")


def _check_default(spec: InputSpec, path: Path) -> Iterator[Finding]:
    if spec.required:
        yield Finding((*path, "required"), "an input with a default is never missing; leave out one of the two")
    if spec.secret:
        yield Finding((*path, "default"), "a secret has no default: it would be readable in the definition")
    try:
        checked = check_value(spec.default, spec)
    except OpsError as error:
        yield Finding((*path, "default"), f"the default does not fit: {error.message}")
    except re.error:
        return  # reported with the pattern
    else:
        if checked != spec.default or type(checked) is not type(spec.default):
            yield Finding(
                (*path, "default"), f"found {spec.default!r}, expected {checked!r} as type {spec.type} wants it"
            )


def _check_operation(
    tool: ToolDefinition, operation: Operation, name: str, plain: set[str], findings: list[Finding]
) -> None:
    path: Path = ("operations", name)
    ways = (operation.argv is not None) + (operation.handler is not None)
    if ways == 2 or (ways == 0 and operation.not_executable is None):
        found = "both argv and handler" if ways else "neither argv nor handler"
        message = f"found {found}, expected exactly one of them (or not_executable, saying what is missing)"
        findings.append(Finding(path, message))
    if operation.effect is not Effect.READ and operation.idempotent is None:
        message = f"an operation with effect {operation.effect} must say whether it is idempotent: true or false"
        findings.append(Finding((*path, "idempotent"), message, expected="true or false"))
    if operation.argv is not None and not _is_everyday(operation.argv, plain):
        findings.extend(_check_argv(tool, operation.argv, (*path, "argv")))
    if operation.stdin is not None or operation.env:
        findings.extend(_check_texts(tool, operation, path))
    if operation.probe or operation.dry_run or operation.undo:
        findings.extend(_check_links(tool, operation, path))
    for guarded in operation.guards:
        if guarded not in tool.inputs:
            findings.append(_unknown((*path, "guards", guarded), "input", guarded, tool.inputs))
    for key, names in (("uses", operation.uses), ("required", operation.required)):
        for index, used in enumerate(names):
            if used not in tool.inputs:
                findings.append(_unknown((*path, key, index), "input", used, tool.inputs))


def _is_everyday(argv: tuple[ArgvElement, ...], plain: set[str]) -> bool:
    """Whether an argument list needs no closer look: it names only inputs that may stand anywhere, after a program."""
    if not argv or not isinstance(argv[0], str) or not argv[0] or "{" in argv[0]:
        return False
    for part in argv:
        if isinstance(part, str):
            if "{" in part and not plain.issuperset(PLACEHOLDER.findall(part)):
                return False
        else:
            named = PLACEHOLDER.findall(" ".join(part))
            if not named or not plain.issuperset(named):
                return False
    return True


def _check_argv(tool: ToolDefinition, argv: tuple[ArgvElement, ...], path: Path) -> Iterator[Finding]:
    if not argv or not isinstance(argv[0], str) or not argv[0] or PLACEHOLDER.search(argv[0]):
        yield Finding(path, "the first element must be the program itself: plain text, not an input and not a group")
    for index, part in enumerate(argv):
        if isinstance(part, str):
            if "{" in part:
                yield from _check_element(tool, part, (*path, index), grouped=False)
            continue
        if not any(PLACEHOLDER.search(element) for element in part):
            yield Finding((*path, index), "a group that names no input would never be left out; write its elements")
        for inner, element in enumerate(part):
            if "{" in element:
                yield from _check_element(tool, element, (*path, index, inner), grouped=True)


def _check_element(tool: ToolDefinition, element: str, path: Path, *, grouped: bool) -> Iterator[Finding]:
    for match in PLACEHOLDER.finditer(element):
        name = match.group(1)
        spec = tool.inputs.get(name)
        if spec is None:
            yield _unknown(path, "input", name, tool.inputs)
        elif spec.secret:
            message = f"the secret {name!r} would be readable in the process list; feed it through stdin or env"
            yield Finding(path, message, expected="stdin or env")
        elif spec.type == "boolean" and not (grouped and match.group() == element):
            message = (
                f'the boolean {name!r} can only be a switch: an element of its own in a group, ["{{{name}}}", --option]'
            )
            yield Finding(path, message)


def _check_texts(tool: ToolDefinition, operation: Operation, path: Path) -> Iterator[Finding]:
    if operation.stdin is not None:
        for name in PLACEHOLDER.findall(operation.stdin):
            if name not in tool.inputs:
                yield _unknown((*path, "stdin"), "input", name, tool.inputs)
    for key, text in operation.env.items():
        if not _ENV_NAME.fullmatch(key):
            yield Finding((*path, "env", key), f"{key!r} is not a name of an environment variable")
        for name in PLACEHOLDER.findall(text):
            if name not in tool.inputs:
                yield _unknown((*path, "env", key), "input", name, tool.inputs)


def _check_links(tool: ToolDefinition, operation: Operation, path: Path) -> Iterator[Finding]:
    for key, name in (("probe", operation.probe), ("dry_run", operation.dry_run)):
        if name is None:
            continue
        linked = tool.operations.get(name)
        if linked is None:
            yield _unknown((*path, key), "operation", name, tool.operations)
        elif linked.effect is not Effect.READ:
            yield Finding(
                (*path, key), f"the {key} {name!r} has effect {linked.effect}, expected an operation that only reads"
            )
    if operation.undo is not None:
        if operation.undo.operation not in tool.operations:
            yield _unknown((*path, "undo", "operation"), "operation", operation.undo.operation, tool.operations)
        for name in operation.undo.inputs:
            if name not in tool.inputs:
                yield _unknown((*path, "undo", "inputs", name), "input", name, tool.inputs)


def check_examples(definition: ToolDefinition) -> list[Finding]:
    """Every example that is not accepted, or that becomes another command than it shows. For checked definitions."""
    findings: list[Finding] = []
    for name, spec in definition.inputs.items():
        findings.extend(_check_input_examples(spec, ("inputs", name)))
    for name, operation in definition.operations.items():
        for index, example in enumerate(operation.examples):
            path: Path = ("operations", name, "examples", index)
            findings.extend(_check_example(definition, name, operation, example, path))
    return findings


def _check_input_examples(spec: InputSpec, path: Path) -> Iterator[Finding]:
    for index, value in enumerate(spec.examples):
        try:
            check_value(value, spec)
        except OpsError as error:
            yield Finding((*path, "examples", index), f"the example does not fit: {error.message}")


def _check_example(
    definition: ToolDefinition, name: str, operation: Operation, example: Example, path: Path
) -> Iterator[Finding]:
    try:
        values = check_inputs(definition, name, example.inputs)
        command = render_command(definition, name, values)
    except OpsError as error:
        yield Finding((*path, "inputs"), f"the example is refused: {error.message}")
        return
    if operation.argv is not None and example.argv is None:
        yield Finding(path, f"an example of a command shows the command: argv: {list(command.argv)}")
    if operation.argv is not None and example.argv is not None and example.argv != command.argv:
        shown, made = list(example.argv), list(command.argv)
        yield Finding((*path, "argv"), f"the example shows {shown}, and its inputs become {made}")
    if example.stdin is not None and example.stdin.encode() != command.stdin:
        yield Finding((*path, "stdin"), f"the example shows {example.stdin!r}, and its inputs become {command.stdin!r}")
