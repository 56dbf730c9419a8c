"""Parsers of what the sqlite3 shell prints in its JSON mode. Pure; named in `services.automation.parsers_network`.

The shell prints one JSON list for each statement that gives rows, and nothing for one that gives none.
"""

from __future__ import annotations

import json
from typing import Any

_BLANKS = " \t\r\n"


def _documents(text: str) -> list[Any]:
    """JSON documents that stand one after the other."""
    decoder, found, place = json.JSONDecoder(), [], 0
    rest = text.rstrip(_BLANKS)
    while place < len(rest):
        while rest[place] in _BLANKS:
            place += 1
        document, place = decoder.raw_decode(rest, place)
        found.append(document)
    return found


def parse_sqlite_rows(text: str) -> list[dict[str, Any]]:
    """The rows of one query; none where nothing was printed."""
    documents = _documents(text)
    if len(documents) > 1:
        raise ValueError(f"found {len(documents)} results, expected one")
    if documents and not isinstance(documents[0], list):
        raise ValueError("the result is not a list of rows")
    return list(documents[0]) if documents else []


def parse_sqlite_changes(text: str) -> dict[str, Any]:
    """`{"changes": n, "results": [rows, …]}` of statements followed by `SELECT total_changes() AS changes`."""
    *results, last = _documents(text) or [None]
    if not isinstance(last, list) or len(last) != 1 or set(last[0]) != {"changes"}:
        raise ValueError("the last result does not count changes")
    return {"changes": last[0]["changes"], "results": results}
