"""The catalog: every tool there is, looked up by any spelling of its name. The one door other layers use.

A `Catalog` is a snapshot that never changes; `CatalogSource` hands out the newest one. Definitions are decoded when
somebody asks for them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from opsconductor.catalog.compiler import bring_up_to_date
from opsconductor.catalog.index import Index
from opsconductor.catalog.records import Blob, Winner, decode_definition
from opsconductor.model.errors import OpsError, Problem
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.names import canonical
from opsconductor.model.tool import ToolDefinition

DEFAULT_LIMITS = DocumentLimits()


def shipped_folder() -> Path:
    """The definitions that come with this package."""
    return Path(__file__).parent.parent / "tools"


class CatalogEntry:
    """One tool. `executable` is `yes`, `partial` or `no`; `overrides` is the path of the definition it replaces."""

    def __init__(self, winner: Winner, blob: Blob, limits: DocumentLimits) -> None:
        head = winner.head
        self.id = head.id
        self.tool_name = head.tool_name
        self.execution_location = head.execution_location
        self.category = head.category
        self.platform = head.platform
        self.description = head.description
        self.tags = head.tags
        self.executable = head.executable
        self.legacy = head.legacy
        self.path = Path(head.path)
        self.digest = head.digest
        self.overrides = winner.overrides
        self._winner, self._blob, self._limits = winner, blob, limits

    def __repr__(self) -> str:
        return f"<CatalogEntry {self.id} of {self.path}>"

    @cached_property
    def definition(self) -> ToolDefinition:
        """The definition. Raises OpsError(`definition_invalid`) when the index is harmed and the file no help."""
        found = decode_definition(self._winner.head, self._blob.part(self._winner.offset, self._winner.head.length))
        if found is None:
            from opsconductor.catalog.loader import load_file

            found = load_file(self.path.read_bytes(), str(self.path), self._limits).definition
        if found is None:
            raise OpsError("definition_invalid", f"{self.path} cannot be read any more; run `opsconductor tools lint`")
        return found

    @property
    def quality(self) -> dict[str, Any] | None:
        """The rules of the tool's quality file as it lies beside the definition; None without one that can be read."""
        from opsconductor.catalog.quality import find_quality

        found = find_quality(self.path, self._limits)
        return None if found is None else found.as_rules()


class Catalog:
    """A snapshot of all tools. Safe to share; nothing in it changes."""

    def __init__(self, index: Index, limits: DocumentLimits = DEFAULT_LIMITS) -> None:
        self._index = index
        self._limits = limits
        self._routes = index.routes
        self._made: dict[str, CatalogEntry] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def location_of(self, name: str) -> tuple[str, str | None] | None:
        """Id and canonical service location of a tool, without decoding anything; None when no tool has that name."""
        tool = canonical(name)
        return (tool, self._routes[tool]) if tool in self._routes else None

    def find(self, name: str) -> CatalogEntry | None:
        """The tool of that name in any spelling, or None."""
        tool = canonical(name)
        made = self._made.get(tool)
        if made is None and tool in self._routes:
            made = self._made[tool] = CatalogEntry(self._index.body.winners[tool], self._index.blob, self._limits)
        return made

    def get(self, name: str) -> CatalogEntry:
        """The tool of that name. Raises OpsError(`tool_not_found`) with the nearest names, or what broke its file."""
        entry = self.find(name)
        if entry is not None:
            return entry
        tool = canonical(name)
        broken = [problem for problem in self.problems if problem.level == "error" and _is_about(problem, tool)]
        if broken:
            raise OpsError("tool_not_found", f"{name!r} could not be loaded: {broken[0].render()}", problems=broken)
        near = self._near(tool)
        hint = (
            f"; did you mean {' or '.join(near)}?" if near else "; `opsconductor tools search` finds the one you mean"
        )
        raise OpsError("tool_not_found", f"no tool is named {name[:100]!r}{hint}", tool=name[:100], suggestions=near)

    def _near(self, tool: str) -> list[str]:
        from difflib import get_close_matches

        names = get_close_matches(tool[:64], self._routes, n=3)
        return [self._index.body.winners[name].head.tool_name for name in names]

    @cached_property
    def _entries(self) -> tuple[CatalogEntry, ...]:
        found = (self.find(name) for name in sorted(self._routes))
        return tuple(entry for entry in found if entry is not None)

    def entries(self) -> tuple[CatalogEntry, ...]:
        """All tools by id."""
        return self._entries

    def search(self, text: str, limit: int = 20) -> list[CatalogEntry]:
        """Tools that fit the words of `text`, best first. Every word must be found somewhere in the tool."""
        from opsconductor.catalog.search import rank

        return rank(self._entries, text)[:limit]

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Everything wrong in all files, errors and warnings, by file."""
        body = self._index.body
        found = [problem for record in itertools.chain.from_iterable(body.folders) for problem in record.problems]
        return tuple(
            sorted(
                (*self._index.folder_problems, *body.problems, *found),
                key=lambda problem: (problem.file or "", problem.line or 0),
            )
        )

    def lint(self) -> list[Problem]:
        """All problems, those of examples and quality files included. Reads a file for each tool."""
        from opsconductor.catalog.audit import audit_entry

        found = list(self.problems)
        for entry in self._entries:
            found.extend(audit_entry(entry, self._limits, shipped=shipped_folder() in entry.path.parents))
        return sorted(found, key=lambda problem: (problem.file or "", problem.line or 0))


def _is_about(problem: Problem, tool: str) -> bool:
    if problem.code == "definition_duplicate":
        return bool(problem.found == tool)
    name = (problem.file or "").rpartition("/")[2].rpartition(".")[0]
    return canonical(name) == tool


def load_catalog(
    folders: Sequence[Path], *, cache_dir: Path | None, limits: DocumentLimits = DEFAULT_LIMITS
) -> Catalog:
    """The catalog of `folders`, later ones overriding earlier ones; warm from the index in `cache_dir` if valid.

    Never raises for what files hold: `Catalog.problems` has it all.
    """
    return Catalog(bring_up_to_date(folders, cache_dir, limits), limits)


class CatalogSource:
    """The newest catalog: looks at the files again at most once in `check_every_s`, when somebody asks.

    There is no thread and no watch: an idle process does nothing. Snapshots handed out before stay as they are.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        cache_dir: Path | None,
        *,
        limits: DocumentLimits = DEFAULT_LIMITS,
        check_every_s: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = tuple(folders)
        self._cache_dir = cache_dir
        self._limits = limits
        self._check_every_s = check_every_s
        self._monotonic = monotonic
        self._index: Index | None = None
        self._catalog: Catalog | None = None
        self._checked_at = 0.0

    def current(self) -> Catalog:
        """The catalog as of at most `check_every_s` seconds ago; the same object as long as no file changes."""
        now = self._monotonic()
        if self._catalog is not None and now - self._checked_at < self._check_every_s:
            return self._catalog
        index = bring_up_to_date(self._folders, self._cache_dir, self._limits, self._index)
        if self._catalog is None or index is not self._index:
            self._index, self._catalog = index, Catalog(index, self._limits)
        self._checked_at = now
        return self._catalog
