"""Finds `{{ … }}` in texts and tells what each expression refers to, without evaluating anything. Pure.

Only expressions exist: a plan is data, so Jinja's statements (`{% if %}`, `{% for %}` …) are refused by name; `when`
and `for_each` say the same. A literal `{{` is written `{{ '{{' }}`: `"{{ '{{' }}.Names}}"` is the text `{{.Names}}`.
Called by the plan reader (references, unknown names) and by `engine.templates` (evaluation).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NoReturn

import msgspec

from opsconductor.model.errors import OpsError

MAX_EXPRESSION_CHARS = 4096
"""Longest expression; minijinja's parser recurses, and overflows its stack somewhere above 10,000 operators."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILTERS = _words(
    "abs bool capitalize count d default dictsort filesizeformat first float format groupby int items join last length "
    "lines list lower map max min reject rejectattr replace reverse round select selectattr sort split string sum "
    "title tojson trim truncate unique upper urlencode"
)
TESTS = _words(
    "boolean defined divisibleby endingwith eq equalto even false float ge gt greaterthan in int integer iterable le "
    "lower lt lessthan mapping ne none number odd sequence startingwith string true undefined upper"
)
FUNCTIONS = frozenset({"range"})
_WORDS = _words("and or not in is if else true false none True False None")

_TOKEN = re.compile(
    r"""\s+
    | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<number>\d\w*(?:\.\d\w*)?)
    | (?P<name>[^\W\d]\w*)
    | (?P<op>\*\*|//|==|!=|<=|>=|.)""",
    re.VERBOSE | re.DOTALL,
)
_STATEMENT = re.compile(
    r"\{%[-+]?\s*(?:if|elif|else|for|set|macro|call|filter|block|extends|include|import|from|raw|do)\b"
)
_MARKS = re.compile(r"\{\{|\{%")
_CLOSERS = {"(": ")", "[": "]", "{": "}"}


class Token(msgspec.Struct, frozen=True):
    """One word of an expression; `end` is where it ends in the text it came from."""

    kind: str
    text: str
    start: int
    end: int


class Expression(msgspec.Struct, frozen=True):
    """One `{{ … }}`. `code` is what may be evaluated; `names` are the variables it reads besides these."""

    source: str
    code: str
    steps: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    receivers: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


Part = str | Expression


def _refuse(message: str, source: str) -> NoReturn:
    shown = source if len(source) <= 120 else f"{source[:100]}… ({len(source)} characters)"
    raise OpsError("expression_invalid", f"{message}, in {shown!r}", expression=shown)


def has_template(value: Any) -> bool:
    """Whether a text anywhere in `value` holds a template."""
    return any("{{" in text for _, text in texts(value))


def texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every text in nested data with its path; keys are never templates."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from texts(entry, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from texts(entry, (*path, index))


def _scan(text: str, start: int) -> tuple[list[Token], int]:
    """Tokens of the expression that starts at `start`, and where its `}}` stands."""
    tokens, open_brackets, position = list[Token](), list[str](), start
    while position < len(text):
        if not open_brackets and text.startswith("}}", position):
            return tokens, position
        if position - start > MAX_EXPRESSION_CHARS:
            _refuse(f"the expression is longer than {MAX_EXPRESSION_CHARS} characters; compute it in a step", text)
        match = _TOKEN.match(text, position)
        assert match is not None  # noqa: S101 - the pattern ends in "any character"
        kind, word = match.lastgroup, match.group()
        if word in ("'", '"'):
            _refuse(f"a text in quotes ({word}) is not closed", text)
        if kind == "op" and word in _CLOSERS:
            open_brackets.append(_CLOSERS[word])
        elif kind == "op" and word in ")]}" and (not open_brackets or open_brackets.pop() != word):
            _refuse(f"{word!r} closes nothing", text)
        if kind is not None:
            tokens.append(Token(kind, word, match.start(), match.end()))
        position = match.end()
    hint = "; a literal {{ is written {{ '{{' }}"
    _refuse(f"the '{{{{' at character {start - 1} is not closed with '}}}}'{hint}", text)


@lru_cache(maxsize=8192)
def parse(text: str) -> tuple[Part, ...]:
    """Split a text into literals and expressions. Raises OpsError(`expression_invalid`)."""
    parts, position = list[Part](), 0
    while (opened := text.find("{{", position)) >= 0:
        if opened > position:
            parts.append(text[position:opened])
        tokens, closed = _scan(text, opened + 2)
        parts.append(_expression(text, tokens, text[opened + 2 : closed].strip()))
        position = closed + 2
    if position < len(text) or not parts:
        parts.append(text[position:])
    for part in parts:
        if isinstance(part, str) and (statement := _STATEMENT.search(part)):
            _refuse(f"{statement.group()} …: statements are not offered; use `when` and `for_each`", text)
    return tuple(parts)


def literal(value: Any) -> Any:
    """Nested data whose texts mean themselves when they are read as templates: for values that come from elsewhere."""
    if isinstance(value, str):
        return _MARKS.sub(r"{{ '\g<0>' }}", value)
    if isinstance(value, dict):
        return {key: literal(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [literal(entry) for entry in value]
    return value


def whole(text: str) -> Expression | None:
    """The expression when `text` is exactly one `{{ … }}` (white space around it aside), else None."""
    parts = parse(text.strip())
    return parts[0] if len(parts) == 1 and isinstance(parts[0], Expression) else None


def expressions(value: Any) -> Iterator[Expression]:
    """All expressions in nested data. Raises OpsError(`expression_invalid`)."""
    for _, text in texts(value):
        if "{{" in text or "{%" in text:
            yield from (part for part in parse(text) if isinstance(part, Expression))


def _expression(text: str, tokens: list[Token], source: str) -> Expression:
    if not tokens:
        _refuse("an empty expression", text)
    _check_names(tokens, text)
    members, names = _references(tokens, text)
    return Expression(
        source, _guarded(text, tokens), members["steps"], members["inputs"], members["receivers"], frozenset(names)
    )


def _nearest(name: str, known: frozenset[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"


def _check_names(tokens: list[Token], text: str) -> None:
    """Refuse filters, tests and functions that are not offered, before anything runs."""
    for before, token in pairwise(tokens):
        if before.text == "|" and token.text not in FILTERS:
            _refuse(f"no filter is called {token.text!r}{_nearest(token.text, FILTERS)}", text)
        if before.text == "is" and before.kind == "name" and token.text not in TESTS | {"not"}:
            _refuse(f"no test is called {token.text!r}{_nearest(token.text, TESTS)}", text)


def _variables(tokens: list[Token]) -> Iterator[tuple[int, Token]]:
    """Names that read a variable: no attributes, filters, tests, keywords or names of arguments."""
    for index, token in enumerate(tokens):
        before = tokens[index - 1].text if index else ""
        after = tokens[index + 1].text if index + 1 < len(tokens) else ""
        tested = before == "is" or (before == "not" and index > 1 and tokens[index - 2].text == "is")
        if token.kind == "name" and token.text not in _WORDS and before not in (".", "|") and not tested:
            if after == "=" and before in ("(", ","):
                continue
            yield index, token


def _member(tokens: list[Token], index: int) -> str | None:
    """The attribute taken from the variable at `index`: `.name` or `['name']`."""
    following = tokens[index + 1 : index + 4]
    if len(following) >= 2 and following[0].text == "." and following[1].kind in ("name", "number"):
        return following[1].text
    if len(following) == 3 and following[0].text == "[" and following[1].kind == "string" and following[2].text == "]":
        return str(ast.literal_eval(following[1].text))
    return None


def _references(tokens: list[Token], text: str) -> tuple[dict[str, frozenset[str]], set[str]]:
    members, names = {root: set[str]() for root in ("steps", "inputs", "receivers")}, set[str]()
    for index, token in _variables(tokens):
        member = _member(tokens, index)
        if index + 1 < len(tokens) and tokens[index + 1].text == "(":
            if token.text not in FUNCTIONS:
                _refuse(f"no function is called {token.text!r}{_nearest(token.text, FUNCTIONS)}", text)
        elif token.text not in members:
            names.add(token.text)
        elif member is None:
            _refuse(f"write which of the {token.text} is meant: {token.text}.NAME or {token.text}['NAME']", text)
        else:
            members[token.text].add(member)
    return {root: frozenset(found) for root, found in members.items()}, names


def _closing(tokens: list[Token], index: int) -> int:
    """Index just after the bracket that closes the one at `index`; brackets are known to balance."""
    depth = 0
    for place in range(index, len(tokens)):
        if tokens[place].kind == "op":
            depth += (tokens[place].text in _CLOSERS) - (tokens[place].text in ")]}")
        if depth == 0:
            return place + 1
    return len(tokens)


def _operand_end(tokens: list[Token], index: int) -> int:
    """Index just after the operand that starts at `index`: signs, a value, and what hangs on it."""
    while index < len(tokens) and tokens[index].text in ("+", "-"):
        index += 1
    index = _closing(tokens, index) if index < len(tokens) and tokens[index].text in _CLOSERS else index + 1
    while index < len(tokens) and tokens[index].kind == "op":
        if tokens[index].text in (".", "|"):
            index += 2
        elif tokens[index].text in ("(", "["):
            index = _closing(tokens, index)
        else:
            break
    return index


def _guarded(text: str, tokens: list[Token]) -> str:
    """The expression with both operands of each `*` checked to be numbers.

    minijinja repeats lists without counting fuel: `[1] * 10**9` would take all memory.
    """
    stars = [index for index, token in enumerate(tokens) if token.text == "*" and token.kind == "op"]
    checked = {index - 1 for index in stars} | {min(_operand_end(tokens, i + 1), len(tokens)) - 1 for i in stars}
    if any(index == 0 or tokens[index - 1].text in ("(", ",") for index in stars):
        _refuse("'*' needs a number on both sides", text)
    pieces, position = list[str](), tokens[0].start
    for index in sorted(checked):
        pieces += [text[position : tokens[index].end], "|_number"]
        position = tokens[index].end
    return "".join([*pieces, text[position : tokens[-1].end]])
