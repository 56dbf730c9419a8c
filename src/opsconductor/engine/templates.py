"""Evaluates templates: typed results, strict names, bounded time and size. The only module that uses minijinja.

A value that is exactly one `{{ expression }}` becomes the expression's value with its type; within longer text values
are inserted (lists and objects as JSON). Values are never read as templates again, wherever they came from.
What plain minijinja leaves open is closed here: Python attributes are out of reach (`closed`), filters that make large
results out of small ones are replaced or absent, and an undefined result is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from opsconductor.engine.expressions import FILTERS, Expression, Part, parse, whole
from opsconductor.model.errors import OpsError


class TemplateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one evaluation: minijinja instructions, values and characters of its result, and its nesting."""

    fuel: int = 100_000
    max_result_nodes: int = 500_000
    max_result_chars: int = 4 * 1024**2
    max_result_depth: int = 64
    max_range: int = 1000


class ClosedMapping(dict[str, Any]):
    """A mapping of which templates reach the entries alone.

    minijinja reads Python attributes where an entry is missing, so `x.keys` would be a method instead of an error, and
    `x.clear()` would change the record. `items` must stay: by it minijinja tells mappings from other objects.
    """

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name == "items":
            return super().__getattribute__(name)
        raise AttributeError(name)


class ClosedList(list[Any]):
    """A list of which templates reach the entries alone."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise AttributeError(name)


def closed(value: Any) -> Any:
    """A copy of JSON-like data that a template can read and not change."""
    if isinstance(value, dict):
        return ClosedMapping({str(key): closed(entry) for key, entry in dict.items(value)})
    if isinstance(value, list | tuple):
        return ClosedList([closed(entry) for entry in value])
    return value


def to_text(value: Any) -> str:
    """A value as it appears within text: lists, objects, booleans and null as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


class _Plain:
    """Copies a result into plain JSON types and counts what it holds; one use."""

    def __init__(self, limits: TemplateLimits) -> None:
        self._limits = limits
        self._nodes = limits.max_result_nodes
        self._chars = limits.max_result_chars

    def take(self, value: Any, depth: int = 0) -> Any:
        self._nodes -= 1
        if self._nodes < 0 or depth > self._limits.max_result_depth:
            raise ValueError(f"the result is larger than {self._limits.max_result_nodes} values")
        if isinstance(value, str):
            self._chars -= len(value)
            if self._chars < 0:
                raise ValueError(f"the result is longer than {self._limits.max_result_chars} characters")
            return str(value)
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError("the result is not a finite number")
            return value
        if isinstance(value, dict):
            return {self.take(key, depth): self.take(entry, depth + 1) for key, entry in dict.items(value)}
        if isinstance(value, list | tuple):
            return [self.take(entry, depth + 1) for entry in value]
        raise ValueError("the result is not text, a number, a list or an object")


class Templates:
    """An environment for evaluation; keeps nothing between evaluations and may be shared by executions."""

    def __init__(self, limits: TemplateLimits | None = None) -> None:
        self._limits = limits or TemplateLimits()
        self._made: Any = None

    @property
    def _environment(self) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> Any:
        import minijinja

        environment = minijinja.Environment(
            fuel=self._limits.fuel,
            undefined_behavior="strict",
            auto_escape_callback=lambda _name: False,
            debug=False,
            pycompat=False,
        )
        for name in _ABSENT_FILTERS:
            environment.remove_filter(name)
        for name in ("debug", "dict", "namespace", "lipsum", "cycler", "joiner", "range"):
            environment.remove_global(name)
        own: dict[str, Callable[..., Any]] = {
            "_number": _number,
            "length": _length,
            "count": _length,
            "string": self._string,
            "join": self._join,
            "replace": self._replace,
            "tojson": self._tojson,
            "urlencode": _urlencode,
        }
        for name, function in own.items():
            environment.add_filter(name, function)
        environment.add_global("range", self._range)
        return environment

    # Filters and functions of ours. They get plain values, and raise ValueError with words for people.
    def _fits(self, size: int) -> None:
        if size > self._limits.max_result_chars:
            raise ValueError(f"the result is longer than {self._limits.max_result_chars} characters")

    def _string(self, value: Any) -> str:
        return to_text(_Plain(self._limits).take(_there(value)))

    def _tojson(self, value: Any) -> str:
        return json.dumps(_Plain(self._limits).take(_there(value)), ensure_ascii=False)

    def _join(self, values: Any, separator: str = "", *, attribute: str | None = None) -> str:
        if not isinstance(values, list | tuple):
            raise ValueError("join needs a list")
        entries = _Plain(self._limits).take(values)
        if attribute is not None:
            entries = [entry[attribute] for entry in entries]
        rendered = [to_text(entry) for entry in entries]
        self._fits(sum(map(len, rendered)) + len(separator) * len(rendered))
        return separator.join(rendered)

    def _replace(self, value: Any, old: str, new: str) -> str:
        if not all(isinstance(text, str) for text in (value, old, new)) or not old:
            raise ValueError("replace needs texts: value|replace(old, new)")
        self._fits(len(value) + value.count(old) * (len(new) - len(old)))
        return str(value).replace(old, new)

    def _range(self, *bounds: int) -> ClosedList:
        numbers = range(*bounds)
        if len(numbers) > self._limits.max_range:
            raise ValueError(f"range makes at most {self._limits.max_range} numbers")
        return ClosedList(numbers)

    def check(self, expression: Expression) -> None:
        """Raise OpsError(`expression_invalid`) when the expression does not parse; nothing is evaluated."""
        error = _template_error()
        try:
            # In brackets: minijinja takes a sign before `}}` for a mark about white space.
            self._environment.undeclared_variables_in_str("{{ (" + expression.code + ") }}")
        except error as problem:
            raise _invalid(expression, problem) from problem

    def evaluate(self, expression: Expression, scope: Mapping[str, Any]) -> Any:
        """The expression's value as plain data. `scope` holds closed data. Raises OpsError(`expression_invalid`)."""
        error = _template_error()
        try:
            value = self._environment.eval_expr(expression.code, **scope)
            # minijinja hands out an undefined result as None; a None that is a value is rare enough to look twice.
            if value is None and not self._environment.eval_expr(f"({expression.code}) is defined", **scope):
                raise ValueError("there is no such value; `| default(…)` gives one")
            return _Plain(self._limits).take(value)
        except (error, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as problem:
            raise _invalid(expression, problem) from problem

    def text(self, text: str, scope: Mapping[str, Any]) -> Any:
        """A text with its templates evaluated: typed when it is one expression, else text."""
        if "{{" not in text:
            parse(text)
            return text
        if (alone := whole(text)) is not None:
            return self.evaluate(alone, scope)
        return "".join(self._piece(part, scope) for part in parse(text))

    def _piece(self, part: Part, scope: Mapping[str, Any]) -> str:
        return part if isinstance(part, str) else to_text(self.evaluate(part, scope))

    def render(self, value: Any, scope: Mapping[str, Any]) -> Any:
        """Nested data with every template evaluated. Raises OpsError(`expression_invalid`)."""
        if isinstance(value, str):
            return self.text(value, scope)
        if isinstance(value, dict):
            return {key: self.render(entry, scope) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.render(entry, scope) for entry in value]
        return value

    def condition(self, text: str, scope: Mapping[str, Any]) -> bool:
        """Whether a `when` holds; it must come to true or false. Raises OpsError(`expression_invalid`)."""
        value = self.text(text, scope)
        if isinstance(value, bool):
            return value
        raise OpsError(
            "expression_invalid",
            f"when: {text!r} came to {type(value).__name__}, expected true or false; compare it (==, >, is defined)",
            expression=text,
        )


# Filters that are not offered: they reach Python attributes, or make large results without counting fuel.
_ABSENT_FILTERS = frozenset(
    {
        "attr",
        "batch",
        "chain",
        "e",
        "escape",
        "indent",
        "pluralize",
        "pprint",
        "safe",
        "slice",
        "striptags",
        "wordwrap",
        "zip",
    }
)
assert not FILTERS & _ABSENT_FILTERS  # noqa: S101 - two lists that must not disagree


def _number(value: Any) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError("'*' needs a number on both sides")


def _there(value: Any) -> Any:
    """The value. minijinja hands a filter None for what is missing, so null is refused with it."""
    if value is None:
        raise ValueError("there is no value here; `| default(…)` gives one to what may be missing or null")
    return value


def _urlencode(value: Any) -> str:
    """A text for use in a URL (RFC 3986 §2.1), or an object as a query."""
    if isinstance(value, dict):
        return urlencode({name: to_text(entry) for name, entry in value.items()})
    return quote(to_text(_there(value)), safe="/")


def _length(value: Any) -> int:
    """minijinja says 0 for what does not exist, which would report nothing found where nobody could look."""
    if isinstance(value, str | list | tuple | dict):
        return len(value)
    raise ValueError("there is no text, list or object here to take the length of")


def _template_error() -> type[Exception]:
    import minijinja

    kind: type[Exception] = minijinja.TemplateError
    return kind


def _invalid(expression: Expression, problem: Exception) -> OpsError:
    detail = str(getattr(problem, "message", None) or problem).partition("\n")[0]
    shown = expression.source if len(expression.source) <= 120 else expression.source[:100] + "…"
    reason = detail.replace(" (in <expression>:1)", "").replace(" (in <string>:1)", "")
    hint = "; a literal {{ is written {{ '{{' }}" if reason.startswith("syntax error") else ""
    return OpsError("expression_invalid", f"{{{{ {shown} }}}}: {reason}{hint}", expression=shown)
