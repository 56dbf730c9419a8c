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


Adopt = Callable[[Winner, Winner], Winner]
"""(older format, today's format below it) → the definition that joins them."""


def merge(folders: Sequence[Sequence[FileRecord]], adopt: Adopt) -> Merged:
    """Lay the folders' files over each other, in the folders' order."""
    winners: dict[str, Winner] = {}
    problems: list[Problem] = []
    for records in folders:
        claims: dict[str, list[FileRecord]] = {}
        for record in records:
            claims.setdefault(record.head.id if record.head else _stem_id(record.path), []).append(record)
        for name, claimed in claims.items():
            below = winners.pop(name, None)
            first = claimed[0]
            if below is None and len(claimed) == 1 and first.head is not None:  # nearly always
                winners[name] = Winner(first.head, first.offset)
            else:
                _settle(name, claimed, below, winners, problems, adopt)
    return Merged(winners, tuple(problems))


def _stem_id(path: str) -> str:
    return canonical(path.rpartition("/")[2].rpartition(".")[0])


def _settle(  # noqa: PLR0917 (one caller, in this order)
    name: str,
    claimed: list[FileRecord],
    below: Winner | None,
    winners: dict[str, Winner],
    problems: list[Problem],
    adopt: Adopt,
) -> None:
    found = [Winner(record.head, record.offset) for record in claimed if record.head is not None]
    if len(found) == 1:
        winners[name] = _over(found[0], below, adopt)
    elif found:
        problems.extend(_duplicates(name, sorted((winner.head for winner in found), key=lambda head: head.path)))
    elif below is not None:
        problems.append(_withdrawn(claimed[0].path, below.head))


def _over(above: Winner, below: Winner | None, adopt: Adopt) -> Winner:
    if below is None:
        return above
    joins = above.head.legacy and not below.head.legacy and below.head.executable != "no"
    return msgspec.structs.replace(adopt(above, below) if joins else above, overrides=below.head.path)


def _duplicates(name: str, heads: list[Head]) -> Iterable[Problem]:
    for head in heads:
        others = ", ".join(other.path for other in heads if other is not head)
        message = f"{head.tool_name!r} is also defined in {others}; neither is loaded: rename or remove one ({name})"
        yield Problem(
            code="definition_duplicate",
            message=message,
            file=head.path,
            line=1,
            column=1,
            field="tool_name",
            found=name,
        )


def _withdrawn(path: str, below: Head) -> Problem:
    message = (
        f"this file is broken, so {below.tool_name!r} is not loaded from {below.path} either, which it was to override"
    )
    return Problem(code="definition_invalid", message=message, file=path, line=1, column=1)
