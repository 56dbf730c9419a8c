"""Parsers of what programs say about files: ls, find, df, du, grep. Pure; named in `services.automation.parsers`.

Sizes are bytes, times RFC 3339 in UTC. Names of files hold anything but '/' and NUL, line ends included: where the
program allows it, its definition asks for a form in which a name cannot pass for something else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from opsconductor.model.clock import to_rfc3339
from opsconductor.services.kit.parsers_text import parse_lines

_KINDS = {
    "-": "file",
    "f": "file",
    "d": "directory",
    "l": "symlink",
    "s": "socket",
    "p": "pipe",
    "b": "block_device",
    "c": "character_device",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LS_ENTRY = re.compile(
    rf"(?P<mode>\S{{10}})[.+@]?\s+(?P<links>\d+|\?)\s+(?P<owner>\S+)\s+(?P<group>.+?)\s+"
    rf"(?P<size>\d+|\d+,\s*\d+|\?)\s+(?P<modified>-?\d+-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d|\?)\s+"
    rf"(?P<name>{_QUOTED})(?: -> (?P<target>{_QUOTED}))?"
)
_C_ESCAPE = re.compile(r"\\([0-7]{3}|.)|[^\\]+", re.DOTALL)
_C_LETTERS = {"a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v"}
_DF_ROW = re.compile(r"(.*?)\s+(\S+)\s+(\d+|-)\s+(-?\d+|-)\s+(-?\d+|-)\s+(\d+%|-)\s+(\S.*)")
_DU_ROW = re.compile(r"(\d+)\t(.*)")
_GREP_ROW = re.compile(r"(.*?)([:-]) *(\d+)\2(?:\t(.*))?")


def _unquoted(quoted: str) -> str:
    """A name in the quotes of C, as GNU ls writes it; bytes that are not UTF-8 become U+FFFD."""
    raw = bytearray()
    for match in _C_ESCAPE.finditer(quoted[1:-1]):
        code = match.group(1)
        if code is None:
            raw += match.group().encode("utf-8", "replace")
        elif len(code) == 3:
            raw.append(int(code, 8) & 0xFF)
        else:
            raw += _C_LETTERS.get(code, code.encode("utf-8", "replace"))
    return raw.decode("utf-8", "replace")


def _octal(mode: str) -> str:
    """`-rwsr-x--t` as `5751`, in four digits."""
    flags = mode[1:10]
    bits = sum(1 << (8 - place) for place, flag in enumerate(flags) if flag not in "-ST")
    special = sum(value for place, value in ((2, 4), (5, 2), (8, 1)) if flags[place] in "sStT")
    return f"{special}{bits:03o}"


def _utc(moment: str) -> str | None:
    """An ISO time with offset as RFC 3339 in UTC; digits below the microsecond are cut off.

    Null for a time that is not known, or outside of the years 1 to 9999, which some file systems allow.
    """
    try:
        return to_rfc3339(datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", moment)))
    except (ValueError, OverflowError):
        return None


def _utc_of_epoch(moment: str) -> str | None:
    """Seconds since 1970 with a fraction, as `_utc`."""
    seconds, _, fraction = moment.partition(".")
    try:
        return to_rfc3339(_EPOCH + timedelta(seconds=int(seconds), microseconds=int(fraction[:6] or 0)))
    except OverflowError:
        return None


def _ls_entry(match: re.Match[str], folder: str | None) -> dict[str, Any]:
    number = {key: int(value) if (value := match[key]).isdigit() else None for key in ("links", "size")}
    mode, target = match["mode"], match["target"]
    known = "?" not in mode[1:]
    return {
        "name": _unquoted(match["name"]),
        "folder": folder,
        "kind": _KINDS.get(mode[0]),
        "mode": _octal(mode) if known else None,
        "links": number["links"],
        "owner": match["owner"],
        "group": match["group"],
        "size": number["size"],
        "modified": _utc(match["modified"]),
        "target": None if target is None else _unquoted(target),
    }


def parse_ls_rows(text: str) -> list[dict[str, Any]]:
    """`ls -l --quoting-style=c --time-style=+%Y-%m-%dT%H:%M:%S.%N%:z`: one object a file.

    `folder` is null where ls names none: for files named themselves, and when one folder alone is listed.
    Devices have no size. What ls could not look at has null for everything but its name.
    """
    rows, folder = list[dict[str, Any]](), None
    for number, line in enumerate(parse_lines(text), 1):
        if not line or re.fullmatch(r"total \d+", line):
            continue
        if line.startswith('"') and line.endswith('":'):
            folder = _unquoted(line[:-1])
            continue
        match = _LS_ENTRY.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: this is no entry of ls")
        rows.append(_ls_entry(match, folder))
    return rows


def _joined(start: str, below: str) -> str:
    if not below:
        return start
    return f"{start}{'' if start.endswith('/') else '/'}{below}"


def parse_find_rows(text: str) -> list[dict[str, Any]]:
    r"""`find -printf '%y\t%s\t%T@\t%m\t%u\t%g\t%H\t%P//\n'`: one object a file.

    A row ends with `//` and a line end: `%P`, a path below its starting point, never holds `//`, so that no name,
    whatever it contains, passes for another row.
    """
    rows = []
    *ends, rest = text.split("//\n")
    if rest:
        raise ValueError("the last row is not complete")
    for number, row in enumerate(ends, 1):
        fields = row.split("\t", 7)
        if len(fields) != 8:
            raise ValueError(f"row {number} has {len(fields)} fields, expected 8")
        kind, size, modified, mode, owner, group, start, below = fields
        rows.append(
            {
                "path": _joined(start, below),
                "kind": _KINDS.get(kind),
                "size": int(size),
                "modified": _utc_of_epoch(modified),
                "mode": mode.zfill(4),
                "owner": owner,
                "group": group,
            }
        )
    return rows


def _number(word: str) -> int | None:
    return None if word == "-" else int(word.removesuffix("%"))


def parse_df_rows(text: str) -> list[dict[str, Any]]:
    """`df --output=source,fstype,…,target` with total, used, free and percent between: one object a file system.

    The unit is that of the columns asked for: bytes or inodes. What a file system does not know is null.
    """
    rows = []
    for number, line in enumerate(parse_lines(text)[1:], 2):
        match = _DF_ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected seven columns")
        source, kind, total, used, free, percent, mounted_on = match.groups()
        rows.append(
            {
                "filesystem": source,
                "type": kind,
                "total": _number(total),
                "used": _number(used),
                "available": _number(free),
                "use_percent": _number(percent),
                "mounted_on": mounted_on,
            }
        )
    return rows


def parse_du_rows(text: str) -> list[dict[str, Any]]:
    """`<bytes><tab><path>` a line: `[{"path": "/var/log", "size": 4096}]`. A line without a size continues a path."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(parse_lines(text), 1):
        match = _DU_ROW.fullmatch(line)
        if match is not None:
            rows.append({"path": match.group(2), "size": int(match.group(1))})
        elif rows:
            rows[-1]["path"] += "\n" + line
        else:
            raise ValueError(f"line {number}: expected a size and a path")
    return rows


def parse_grep_rows(text: str) -> list[dict[str, Any]]:
    """`grep --with-filename --line-number --initial-tab`: one object a line of a file.

    The tab keeps names such as `app-2024-01-01.log` apart from line numbers. `match` is false for lines of context.
    """
    rows = list[dict[str, Any]]()
    for number, line in enumerate(parse_lines(text), 1):
        if line == "--":
            continue
        match = _GREP_ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected a file, a line number and a text")
        path, mark, place, content = match.groups()
        rows.append({"path": path, "line": int(place), "text": content or "", "match": mark == ":"})
    return rows


def parse_path_counts(text: str) -> list[dict[str, Any]]:
    """`<path>:<count>` a line, as `grep --count` writes it."""
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        path, colon, count = line.rpartition(":")
        if not colon or not count.isdigit():
            raise ValueError(f"line {number}: expected a path and a count")
        rows.append({"path": path, "count": int(count)})
    return rows
