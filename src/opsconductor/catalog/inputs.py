"""From what a caller gives to what an operation runs with: names, types, ranges, defaults. Pure.

All problems of a step are reported at once. Called by validation (before anything runs) and by the services
(again, because nobody's word is taken for it).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from msgspec import UNSET

from opsconductor.catalog.formats import FORMATS
from opsconductor.model.errors import OpsError, Problem, from_problems
from opsconductor.model.limits import InputLimits
from opsconductor.model.names import canonical
from opsconductor.model.tool import InputSpec, Operation, ToolDefinition

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
DEFAULT_LIMITS = InputLimits()
_TRUE, _FALSE = {"true", "yes", "1", "on"}, {"false", "no", "0", "off"}


def placeholders(text: str) -> list[str]:
    """Names in braces, in order: `--lines={lines}` → ["lines"]."""
    return PLACEHOLDER.findall(text)


def _elements(operation: Operation) -> Iterator[tuple[str, bool]]:
    """Every template text of an operation and whether it is always emitted."""
    for part in operation.argv or ():
        if isinstance(part, str):
            yield part, True
        else:
            yield from ((element, False) for element in part)
    if operation.stdin is not None:
        yield operation.stdin, True
    yield from ((value, False) for value in operation.env.values())


def used_inputs(definition: ToolDefinition, operation: Operation) -> frozenset[str]:
    """Names that `operation` takes: what its templates name and `uses`; without either, all of the tool's."""
    named = {name for text, _ in _elements(operation) for name in placeholders(text)}
    named |= {*operation.uses, *operation.required}
    everything = operation.argv is None and not operation.uses
    return frozenset(definition.inputs if everything else named & definition.inputs.keys())


def required_inputs(definition: ToolDefinition, operation: Operation) -> frozenset[str]:
    """Names that must have a value: said to be required, or named where the template is always emitted."""
    always = {name for text, fixed in _elements(operation) if fixed for name in placeholders(text)}
    used = used_inputs(definition, operation)
    marked = {name for name in used if definition.inputs[name].required}
    wanted = always | marked | set(operation.required)
    return frozenset(name for name in wanted & used if definition.inputs[name].default is UNSET)


def _resolve_names(
    definition: ToolDefinition, name: str, operation: Operation, given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    known = {alias: key for key, spec in definition.inputs.items() for alias in (*spec.aliases, key)}
    used, values, problems = used_inputs(definition, operation), dict[str, Any](), list[Problem]()
    offered = ", ".join(sorted(name for name in used if definition.inputs[name].source == "caller")) or "none"
    for key, value in given.items():
        target = known.get(key) or known.get(canonical(key))
        if target is None:
            near = get_close_matches(canonical(key), sorted(known), n=1)
            problems.append(
                Problem(
                    code="input_unknown",
                    field=f"inputs.{key}",
                    message=f"{definition.tool_name} has no input {key!r}; it has {offered}",
                    suggestion=near[0] if near else None,
                )
            )
        elif definition.inputs[target].source == "guard":
            message = f"{key!r} of {definition.tool_name} is set by the service; leave it out"
            problems.append(Problem(code="input_unknown", field=f"inputs.{key}", message=message))
        elif target not in used:
            fitting = [op for op, body in definition.operations.items() if target in used_inputs(definition, body)]
            hint = f"; it belongs to {', '.join(fitting)}" if fitting else ""
            problems.append(
                Problem(
                    code="input_unknown",
                    field=f"inputs.{key}",
                    message=f"operation {name!r} of {definition.tool_name} does not take {key!r}{hint}",
                )
            )
        elif target in values and value is not None:
            message = f"{key!r} is another name of {target!r}, which was given too; give one of them"
            problems.append(Problem(code="input_invalid", field=f"inputs.{key}", message=message))
        elif value is not None:
            values[target] = value
    return values, problems


class _Invalid(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, expected: str, code: str = "input_invalid") -> None:
        self.expected, self.code = expected, code


def _number(value: Any, kind: str) -> int | float:
    if isinstance(value, str):
        try:
            value = int(value, 10) if kind == "integer" else float(value)
        except ValueError:
            raise _Invalid(f"{'an' if kind == 'integer' else 'a'} {kind}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Invalid(f"{'an' if kind == 'integer' else 'a'} {kind}")
    if kind == "integer" and not isinstance(value, int):
        if not value.is_integer():
            raise _Invalid("an integer")
        return int(value)
    return value


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    folded = value.casefold() if isinstance(value, str) else None
    if folded in _TRUE or folded in _FALSE:
        return folded in _TRUE
    raise _Invalid("true or false")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _text(value: Any, spec: InputSpec, limits: InputLimits) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise _Invalid("a string")
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise _Invalid("text that is valid UTF-8") from None
    if size > limits.max_input_bytes:
        raise _Invalid(f"at most {limits.max_input_bytes} bytes", "input_too_large")
    if "\0" in value:
        raise _Invalid("text without NUL characters")
    if not spec.multiline and any(char < " " or char == "\x7f" for char in value):
        raise _Invalid("one line of text without control characters")
    if spec.pattern is not None and not _compiled(spec.pattern).fullmatch(value):
        raise _Invalid(f"text that matches {spec.pattern}")
    if spec.format is not None and (expected := FORMATS[spec.format][1](value)):
        raise _Invalid(expected)
    return value


def _scalar(value: Any, kind: str, spec: InputSpec, limits: InputLimits) -> Any:
    if kind == "boolean":
        return _boolean(value)
    if kind == "object":
        if not isinstance(value, Mapping):
            raise _Invalid("an object (name: value)")
        return dict(value)
    if kind == "array":
        if not isinstance(value, list | tuple):
            raise _Invalid("a list")
        return list(value)
    result = _text(value, spec, limits) if kind == "string" else _number(value, kind)
    if spec.enum and result not in spec.enum:
        raise _Invalid("one of " + ", ".join(map(str, spec.enum)))
    if not isinstance(result, str):
        if spec.minimum is not None and result < spec.minimum:
            raise _Invalid(f"at least {spec.minimum:g}{' ' + spec.unit if spec.unit else ''}")
        if spec.maximum is not None and result > spec.maximum:
            raise _Invalid(f"at most {spec.maximum:g}{' ' + spec.unit if spec.unit else ''}")
    return result


def _length(size: int, spec: InputSpec, what: str) -> None:
    least = 1 if spec.min_length is None else spec.min_length
    if size < least:
        raise _Invalid(f"at least {least} {what}")
    if spec.max_length is not None and size > spec.max_length:
        raise _Invalid(f"at most {spec.max_length} {what}", "input_too_large")


def check_value(value: Any, spec: InputSpec, limits: InputLimits = DEFAULT_LIMITS) -> Any:
    """Return `value` as its declared type. Raises OpsError(`input_invalid` | `input_too_large`).

    Texts that spell a number or boolean are taken as such (the command line gives texts); a single value is
    taken as a list of one. For lists, everything but the length applies to each entry.
    """
    try:
        if spec.type != "array":
            result = _scalar(value, spec.type, spec, limits)
            if isinstance(result, str):
                _length(len(result), spec, "characters" if (spec.min_length or 1) != 1 else "character(s)")
            return result
        entries = list(value) if isinstance(value, list | tuple) else [value]
        _length(len(entries), spec, "entries")
        return [_scalar(entry, spec.items or "string", spec, limits) for entry in entries]
    except _Invalid as invalid:
        shown = "a secret" if spec.secret else _excerpt(value)
        raise OpsError(invalid.code, f"found {shown}, expected {invalid.expected}") from None


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def check_inputs(
    definition: ToolDefinition, operation_name: str, given: Mapping[str, Any], limits: InputLimits = DEFAULT_LIMITS
) -> dict[str, Any]:
    """Return every input of the operation that has a value: given (by name or alias) or by default.

    Raises OpsError with all problems (`input_unknown`, `input_missing`, `input_invalid`, `input_too_large`);
    its code is that of the first.
    """
    operation = definition.operations[operation_name]
    values, problems = _resolve_names(definition, operation_name, operation, given)
    checked: dict[str, Any] = {}
    for name in sorted(used_inputs(definition, operation)):
        spec = definition.inputs[name]
        if name in values:
            try:
                checked[name] = check_value(values[name], spec, limits)
            except OpsError as error:
                message = f"{name}: {error.message}"
                problems.append(Problem(code=error.code, field=f"inputs.{name}", message=message))
        elif spec.default is not UNSET:
            checked[name] = spec.default
        elif name in required_inputs(definition, operation):
            example = f", for example {spec.examples[0]!r}" if spec.examples else ""
            message = (
                f"operation {operation_name!r} of {definition.tool_name} needs {name!r}: {spec.description}{example}"
            )
            problems.append(Problem(code="input_missing", field=f"inputs.{name}", message=message))
    if problems:
        raise from_problems(problems[0].code, problems)
    return checked
