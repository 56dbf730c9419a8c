"""The JSON Schema of a tool definition, generated from its structures, and what a document has against it, in words.

Editors complete and check definitions with docs/reference/tool.schema.json, which is `tool_schema()`. The loader asks
`structure_findings` only for a file that did not convert: it lists everything wrong, where conversion stops at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import msgspec

from opsconductor.catalog.findings import Finding
from opsconductor.model.tool import ToolDefinition

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

ValidationError = Any  # jsonschema's own, whose stubs leave every attribute open
_TYPE_WORDS = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_QUOTABLE = (int, float, bool)


def tool_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one definition file."""
    schema = msgspec.json.schema(ToolDefinition)
    # Docstrings become descriptions; Python 3.13 strips their indentation, earlier ones keep it.
    for described in schema["$defs"].values():
        described["description"] = cleandoc(described.get("description", ""))
    title = "OpsConductor tool definition"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


def schema_text() -> str:
    """The schema as it is committed. `python -m opsconductor.catalog.schema > docs/reference/tool.schema.json`."""
    return msgspec.json.format(msgspec.json.encode(tool_schema(), order="deterministic"), indent=2).decode() + "\n"


@cache
def _validator() -> Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(tool_schema())


def structure_findings(value: Any) -> list[Finding]:
    """Everything in which `value` departs from the format, in the order of the document's paths."""
    if not isinstance(value, dict):
        return [Finding((), f"found {kind_of(value)}, expected a mapping with tool_name, description, operations …")]
    found: list[Finding] = []
    for error in _validator().iter_errors(value):
        found.extend(_translate(error))
    return sorted(set(found), key=lambda finding: [str(part) for part in finding.path])


def _translate(error: ValidationError) -> Iterator[Finding]:
    path: tuple[str | int, ...] = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        yield _bad_name(error.instance, path)
        return
    match error.validator:
        case "additionalProperties":
            yield from _unknown_keys(error, path)
        case "required":
            for key in error.validator_value:
                if key not in error.instance:
                    yield Finding((*path, key), f"the key {key!r} is missing", expected=key)
        case "anyOf" | "oneOf":
            yield from _best_branch(error, path)
        case _:
            expected = _expected(error)
            hint = _hint(error)
            yield Finding(path, f"found {excerpt(error.instance)}, expected {expected}{hint}", expected=expected)


def _unknown_keys(error: ValidationError, path: tuple[str | int, ...]) -> Iterator[Finding]:
    allowed = sorted(error.schema.get("properties", {})) if isinstance(error.schema, Mapping) else []
    for key in error.instance:
        if key not in allowed:
            near = get_close_matches(str(key), allowed, n=1, cutoff=0.6)
            yield Finding(
                (*path, key),
                f"there is no key {key!r} here; expected one of {', '.join(allowed)}",
                expected=f"one of {', '.join(allowed)}",
                suggestion=near[0] if near else None,
            )


def _bad_name(name: str, path: tuple[str | int, ...]) -> Finding:
    expected = "small letters, digits and '_', beginning with a letter, at most 64 characters"
    return Finding((*path, name), f"found the name {excerpt(name)}, expected {expected}", expected=expected)


def _best_branch(error: ValidationError, path: tuple[str | int, ...]) -> Iterator[Finding]:
    """What is wrong in the branch that fits best: the one whose error lies deepest."""
    deepest = max((len(sub.absolute_path) for sub in error.context), default=0)
    deeper = [sub for sub in error.context if len(sub.absolute_path) == deepest > len(path)]
    if deeper:
        for sub in deeper:
            yield from _translate(sub)
        return
    options = dict.fromkeys(_expected(sub) for sub in error.context)
    options.pop(_TYPE_WORDS["null"], None)
    expected = " or ".join(options)
    yield Finding(path, f"found {excerpt(error.instance)}, expected {expected}", expected=expected)


def _expected(error: ValidationError) -> str:
    wanted = error.validator_value
    match error.validator:
        case "type":
            return " or ".join(
                _TYPE_WORDS.get(name, name) for name in ([wanted] if isinstance(wanted, str) else wanted)
            )
        case "enum":
            return "one of " + ", ".join(map(str, wanted))
        case "pattern":
            return f"text that matches {wanted}"
        case "minLength":
            return f"at least {wanted} character(s)"
        case "maxLength":
            return f"at most {wanted} characters"
        case "minimum":
            return f"at least {wanted:g}"
        case "exclusiveMinimum":
            return f"more than {wanted:g}"
        case "maximum":
            return f"at most {wanted:g}"
        case _:
            return f"{error.validator}: {wanted}"


def _hint(error: ValidationError) -> str:
    wants_text = error.validator == "type" and error.validator_value == "string"
    return ": put it in quotes" if wants_text and isinstance(error.instance, _QUOTABLE) else ""


def kind_of(value: Any) -> str:
    """What a value is, for a person: `a list`, `nothing`."""
    names = {dict: "a mapping", list: "a list", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), "a number")


def excerpt(value: Any) -> str:
    """A value, short enough for one line."""
    if isinstance(value, dict | list):
        return kind_of(value)
    text = repr(value) if value is not None else "nothing"
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


if __name__ == "__main__":
    import sys

    sys.stdout.write(schema_text())
