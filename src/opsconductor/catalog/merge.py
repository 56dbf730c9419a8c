"""Which definition is in force under each name, when several folders say something. Pure.

Later folders override earlier ones. What would be in doubt is not loaded: two files of one folder that claim a name
take it out of the catalog, and so does a broken file that was to override a tool. Falling back to the definition
below could drop a limit or an approval that the site asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from opsconductor.catalog.records import FileRecord, Head, Winner
from opsconductor.model.errors import Problem
from opsconductor.model.names import canonical


class Merged(msgspec.Struct, frozen=True):
    """The tools in force by id, and what was wrong between files."""

    winners: dict[str, Winner]
    problems: tuple[Problem, ...]


Adopt = Callable[[Head, Head], Head]
"""(older format, today's format below it) → head of the definition that joins them."""


def merge(records: Sequence[FileRecord], adopt: Adopt) -> Merged:
    """Lay the folders' files over each other, in the folders' order."""
    winners: dict[str, Winner] = {}
    problems: list[Problem] = []
    for folder in sorted({record.folder for record in records}):
        claims: dict[str, list[FileRecord]] = {}
        for record in records:
            if record.folder == folder:
                claims.setdefault(record.head.id if record.head else _stem_id(record.path), []).append(record)
        for name, claimed in claims.items():
            _settle(name, claimed, winners, problems, adopt)
    return Merged(winners, tuple(problems))


def _stem_id(path: str) -> str:
    return canonical(path.rpartition("/")[2].rpartition(".")[0])


def _settle(
    name: str, claimed: list[FileRecord], winners: dict[str, Winner], problems: list[Problem], adopt: Adopt
) -> None:
    below = winners.pop(name, None)
    heads = [record.head for record in claimed if record.head is not None]
    if len(heads) == 1:
        winners[name] = _over(heads[0], below, adopt)
    elif heads:
        problems.extend(_duplicates(name, sorted(heads, key=lambda head: head.path)))
    elif below is not None:
        problems.append(_withdrawn(claimed[0].path, below.head))


def _over(head: Head, below: Winner | None, adopt: Adopt) -> Winner:
    if below is None:
        return Winner(head, None)
    joins = head.legacy and not below.head.legacy and below.head.executable != "no"
    return Winner(adopt(head, below.head) if joins else head, below.head.path)


def _duplicates(name: str, heads: list[Head]) -> Iterable[Problem]:
    for head in heads:
        others = ", ".join(other.path for other in heads if other is not head)
        message = f"{head.tool_name!r} is also defined in {others}; neither is loaded: rename or remove one ({name})"
        yield Problem(code="definition_duplicate", message=message, file=head.path, line=1, column=1, field="tool_name")


def _withdrawn(path: str, below: Head) -> Problem:
    message = (
        f"this file is broken, so {below.tool_name!r} is not loaded from {below.path} either, which it was to override"
    )
    return Problem(code="definition_invalid", message=message, file=path, line=1, column=1)
