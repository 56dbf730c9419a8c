"""Bring the compiled catalog up to date: read again what changed, keep what did not. Called by `catalog.catalog`."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec

from opsconductor.catalog.forked import map_in_processes
from opsconductor.catalog.index import Body, Index, index_path, read_index, write_index
from opsconductor.catalog.loader import load_file
from opsconductor.catalog.merge import merge
from opsconductor.catalog.records import FileRecord, Head, Sweep, decode_definition, encode_definition, make_head
from opsconductor.catalog.sweep import sweep_folders
from opsconductor.model.errors import Problem
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.names import canonical_location
from opsconductor.model.tool import ToolDefinition


class _Read(msgspec.Struct, frozen=True, array_like=True):
    """What reading one file gave, as it travels between processes."""

    head: Head | None
    blob: bytes
    problems: tuple[Problem, ...]


def bring_up_to_date(
    folders: Sequence[Path], cache_dir: Path | None, limits: DocumentLimits, previous: Index | None = None
) -> Index:
    """The index of what the folders hold now; `previous` itself when nothing changed.

    With a `previous` index of this process, a file that turned broken keeps its last good definition: a server must
    not lose a tool because a file was half saved. A new process has no memory of it and reports the tool as gone.
    """
    sweep, problems = sweep_folders(folders)
    known = previous
    if known is None and cache_dir is not None:
        known = read_index(index_path(cache_dir, folders), folders)
    if known is not None and known.sweep == sweep and known.folder_problems == tuple(problems):
        return known
    index, kept_good = _compile(sweep, problems, known, limits, keep_good=previous is not None)
    if cache_dir is not None and not kept_good and not problems:
        write_index(index_path(cache_dir, folders), folders, index)
    return index


def _compile(
    sweep: Sweep, problems: list[Problem], known: Index | None, limits: DocumentLimits, *, keep_good: bool
) -> tuple[Index, bool]:
    """Read what `known` does not have. Also tells whether a last good definition stands in for a broken file."""
    old = {record.path: record for record in known.body.records} if known is not None else {}
    changed = [
        path
        for path, size, mtime in zip(sweep.paths, sweep.sizes, sweep.mtimes, strict=True)
        if path not in old or old[path].size != size or old[path].mtime_ns != mtime
    ]
    fresh = dict(zip(changed, _read_all(changed, limits), strict=True))
    blob = _Blob()
    records, kept_good = [], False
    for path, size, mtime, folder in zip(sweep.paths, sweep.sizes, sweep.mtimes, sweep.folders, strict=True):
        before = old.get(path)
        read = fresh.get(path)
        if read is not None and (read.head is not None or not keep_good or before is None or before.head is None):
            head = blob.add(read.head, read.blob) if read.head else None
            records.append(FileRecord(path, size, mtime, folder, head, read.problems))
            continue
        assert before is not None and known is not None  # noqa: S101 (for the type checker: it was not read afresh)
        head = blob.copy(before.head, known.blob) if before.head else None
        found = before.problems if read is None else (*read.problems, _kept(path))
        kept_good = kept_good or (head is not None and any(problem.level == "error" for problem in found))
        records.append(FileRecord(path, size, mtime, folder, head, found))
    merged = merge(records, partial(_adopt, blob))
    routes = {
        name: canonical_location(winner.head.execution_location) if winner.head.execution_location else None
        for name, winner in merged.winners.items()
    }
    body = Body(tuple(records), merged.winners, merged.problems)
    return Index(sweep, routes, bytes(blob.data), body, tuple(problems)), kept_good


def _kept(path: str) -> Problem:
    message = "the last good definition stays in force until the file is mended or this process ends"
    return Problem(code="definition_invalid", message=message, file=path, level="warning")


class _Blob:
    """Encoded definitions, one after the other."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, head: Head, encoded: bytes | memoryview) -> Head:
        placed = msgspec.structs.replace(head, offset=len(self.data))
        self.data += encoded
        return placed

    def copy(self, head: Head, source: bytes | memoryview) -> Head:
        return self.add(head, memoryview(source)[head.offset : head.offset + head.length])

    def definition(self, head: Head) -> ToolDefinition:
        found = decode_definition(head, bytes(self.data[head.offset : head.offset + head.length]))
        if found is None:
            raise AssertionError(f"{head.path}: the definition just encoded does not decode")
        return found


def _adopt(blob: _Blob, older: Head, known: Head) -> Head:
    from opsconductor.catalog.legacy import adopt

    definition = adopt(blob.definition(older), blob.definition(known))
    encoded = encode_definition(definition)
    head = make_head(definition, encoded, path=older.path, digest=older.digest, legacy=True)
    return blob.add(head, encoded)


def _read_all(paths: Sequence[str], limits: DocumentLimits) -> Iterator[_Read]:
    if not paths:
        return
    with _no_garbage_collection():
        for answer in map_in_processes(partial(_read_slice, limits=limits), paths):
            yield from msgspec.msgpack.decode(answer, type=list[_Read])


def _read_slice(paths: Sequence[str], *, limits: DocumentLimits) -> bytes:
    return msgspec.msgpack.encode([_read_one(path, limits) for path in paths])


def _read_one(path: str, limits: DocumentLimits) -> _Read:
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


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Thousands of live structures make each collection slower, and none of them is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
