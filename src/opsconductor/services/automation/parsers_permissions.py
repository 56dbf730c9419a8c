"""Parsers of what programs say about modes, owners and niceness: chmod, chown, stat, ps. Pure.

Named in `services.automation.parsers_network`.
"""

from __future__ import annotations

import re
from typing import Any

from opsconductor.services.kit.parsers_text import parse_lines

_QUOTED = r"""(?:\$'(?:[^'\\]|\\.)*'|'[^']*'|"[^"]*"|\\')+"""
_PIECE = re.compile(r"""\$'((?:[^'\\]|\\.)*)'|'([^']*)'|"([^"]*)"|\\(')""")
_MODE = re.compile(
    rf"mode of (?P<path>{_QUOTED}) "
    r"(?:changed from (?P<before>[0-7]{4}) \(.{9}\) to|retained as) (?P<after>[0-7]{4}) \(.{9}\)"
)
_OWNER = re.compile(
    rf"(?:changed ownership|changed group|ownership|group) of (?P<path>{_QUOTED}) "
    r"(?:from (?P<before>\S+) to|retained as) (?P<after>\S+)"
)
_NOTHING_DONE = re.compile(r".* could not be accessed|failed to change .*|neither symbolic link .*|")


def _unquoted(quoted: str) -> str:
    """A name in the quotes that GNU programs copied from shells: `'a'`, `"it's"`, `'a'$'\\n''b'`."""
    parts = []
    for escaped, single, double, quote in _PIECE.findall(quoted):
        raw = escaped.encode("ascii", "backslashreplace").decode("unicode_escape").encode("latin-1", "replace")
        parts.append(raw.decode("utf-8", "replace") if escaped else single or double or quote)
    return "".join(parts)


def _changes(text: str, pattern: re.Pattern[str]) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        match = pattern.fullmatch(line)
        if match is not None:
            before, after = match["before"] or match["after"], match["after"]
            changed = match["before"] is not None
            path = _unquoted(match["path"])
            rows.append({"path": path, "before": before, "after": after, "changed": changed})
        elif not _NOTHING_DONE.fullmatch(line):
            raise ValueError(f"line {number}: this says of no file what became of it: {line[:80]!r}")
    return rows


def parse_mode_changes(text: str) -> list[dict[str, Any]]:
    """`chmod --verbose`: path, mode before and after, and whether it changed; files it failed on are left out."""
    return _changes(text, _MODE)


def parse_owner_changes(text: str) -> list[dict[str, Any]]:
    """`chown --verbose`: path, owner before and after as chown words them (`user:group`), and whether it changed."""
    return _changes(text, _OWNER)


def parse_stat_rows(text: str) -> list[dict[str, Any]]:
    r"""`stat --printf='%a\t%U\t%G\t%u\t%g\t%F\t%s\t%n\n'`: one object a file; the mode in four octal digits."""
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        fields = line.split("\t", 7)
        if len(fields) != 8:
            raise ValueError(f"line {number} has {len(fields)} fields, expected 8")
        mode, owner, group, uid, gid, kind, size, path = fields
        rows.append(
            {
                "path": path,
                "mode": mode.zfill(4),
                "owner": owner,
                "group": group,
                "uid": int(uid),
                "gid": int(gid),
                "kind": kind,
                "size": int(size),
            }
        )
    return rows


def parse_process_rows(text: str) -> list[dict[str, Any]]:
    """`ps -o pid=,ppid=,ni=,stat=,euid=,args=`: one object a process. Niceness is null for real-time processes."""
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        words = line.split(maxsplit=5)
        if len(words) != 6:
            raise ValueError(f"line {number}: expected six columns")
        pid, parent, nice, state, uid, command = words
        rows.append(
            {
                "pid": int(pid),
                "ppid": int(parent),
                "nice": None if nice == "-" else int(nice),
                "state": state,
                "uid": int(uid),
                "command": command,
            }
        )
    return rows
