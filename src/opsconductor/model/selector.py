"""Selectors: the one grammar by which plans, tools and people name assets. Pure; used wherever assets are chosen.

    selector = clause {"," clause}                      every clause must hold
    clause   = ["!"] field                              the field has a value / has none (`!retired`)
             | field ("=" | "!=" | "~" | "!~") value
             | field ["not"] "in" "(" value {"," value} ")"
    value    = a word without spaces and , ( ) = ! ~ quotes, or "text in quotes" with \\ before a quote or backslash

A field is one of the asset's, an alias (env, os, tag, ip, name …), `metadata.path`, or else a label (`role`).
`text` stands for any field. Of fields with several values (tags) one must fit; `!=` and `!~` mean that none does.
Letter case is ignored. `~` takes * and ?; without either it finds the value anywhere. Addresses compare with
addresses and networks (`ip=10.0.0.0/8`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from opsconductor.model.asset import Asset
from opsconductor.model.asset_terms import ADDRESS_KEYS, NOT_IN_TEXT, address_range, field_of, fold, terms
from opsconductor.model.errors import OpsError, Problem

MAX_CHARACTERS = 16_384
MAX_CLAUSES = 100
MAX_VALUES = 1_000
MAX_STARS = 8


class Operator(StrEnum):
    """How a clause compares."""

    IS = "="
    IS_NOT = "!="
    LIKE = "~"
    UNLIKE = "!~"
    IN = "in"
    NOT_IN = "not in"
    HAS = "has"
    LACKS = "lacks"

    @property
    def negative(self) -> bool:
        """Whether the clause holds when its positive form does not."""
        return self in (Operator.IS_NOT, Operator.UNLIKE, Operator.NOT_IN, Operator.LACKS)


class Clause(msgspec.Struct, frozen=True):
    """One condition. `field` is resolved (`field_of`); `values` are as written: none for HAS, several for IN."""

    field: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = _short(self.field)
        if self.operator in (Operator.HAS, Operator.LACKS):
            return name if self.operator is Operator.HAS else f"!{name}"
        if self.operator in (Operator.IN, Operator.NOT_IN):
            return f"{name} {self.operator} ({', '.join(map(_quoted, self.values))})"
        return f"{name}{self.operator}{_quoted(self.values[0])}"

    def holds(self, found: Mapping[str, frozenset[str]]) -> bool:
        """Whether an asset with these terms fits."""
        return self._any(found) is not self.operator.negative

    def _any(self, found: Mapping[str, frozenset[str]]) -> bool:
        texts = candidates(self.field, found)
        if self.operator in (Operator.HAS, Operator.LACKS):
            return bool(texts)
        if self.operator in (Operator.LIKE, Operator.UNLIKE):
            pattern = glob(self.values[0])
            return any(fits(pattern, text) for text in texts)
        if self.field == "addresses":
            ranges = [keys for value in self.values if (keys := address_range(value))]
            return any(low <= key <= high for key in found.get(ADDRESS_KEYS, ()) for low, high in ranges)
        return not texts.isdisjoint(map(fold, self.values))


class Selector(msgspec.Struct, frozen=True):
    """Clauses that must all hold; never empty."""

    clauses: tuple[Clause, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.clauses))

    def matches(self, asset: Asset) -> bool:
        """Whether the asset fits. Retired assets fit like others unless a clause speaks of `retired`."""
        found = terms(asset)
        return all(clause.holds(found) for clause in self.clauses)


def candidates(field: str, found: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The texts that a clause on `field` looks at."""
    if field != "text":
        return found.get(field, frozenset())
    return frozenset(text for name, texts in found.items() if name not in NOT_IN_TEXT for text in texts)


def glob(value: str) -> str:
    """The folded pattern of a `~` value: runs of * become one; without a wildcard it may stand anywhere."""
    pattern = re.sub(r"\*+", "*", fold(value))
    return pattern if "*" in pattern or "?" in pattern else f"*{pattern}*"


def fits(pattern: str, text: str) -> bool:
    """Whether `text` is of the form `pattern` (* any run, ? one character); at most their product of steps."""
    at = position = back = 0
    star = -1
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, back = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[position]):
            at, position = at + 1, position + 1
        elif star >= 0:
            back += 1
            at, position = star + 1, back
        else:
            return False
    return not pattern[at:].strip("*")


_WORD = re.compile(r"[^\s,()=!~\"'\x00-\x1f\x7f]+")
_TOKEN = re.compile(
    r"\s*(?:(?P<quoted>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')|(?P<sign>!=|!~|==|[=~!(),])|(?P<word>"
    + _WORD.pattern
    + r"))",
    re.DOTALL,
)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")


class _Token(msgspec.Struct, frozen=True):
    kind: str  # quoted | sign | word | end
    text: str
    column: int


def _short(field: str) -> str:
    label = field.removeprefix("labels.")
    return label if _FIELD.fullmatch(label) and field_of(label) == field else field


def _quoted(value: str) -> str:
    if _WORD.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _error(column: int, message: str) -> OpsError:
    problem = Problem(code="selector_invalid", column=column, message=message)
    return OpsError("selector_invalid", f"column {column}: {message}", problems=(problem,), column=column)


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            column = position + len(text[position:]) - len(text[position:].lstrip()) + 1
            char = text[column - 1]
            what = "a quote that is not closed" if char in "\"'" else f"the character {char!r}"
            raise _error(column, f"found {what}; put special characters between quotes, each opened and closed")
        value = match[match.lastgroup]
        if match.lastgroup == "quoted":
            value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
        yield _Token(match.lastgroup, value, match.start(match.lastgroup) + 1)
        position = match.end()
    yield _Token("end", "the end", end + 1)


class _Reader:
    """A recursive-descent parser over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self._tokens: Sequence[_Token] = tuple(_tokens(text))
        self._position = 0

    @property
    def next(self) -> _Token:
        return self._tokens[self._position]

    def take(self) -> _Token:
        token = self.next
        self._position += token.kind != "end"
        return token

    def sign(self, *texts: str) -> _Token | None:
        """Take the next token when it is one of these signs."""
        return self.take() if self.next.kind == "sign" and self.next.text in texts else None

    def keyword(self, text: str) -> bool:
        if self.next.kind == "word" and self.next.text.lower() == text:
            self.take()
            return True
        return False

    def selector(self) -> Selector:
        clauses = [self.clause()]
        while self.sign(","):
            clauses.append(self.clause())
        if self.next.kind != "end":
            raise _error(self.next.column, f"found {self.next.text!r}, expected ',' or the end{self._hint()}")
        if len(clauses) > MAX_CLAUSES:
            raise _error(1, f"found {len(clauses)} clauses, expected at most {MAX_CLAUSES}")
        return Selector(tuple(clauses))

    def _hint(self) -> str:
        hints = {"and": "; clauses are joined with ','", "or": "; alternatives are written field in (a, b)"}
        joined = "; a value with spaces goes between quotes" if self.next.kind in ("word", "quoted") else ""
        return hints.get(self.next.text.lower(), joined)

    def clause(self) -> Clause:
        negated = self.sign("!")
        name = self.take()
        if name.kind != "word" or not _FIELD.fullmatch(name.text):
            raise _error(name.column, f"found {name.text!r}, expected a field or label such as environment")
        field = field_of(name.text)
        if sign := self.sign("=", "==", "!=", "~", "!~"):
            if negated:
                raise _error(negated.column, f"found '!' before a comparison; write {name.text}!{sign.text[-1]}…")
            return self.compared(field, Operator("=" if sign.text == "==" else sign.text))
        if not negated and self.keyword("in"):
            return self.listed(field, Operator.IN)
        if not negated and self.keyword("not"):
            if not self.keyword("in"):
                raise _error(self.next.column, f"found {self.next.text!r}, expected 'in' after 'not'")
            return self.listed(field, Operator.NOT_IN)
        return Clause(field, Operator.LACKS if negated else Operator.HAS)

    def value(self) -> tuple[str, int]:
        token = self.take()
        if token.kind not in ("word", "quoted"):
            raise _error(token.column, f"found {token.text!r}, expected a value")
        return token.text, token.column

    def compared(self, field: str, operator: Operator) -> Clause:
        text, column = self.value()
        try:
            return clause(field, operator, text)
        except OpsError as error:
            raise _error(column, error.message) from None

    def listed(self, field: str, operator: Operator) -> Clause:
        if not self.sign("("):
            raise _error(self.next.column, f"found {self.next.text!r}, expected '(' after 'in'")
        first = self.next.column
        values = [self.value()[0]]
        while self.sign(","):
            values.append(self.value()[0])
        if not self.sign(")"):
            raise _error(self.next.column, f"found {self.next.text!r}, expected ',' or ')'")
        try:
            return clause(field, operator, *values)
        except OpsError as error:
            raise _error(first, error.message) from None


def clause(name: str, operator: Operator, *values: str) -> Clause:
    """A checked clause from parts, as filters of tools give them. Raises OpsError(`selector_invalid`)."""
    field = field_of(name)
    if len(values) > MAX_VALUES:
        raise OpsError("selector_invalid", f"found {len(values)} values, expected at most {MAX_VALUES}")
    for value in values:
        if any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in value):
            raise OpsError("selector_invalid", f"found {value!r}, expected text without control characters")
        if operator in (Operator.LIKE, Operator.UNLIKE):
            if glob(value).count("*") > MAX_STARS:
                raise OpsError("selector_invalid", f"found more than {MAX_STARS} '*' in one pattern")
        elif field == "addresses" and address_range(value) is None:
            message = f"found {value!r}, expected an address or network such as 10.0.0.0/24; patterns go with '~'"
            raise OpsError("selector_invalid", message)
        elif field == "hostname" and ("*" in value or "?" in value):
            raise OpsError("selector_invalid", f"found {value!r}, expected a whole host name; patterns go with '~'")
    return Clause(field, operator, values)


def parse(text: str) -> Selector:
    """Read a selector. Raises OpsError(`selector_invalid`) whose message and problem carry the column (from 1)."""
    if len(text) > MAX_CHARACTERS:
        raise _error(1, f"found {len(text)} characters, expected at most {MAX_CHARACTERS}")
    if not text.strip():
        raise _error(1, "found nothing, expected a selector such as env=prod, tag=blue; every asset is hostname~*")
    return _Reader(text).selector()
