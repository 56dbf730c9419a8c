"""Parsers of plain program output: text in, plain JSON data out, ValueError for text that does not fit. Pure.

Registered under their names in `services.kit.parsing`; a definition picks one with `parse:`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

_PAIR = re.compile(r"\s*([^=:\s][^=:]*?)\s*(?:=|:(?=\s|$))\s?(.*)")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def parse_json(text: str) -> Any:
    """One JSON document. NaN and Infinity, which JSON does not have, are refused."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def parse_json_lines(text: str) -> list[Any]:
    """One JSON document a line; empty lines are left out. The error says which line."""
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                entries.append(parse_json(line))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return entries


def parse_key_value(text: str) -> dict[str, str | list[str]]:
    """`KEY=VALUE` or `key: value` a line; surrounding quotes of a value go away, a repeated key becomes a list.

    Empty lines and lines that begin with '#' are left out; any other line is an error.
    """
    pairs: dict[str, str | list[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _PAIR.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected KEY=VALUE or key: value")
        key, value = match.group(1), _unquoted(match.group(2).strip())
        before = pairs.get(key)
        pairs[key] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return pairs


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def parse_lines(text: str) -> list[str]:
    """The lines, without their line ends; only \\n and \\r\\n end one."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def parse_table(text: str) -> list[dict[str, str]]:
    """A header row and rows of columns separated by white space; the last column takes the rest of the line.

    Keys are the header's words in lower case. A row with fewer columns lacks the keys it has no value for.
    """
    rows = [line for line in text.splitlines() if line.strip()]
    if not rows:
        return []
    keys = [key.casefold() for key in rows[0].split()]
    if len(set(keys)) != len(keys):
        raise ValueError("the header names a column twice")
    return [dict(zip(keys, row.split(maxsplit=len(keys) - 1), strict=False)) for row in rows[1:]]


def _parse_delimited(text: str, delimiter: str) -> list[dict[str, str]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not rows:
        return []
    header, *body = rows
    for number, row in enumerate(body, 2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} fields, the header has {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in body]


def parse_csv(text: str) -> list[dict[str, str]]:
    """RFC 4180 with a header row: one object a row."""
    return _parse_delimited(text, ",")


def parse_tsv(text: str) -> list[dict[str, str]]:
    """Like `parse_csv` with tabs."""
    return _parse_delimited(text, "\t")


def parse_number(text: str) -> int | float:
    """One decimal number and nothing else."""
    word = text.strip()
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"found {word[:40]!r}, expected a number")
    return float(word) if any(char in word for char in ".eE") else int(word)
