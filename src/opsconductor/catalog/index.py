"""The compiled catalog: one file that a warm start reads instead of parsing YAML. Storage only, no decisions.

Layout: magic, length and CRC-32 of the header, header, body, blob. The header (sweep and routes) is all that routing
needs; the body (file records and tools in force) is decoded when somebody lists or looks up; definitions lie in the
blob and are decoded one at a time. Whatever does not verify counts as absent: the index is only ever a copy.
"""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from opsconductor import model
from opsconductor.catalog.records import FileRecord, Sweep, Winner
from opsconductor.model.errors import Problem

_MAGIC = b"OPSCAT\x00\x01"
_LENGTHS = struct.Struct("<II")


class Body(msgspec.Struct, frozen=True, array_like=True):
    """All files and the tools in force."""

    records: tuple[FileRecord, ...]
    winners: dict[str, Winner]
    problems: tuple[Problem, ...]


class _Header(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: str
    folders: tuple[str, ...]
    sweep: Sweep
    routes: dict[str, str | None]
    body_length: int
    body_crc: int
    blob_length: int


class Index:
    """A compiled catalog. Immutable; `body` is decoded at first use. Folder problems are never stored."""

    def __init__(
        self,
        sweep: Sweep,
        routes: dict[str, str | None],
        blob: bytes | memoryview,
        body: Body | memoryview,
        folder_problems: tuple[Problem, ...] = (),
    ) -> None:
        self.folder_problems = folder_problems
        self.sweep = sweep
        self.routes = routes
        self.blob = blob
        self._body = body

    @property
    def body(self) -> Body:
        """Records, tools in force, problems."""
        if not isinstance(self._body, Body):
            self._body = msgspec.msgpack.decode(self._body, type=Body)
        return self._body


def index_path(cache_dir: Path, folders: Sequence[Path]) -> Path:
    """Where the index of these folders lies."""
    name = sha256("\0".join(map(os.fspath, folders)).encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_dir / f"catalog-{name}.idx"


def _fingerprint() -> str:
    """Changes with the code that reads and checks definitions, so that an upgrade is never served by an old index."""
    parts = []
    for folder in (Path(__file__).parent, Path(model.__file__).parent):
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    parts.append(f"{entry.name}:{status.st_size}:{status.st_mtime_ns}")
    return sha256("\n".join(parts).encode()).hexdigest()


def read_index(path: Path, folders: Sequence[Path]) -> Index | None:
    """The index at `path`, or None when there is none that is whole, of this version and of these folders."""
    try:
        view = memoryview(path.read_bytes())  # not mapped: a file that shrinks under a map kills the process
    except OSError:
        return None
    start = len(_MAGIC) + _LENGTHS.size
    if len(view) < start or view[: len(_MAGIC)] != _MAGIC:
        return None
    length, crc = _LENGTHS.unpack(view[len(_MAGIC) : start])
    encoded = view[start : start + length]
    if len(encoded) != length or zlib.crc32(encoded) != crc:
        return None
    try:
        header = msgspec.msgpack.decode(encoded, type=_Header)
    except msgspec.DecodeError:
        return None
    if header.fingerprint != _fingerprint() or header.folders != tuple(map(os.fspath, folders)):
        return None
    body_start = start + length
    blob_start = body_start + header.body_length
    body = view[body_start:blob_start]
    if len(view) != blob_start + header.blob_length or zlib.crc32(body) != header.body_crc:
        return None
    return Index(header.sweep, header.routes, view[blob_start:], body)


def write_index(path: Path, folders: Sequence[Path], index: Index) -> bool:
    """Put the index in place in one step; False when the folder cannot be written, which costs only time."""
    body = msgspec.msgpack.encode(index.body)
    header = msgspec.msgpack.encode(
        _Header(
            _fingerprint(),
            tuple(map(os.fspath, folders)),
            index.sweep,
            index.routes,
            len(body),
            zlib.crc32(body),
            len(index.blob),
        )
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines((_MAGIC, _LENGTHS.pack(len(header), zlib.crc32(header)), header, body, index.blob))
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        return False
    return True
