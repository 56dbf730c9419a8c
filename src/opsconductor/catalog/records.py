"""What is kept of each definition file: how it looked, what it gave, and where its definition lies. Frozen data."""

from __future__ import annotations

import zlib

import msgspec

from opsconductor.model.errors import Problem
from opsconductor.model.tool import ToolDefinition


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What lists and searches show of a tool. `offset`, `length`, `crc` find and prove its definition in the blob."""

    id: str
    tool_name: str
    execution_location: str | None
    category: str
    platform: str
    description: str
    tags: tuple[str, ...]
    executable: str  # yes | partial | no
    legacy: bool
    path: str
    digest: str
    offset: int
    length: int
    crc: int


class FileRecord(msgspec.Struct, frozen=True, array_like=True):
    """One file of a sweep: its size and time of change, its tool if it gave one, and what is wrong with it."""

    path: str
    size: int
    mtime_ns: int
    folder: int
    head: Head | None
    problems: tuple[Problem, ...]


class Winner(msgspec.Struct, frozen=True, array_like=True):
    """The definition in force under a name, and the path of the one it replaces."""

    head: Head
    overrides: str | None


class Sweep(msgspec.Struct, array_like=True):
    """One look at the folders: parallel lists, because comparing them is then one comparison in C."""

    paths: list[str] = []
    sizes: list[int] = []
    mtimes: list[int] = []
    folders: list[int] = []


def executable_summary(definition: ToolDefinition) -> str:
    """`yes`, `partial` or `no`: how many of a tool's operations can be executed."""
    runnable = sum(operation.not_executable is None for operation in definition.operations.values())
    return "no" if not runnable else "yes" if runnable == len(definition.operations) else "partial"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ToolDefinition)


def encode_definition(definition: ToolDefinition) -> bytes:
    """A definition as it lies in the blob."""
    return _encoder.encode(definition)


def decode_definition(head: Head, blob: bytes | memoryview) -> ToolDefinition | None:
    """The definition of `head`, or None when the blob does not hold it unharmed."""
    part = memoryview(blob)[head.offset : head.offset + head.length]
    if len(part) != head.length or zlib.crc32(part) != head.crc:
        return None
    try:
        return _decoder.decode(part)
    except msgspec.DecodeError:
        return None


def make_head(
    definition: ToolDefinition, blob: bytes, *, path: str, digest: str, legacy: bool, offset: int = 0
) -> Head:
    """The head of a definition whose encoding is `blob`."""
    return Head(
        definition.id,
        definition.tool_name,
        definition.execution_location,
        definition.category,
        definition.platform,
        definition.description,
        definition.tags,
        executable_summary(definition),
        legacy,
        path,
        digest,
        offset,
        len(blob),
        zlib.crc32(blob),
    )
