"""The compiled catalog: one file that a warm start reads instead of parsing YAML. Storage only, no decisions.

Layout: magic, length and CRC-32 of the header, header, body, blob. The header (sweep and routes) is all that routing
needs; the body (file records and tools in force) is decoded when somebody lists or looks up; definitions lie in the
blob and are decoded one at a time. Whatever does not verify counts as absent: the index is only ever a copy.
"""

from __future__ import annotations

import gc
import itertools
import os
import struct
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from opsconductor import model
from opsconductor.catalog.records import Blob, FileRecord, Sweep, Winner
from opsconductor.model.errors import Problem

_MAGIC = b"OPSCAT\x00\x01"
_LENGTHS = struct.Struct("<II")


class Body(msgspec.Struct, frozen=True, array_like=True):
    """All files of each folder and the tools in force."""

    folders: tuple[tuple[FileRecord, ...], ...]
    winners: dict[str, Winner]
    problems: tuple[Problem, ...]


class _StoredBody(msgspec.Struct, frozen=True, array_like=True):
    """A body with less repetition: a winner is the number of its record, unless it is a definition of its own."""

    folders: tuple[tuple[FileRecord, ...], ...]
    plain: dict[str, int]
    other: dict[str, Winner]
    problems: tuple[Problem, ...]


class _Header(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: str
    folders: tuple[str, ...]
    sweep: Sweep
    routes: dict[str, str | None]
    body_length: int
    body_crc: int
    blob_length: int


class MemoryBlob:
    """Definitions in memory, as they are after compiling."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, encoded: bytes) -> int:
        """Append a definition; returns its offset."""
        offset = len(self.data)
        self.data += encoded
        return offset

    def part(self, offset: int, length: int) -> bytes:
        """As `records.Blob`."""
        return bytes(self.data[offset : offset + length])


class FileBlob:
    """Definitions in an index file, read one at a time. Not mapped: if the file shrank, a map would kill us."""

    def __init__(self, handle: int, start: int) -> None:
        self._handle, self._start = handle, start
        weakref.finalize(self, os.close, handle)

    def part(self, offset: int, length: int) -> bytes:
        """As `records.Blob`."""
        try:
            return os.pread(self._handle, length, self._start + offset)
        except OSError:
            return b""


class Index:
    """A compiled catalog. Immutable; `body` is decoded at first use. Folder problems are never stored."""

    def __init__(
        self,
        sweep: Sweep,
        routes: dict[str, str | None],
        blob: Blob,
        body: Body | bytes,
        folder_problems: tuple[Problem, ...] = (),
    ) -> None:
        self.sweep = sweep
        self.routes = routes
        self.blob = blob
        self.folder_problems = folder_problems
        self._body = body

    @property
    def body(self) -> Body:
        """Records, tools in force, problems."""
        if isinstance(self._body, bytes):
            self._body = _decode_body(self._body)
        return self._body


def _decode_body(encoded: bytes) -> Body:
    with collection_paused():
        stored = msgspec.msgpack.decode(encoded, type=_StoredBody)
        records = list(itertools.chain.from_iterable(stored.folders))
        winners = dict(stored.other)
        for name, number in stored.plain.items():
            record = records[number]
            assert record.head is not None  # noqa: S101 (for the type checker: `_encode_body` chose it by its head)
            winners[name] = Winner(record.head, record.offset)
        return Body(stored.folders, winners, stored.problems)


def _encode_body(body: Body) -> bytes:
    records = itertools.chain.from_iterable(body.folders)
    numbers = {record.path: number for number, record in enumerate(records) if record.head is not None}
    plain, other = dict[str, int](), dict[str, Winner]()
    for name, winner in body.winners.items():
        if winner.overrides is None:
            plain[name] = numbers[winner.head.path]
        else:
            other[name] = winner
    return msgspec.msgpack.encode(_StoredBody(body.folders, plain, other, body.problems))


@contextmanager
def collection_paused() -> Iterator[None]:
    """Without garbage collection: thousands of new structures make each run slower, and none of them is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with collection_paused():
            index = _read_open(handle, folders)
    except (OSError, msgspec.DecodeError):
        index = None
    if index is None:
        os.close(handle)
    return index


def _read_open(handle: int, folders: Sequence[Path]) -> Index | None:
    size = os.fstat(handle).st_size
    start = os.pread(handle, len(_MAGIC) + _LENGTHS.size, 0)
    if len(start) != len(_MAGIC) + _LENGTHS.size or not start.startswith(_MAGIC):
        return None
    length, crc = _LENGTHS.unpack(start[len(_MAGIC) :])
    encoded = os.pread(handle, min(length, size), len(start))
    if zlib.crc32(encoded) != crc:
        return None
    header = msgspec.msgpack.decode(encoded, type=_Header)
    if header.fingerprint != _fingerprint() or header.folders != tuple(map(os.fspath, folders)):
        return None
    body_start = len(start) + length
    blob_start = body_start + header.body_length
    body = os.pread(handle, header.body_length, body_start)
    if size != blob_start + header.blob_length or zlib.crc32(body) != header.body_crc:
        return None
    return Index(header.sweep, header.routes, FileBlob(handle, blob_start), body)


def write_index(path: Path, folders: Sequence[Path], index: Index, blob: MemoryBlob) -> bool:
    """Put the index in place in one step; False when the folder cannot be written, which costs only time."""
    import tempfile

    body = _encode_body(index.body)
    names = tuple(map(os.fspath, folders))
    fields = (_fingerprint(), names, index.sweep, index.routes, len(body), zlib.crc32(body), len(blob.data))
    header = msgspec.msgpack.encode(_Header(*fields))
    try:
        # The state folder may be made here, and is its owner's alone.
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
    except OSError:
        return False
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines((_MAGIC, _LENGTHS.pack(len(header), zlib.crc32(header)), header, body, blob.data))
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        return False
    return True
