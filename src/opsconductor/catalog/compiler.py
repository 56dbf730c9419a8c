"""Bring the compiled catalog up to date: read again what changed, keep what did not. Called by `catalog.catalog`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

import msgspec

from opsconductor.catalog.forked import map_in_processes
from opsconductor.catalog.index import (
    Body,
    Index,
    MemoryBlob,
    collection_paused,
    index_path,
    read_index,
    write_index,
)
from opsconductor.catalog.merge import merge
from opsconductor.catalog.records import (
    FileRecord,
    Head,
    Sweep,
    Winner,
    decode_definition,
    encode_definition,
    make_head,
)
from opsconductor.catalog.sweep import sweep_folders
from opsconductor.model.errors import Problem
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.names import canonical_location
from opsconductor.model.tool import ToolDefinition


class _Read(msgspec.Struct, frozen=True, array_like=True):
    """What reading one file gave, as it travels between processes."""

    head: Head | None
    encoded: bytes
    problems: tuple[Problem, ...]


def bring_up_to_date(
    folders: Sequence[Path], cache_dir: Path | None, limits: DocumentLimits, previous: Index | None = None
) -> Index:
    """The index of what the folders hold now; `previous` itself when nothing changed.

    With a `previous` index of this process, a file that turned broken keeps its last good definition: a server must
    not lose a tool because a file was half saved. A new process has no memory of it and reports the tool as gone.
    """
    with collection_paused():
        sweep, problems = sweep_folders(folders)
        known = previous
        if known is None and cache_dir is not None:
            known = read_index(index_path(cache_dir, folders), folders)
        if known is not None and known.sweep == sweep and known.folder_problems == tuple(problems):
            return known
        index, blob, kept_good = _compile(sweep, tuple(problems), known, limits, keep_good=previous is not None)
        if cache_dir is not None and not kept_good and not problems:
            write_index(index_path(cache_dir, folders), folders, index, blob)
        return index


def _compile(
    sweep: Sweep, problems: tuple[Problem, ...], known: Index | None, limits: DocumentLimits, *, keep_good: bool
) -> tuple[Index, MemoryBlob, bool]:
    """Read what `known` does not have. Also tells whether a last good definition stands in for a broken file."""
    old: dict[str, FileRecord] = {}
    if known is not None:
        old = {record.path: record for record in itertools.chain.from_iterable(known.body.folders)}
    changed = [
        path
        for path, size, mtime in zip(sweep.paths, sweep.sizes, sweep.mtimes, strict=True)
        if path not in old or old[path].size != size or old[path].mtime_ns != mtime
    ]
    fresh = dict(zip(changed, _read_all(changed, limits), strict=True))
    blob = MemoryBlob()
    records, kept_good = list[FileRecord](), False
    for path, size, mtime in zip(sweep.paths, sweep.sizes, sweep.mtimes, strict=True):
        read, before = fresh.get(path), old.get(path)
        if read is None or (read.head is None and keep_good and before is not None and before.head is not None):
            assert known is not None and before is not None  # noqa: S101 (what was not read afresh is known)
            read = _keep(before, known, read)
            kept_good = kept_good or (read.head is not None and any(p.level == "error" for p in read.problems))
        offset = blob.add(read.encoded)
        records.append(FileRecord(path, size, mtime, read.head, offset, read.problems))
    by_folder = tuple(tuple(records[start:end]) for start, end in itertools.pairwise((0, *sweep.ends)))
    merged = merge(by_folder, partial(_adopt, blob))
    routes = {name: _location(winner.head.execution_location) for name, winner in merged.winners.items()}
    body = Body(by_folder, merged.winners, merged.problems)
    return Index(sweep, routes, blob, body, problems), blob, kept_good


@lru_cache(maxsize=1024)
def _location(location: str | None) -> str | None:
    return canonical_location(location) if location else None


def _keep(before: FileRecord, known: Index, broken: _Read | None) -> _Read:
    """What a file gave when it was last read, with today's problems if it has turned broken since."""
    encoded = known.blob.part(before.offset, before.head.length) if before.head else b""
    problems = before.problems if broken is None else (*broken.problems, _kept(before.path))
    return _Read(before.head, encoded, problems)


def _kept(path: str) -> Problem:
    message = "the last good definition stays in force until the file is mended or this process ends"
    return Problem(code="definition_invalid", message=message, file=path, level="warning")


def _adopt(blob: MemoryBlob, older: Winner, known: Winner) -> Winner:
    from opsconductor.catalog.legacy import adopt

    definition = adopt(_decoded(blob, older), _decoded(blob, known))
    encoded = encode_definition(definition)
    head = make_head(definition, encoded, path=older.head.path, digest=older.head.digest, legacy=True)
    return Winner(head, blob.add(encoded))


def _decoded(blob: MemoryBlob, winner: Winner) -> ToolDefinition:
    found = decode_definition(winner.head, blob.part(winner.offset, winner.head.length))
    if found is None:
        raise AssertionError(f"{winner.head.path}: the definition just encoded does not decode")
    return found


def _read_all(paths: Sequence[str], limits: DocumentLimits) -> Iterator[_Read]:
    if not paths:
        return
    for answer in map_in_processes(partial(_read_slice, limits=limits), paths):
        yield from msgspec.msgpack.decode(answer, type=list[_Read])


def _read_slice(paths: Sequence[str], *, limits: DocumentLimits) -> bytes:
    return msgspec.msgpack.encode([_read_one(path, limits) for path in paths])


def _read_one(path: str, limits: DocumentLimits) -> _Read:
    from opsconductor.catalog.loader import load_file

    try:
        data = _read_bytes(path, limits.max_bytes + 1)
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
        return _Read(None, b"", (Problem(code="definition_invalid", message=message, file=path),))
    loaded = load_file(data, path, limits)
    if loaded.definition is None:
        return _Read(None, b"", loaded.problems)
    encoded = encode_definition(loaded.definition)
    head = make_head(loaded.definition, encoded, path=path, digest=loaded.digest, legacy=loaded.legacy)
    return _Read(head, encoded, loaded.problems)


def _read_bytes(path: str, most: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # never waits, should it have become a pipe
    try:
        data = os.read(handle, 65_536)
        if len(data) < 65_536:
            return data
        parts = [data]
        while (total := sum(map(len, parts))) < most and (part := os.read(handle, most - total)):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(handle)
