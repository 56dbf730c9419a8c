"""The parsers that automation-service adds to those of the kit: text of a program in, plain JSON data out. Pure.

A definition names one with `parse:`; `bootstrap` hands `PARSERS` to the service. They are for programs that have no
JSON of their own and whose text the jc library reads not at all, or not exactly. ValueError: a text does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from opsconductor.model.clock import to_rfc3339
from opsconductor.services.automation import parsers_files, parsers_processes
from opsconductor.services.kit.parsers_text import parse_lines

_COUNT = re.compile(r"\s*(\d+)[ \t](.*)", re.DOTALL)
_ESCAPES = {"\\\\": "\\", "\\t": "\t"}


def parse_text(text: str) -> str:
    """The text as it is."""
    return text


def parse_line(text: str) -> str:
    """The one line that there is."""
    lines = parse_lines(text)
    if len(lines) != 1:
        raise ValueError(f"found {len(lines)} lines, expected one")
    return lines[0]


def parse_words(text: str) -> list[str]:
    """Everything that blanks or line ends separate."""
    return text.split()


def parse_pairs(text: str) -> dict[str, str]:
    """`Some Key: value` a line, keys in small letters with `_` between words: `Distributor ID` is `distributor_id`."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(parse_lines(text), 1):
        key, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"line {number}: expected 'key: value'")
        pairs["_".join(re.findall(r"[a-z0-9]+", key.casefold()))] = value.strip()
    return pairs


def parse_count_rows(text: str) -> list[dict[str, Any]]:
    """`<count> <value>` a line, as `uniq --count` writes it: `[{"count": 2, "value": "a b"}]`."""
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        match = _COUNT.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected a count and a value")
        rows.append({"count": int(match.group(1)), "value": match.group(2)})
    return rows


def parse_tab_rows(text: str) -> list[list[str]]:
    r"""Fields separated by tabs, a list for each line; `\t` and `\\` in a field stand for a tab and a backslash."""

    def plain(field: str) -> str:
        return re.sub(r"\\[\\t]", lambda match: _ESCAPES[match.group()], field)

    return [[plain(field) for field in line.split("\t")] for line in parse_lines(text)]


def parse_utc_time(text: str) -> str:
    """`2026-01-02 03:04:05` in UTC, as RFC 3339."""
    return to_rfc3339(datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC))


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "text": parse_text,
    "line": parse_line,
    "words": parse_words,
    "pairs": parse_pairs,
    "count_rows": parse_count_rows,
    "tab_rows": parse_tab_rows,
    "utc_time": parse_utc_time,
    "ls_rows": parsers_files.parse_ls_rows,
    "find_rows": parsers_files.parse_find_rows,
    "df_rows": parsers_files.parse_df_rows,
    "du_rows": parsers_files.parse_du_rows,
    "grep_rows": parsers_files.parse_grep_rows,
    "path_counts": parsers_files.parse_path_counts,
    "ps_rows": parsers_processes.parse_ps_rows,
    "pid_rows": parsers_processes.parse_pid_rows,
    "top_frames": parsers_processes.parse_top_frames,
    "identity": parsers_processes.parse_identity,
}
