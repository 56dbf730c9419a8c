"""One thing wrong in a definition, before it is known on which line it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from opsconductor.model.errors import Problem

PathKey = str | int


class Finding(msgspec.Struct, frozen=True):
    """`path` leads to the place from the document's root; `message` says what was found and what was expected."""

    path: tuple[PathKey, ...]
    message: str
    code: str = "definition_invalid"
    expected: str | None = None
    suggestion: str | None = None
    level: str = "error"


def dotted(path: Iterable[PathKey]) -> str:
    """A path for people: `operations.logs.argv[3]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def to_problems(
    findings: Iterable[Finding], file: str, position: Callable[[tuple[PathKey, ...]], tuple[int, int]]
) -> list[Problem]:
    """The findings with their lines and columns, in the document's order."""
    placed = [(position(finding.path), finding) for finding in findings]
    return [
        Problem(
            code=finding.code,
            message=finding.message,
            file=file,
            line=line,
            column=column,
            field=dotted(finding.path) or None,
            expected=finding.expected,
            suggestion=finding.suggestion,
            level=finding.level,
        )
        for (line, column), finding in sorted(placed, key=lambda pair: pair[0])
    ]
