"""YAML with every liberty taken away: what a document says, where it says it, and each thing wrong with it.

Works on libyaml's events with a stack of its own, so that neither depth nor aliases can exhaust the process. Only
`catalog.document` calls it. Scalars follow the core schema (YAML 1.2.2 §10.3): `on`, `yes` and dates stay text.
Refused: repeated keys, tags, keys that are not text, NUL, NaN and infinity, several documents, aliases that multiply
the document.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from opsconductor.model.errors import OpsError, Problem, from_problems
from opsconductor.model.limits import DocumentLimits

MAX_PROBLEMS = 100
# Aliases may make a document 20 times as large as it is written, once it has a thousand values: people repeat
# a block a few times, bombs multiply.
ALIAS_GROWTH = 20
ALIAS_FLOOR = 1_000
_MAX_INT_DIGITS = 4_300  # CPython refuses to read longer ones

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def resolve_plain(text: str) -> str | int | float | bool | None:
    """The core-schema value of a plain scalar. Raises ValueError for NaN, infinity and numbers beyond reading."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _INT.fullmatch(text):
        if len(text) > _MAX_INT_DIGITS:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise ValueError(f"{text[:40]} is too large a number")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    return text


class _Frame(msgspec.Struct):
    """A collection that is still open. `first_lines` is where each key of a mapping stood, None for a sequence."""

    value: Any
    first_lines: dict[str, int] | None
    anchor: str | None
    key: str | None = None
    nodes: int = 1
    height: int = 1


class _Anchored(msgspec.Struct, frozen=True):
    value: Any
    nodes: int
    height: int


class _RefusedError(Exception):
    """Reading cannot go on."""


class Builder:
    """Takes events one by one and ends with `value`; `problems` are in the document's order."""

    def __init__(self, file: str, limits: DocumentLimits) -> None:
        self.value: Any = None
        self.problems: list[Problem] = []
        self._file = file
        self._limits = limits
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = 0
        self._written = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        """Add one libyaml event. Raises _RefusedError when there is no point in going on; `problems` says why."""
        handler = getattr(self, f"_on_{type(event).__name__}", None)
        if handler is not None:
            handler(event)

    def _on_DocumentStartEvent(self, event: Any) -> None:  # noqa: N802 (named after libyaml's events)
        self._documents += 1
        if self._documents > 1:
            raise self._refusal(event, "a second document starts here", "one document in a file")

    def _on_ScalarEvent(self, event: Any) -> None:  # noqa: N802
        self._check_tag(event)
        text: str = event.value
        value: Any = text
        if "\0" in text:
            self._report(event, "the text holds a NUL character", expected="text without NUL")
        if not event.style:
            try:
                value = resolve_plain(text)
            except ValueError as error:
                self._report(event, str(error), expected="a finite number, or quoted text")
        self._count(event, 1, 0)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, 1, 0)
        self._place(event, value)

    def _on_MappingStartEvent(self, event: Any) -> None:  # noqa: N802
        self._open(event, _Frame({}, {}, event.anchor))

    def _on_SequenceStartEvent(self, event: Any) -> None:  # noqa: N802
        self._open(event, _Frame([], None, event.anchor))

    def _on_MappingEndEvent(self, _event: Any) -> None:  # noqa: N802
        frame = self._stack.pop()
        if frame.anchor:
            self._anchors[frame.anchor] = _Anchored(frame.value, frame.nodes, frame.height)
        if self._stack:
            parent = self._stack[-1]
            parent.nodes += frame.nodes
            parent.height = max(parent.height, frame.height + 1)

    _on_SequenceEndEvent = _on_MappingEndEvent  # noqa: N815

    def _on_AliasEvent(self, event: Any) -> None:  # noqa: N802
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            known = event.anchor in self._anchors
            wrong = "holds itself" if known else "has no anchor before it"
            raise self._refusal(event, f"the alias *{event.anchor} {wrong}", "an alias of something complete")
        self._count(event, anchored.nodes, anchored.height, written=1)
        if self._stack:
            self._stack[-1].height = max(self._stack[-1].height, anchored.height + 1)
        self._place(event, anchored.value)

    def _open(self, event: Any, frame: _Frame) -> None:
        self._check_tag(event)
        if self._stack and self._stack[-1].first_lines is not None and self._stack[-1].key is None:
            raise self._refusal(event, "a key is a list or a mapping", "text as key")
        self._count(event, 1, 1)
        if frame.anchor:
            self._anchors[frame.anchor] = None
        self._place(event, frame.value)
        self._stack.append(frame)

    def _place(self, event: Any, value: Any) -> None:
        if not self._stack:
            self.value = value
            return
        frame = self._stack[-1]
        if frame.first_lines is None:
            frame.value.append(value)
        elif frame.key is None:
            frame.key = self._key(event, frame.first_lines, value)
        else:
            frame.value[frame.key] = value
            frame.key = None

    def _key(self, event: Any, first_lines: dict[str, int], value: Any) -> str:
        key: str = event.value if hasattr(event, "value") else str(value)
        if not isinstance(value, str):
            self._report(event, f"the key {key[:100]} is not text", expected="text as key: put it in quotes")
        line = event.start_mark.line + 1
        first = first_lines.setdefault(key, line)
        if first != line or key in self._stack[-1].value:
            self._report(
                event, f"the key {key[:100]!r} is given twice, first on line {first}", expected="each key once"
            )
        return key

    def _count(self, event: Any, nodes: int, height: int, *, written: int | None = None) -> None:
        self._nodes += nodes
        self._written += nodes if written is None else written
        if self._stack:
            self._stack[-1].nodes += nodes if written is not None or height == 0 else 0
        limits = self._limits
        if len(self._stack) + height > limits.max_depth:
            raise self._too_large(event, f"nesting deeper than {limits.max_depth} levels")
        if self._nodes > limits.max_nodes:
            raise self._too_large(event, f"more than {limits.max_nodes} values, aliases expanded")
        if self._nodes > max(ALIAS_FLOOR, ALIAS_GROWTH * self._written):
            raise self._too_large(event, f"aliases that make {self._nodes} values of {self._written} written ones")

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None:
            self._report(event, f"the tag {event.tag!r} is not allowed", expected="plain YAML without tags")

    def _too_large(self, event: Any, message: str) -> _RefusedError:
        self._report(event, message, code="document_too_large", expected="a smaller document")
        return _RefusedError()

    def _refusal(self, event: Any, message: str, expected: str) -> _RefusedError:
        self._report(event, message, expected=expected)
        return _RefusedError()

    def _report(self, event: Any, message: str, *, code: str = "yaml_invalid", expected: str) -> None:
        mark = event.start_mark
        self.problems.append(
            Problem(
                code=code,
                message=f"{message}; expected {expected}",
                file=self._file,
                line=mark.line + 1,
                column=mark.column + 1,
                expected=expected,
            )
        )
        if len(self.problems) >= MAX_PROBLEMS:
            raise _RefusedError


def read_yaml(text: str, *, file: str, limits: DocumentLimits) -> Any:
    """The document's value as plain Python.

    Raises OpsError(`yaml_invalid` | `document_too_large`) with all problems.
    """
    import yaml
    from yaml import CLoader as CParser  # the parser alone; nothing of its construction is used

    builder = Builder(file, limits)
    try:
        parser = CParser(text)
        while parser.check_event():
            builder.take(parser.get_event())
    except _RefusedError:
        pass
    except yaml.YAMLError as error:
        builder.problems.append(_syntax_problem(error, text, file))
    if builder.problems:
        codes = {problem.code for problem in builder.problems}
        code = "document_too_large" if "document_too_large" in codes else "yaml_invalid"
        raise from_problems(code, builder.problems)
    return builder.value


def _syntax_problem(error: Exception, text: str, file: str) -> Problem:
    """libyaml's complaint in our form."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    words = [getattr(error, "context", None), getattr(error, "problem", None) or getattr(error, "reason", None)]
    message = ", ".join(word for word in words if word) or "this is not YAML"
    if mark is not None:
        line, column = mark.line + 1, mark.column + 1
    else:  # the reader's errors carry an offset into the UTF-8 bytes instead
        before = text.encode()[: getattr(error, "position", 0)]
        line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
    return Problem(code="yaml_invalid", message=message, file=file, line=line, column=column)


Marks = tuple[tuple[int, int], "dict[str, Marks] | list[Marks] | None"]
"""Where a value stands (the key, for entries of a mapping), and the marks of what it holds."""


def read_marks(text: str) -> Marks:
    """The places of all values of a document that `read_yaml` accepts. Raises OpsError(`yaml_invalid`) otherwise."""
    import yaml
    from yaml import CLoader as CParser

    root: list[Marks] = []
    stack: list[tuple[dict[str, Marks] | list[Marks], list[Any]]] = [(root, [])]
    try:
        parser = CParser(text)
        while parser.check_event():
            _mark(parser.get_event(), stack)
    except yaml.YAMLError as error:
        raise OpsError("yaml_invalid", str(error)) from error
    return root[0] if root else ((1, 1), None)


def _mark(event: Any, stack: list[tuple[dict[str, Marks] | list[Marks], list[Any]]]) -> None:
    kind = type(event).__name__
    if kind in ("MappingEndEvent", "SequenceEndEvent"):
        stack.pop()
        return
    if kind not in ("ScalarEvent", "AliasEvent", "MappingStartEvent", "SequenceStartEvent"):
        return
    holder, pending = stack[-1]
    place = (event.start_mark.line + 1, event.start_mark.column + 1)
    if isinstance(holder, dict) and not pending:
        pending.append((getattr(event, "value", ""), place))
        return
    children: dict[str, Marks] | list[Marks] | None = None
    if kind == "MappingStartEvent":
        children = {}
    elif kind == "SequenceStartEvent":
        children = []
    if isinstance(holder, dict):
        key, key_place = pending.pop()
        holder[key] = (key_place, children)
    else:
        holder.append((place, children))
    if children is not None:
        stack.append((children, []))
