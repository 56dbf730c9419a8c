"""What is kept of each definition file: how it looked, what it gave, and where its definition lies. Frozen data."""

from __future__ import annotations

import zlib
from typing import Protocol

import msgspec

from opsconductor.model.errors import Problem
from opsconductor.model.tool import ToolDefinition

QUALITY_SUFFIX = ".quality.yaml"
"""Ends the names of files beside definitions that say how good these are; they are not definitions."""


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What lists and searches show of a tool. `length` and `crc` prove that its encoded definition is whole."""

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
    length: int
    crc: int


class FileRecord(msgspec.Struct, frozen=True, array_like=True):
    """One file of a sweep: size and time of change, the tool it gave and where that lies, what is wrong with it."""

    path: str
    size: int
    mtime_ns: int
    head: Head | None
    offset: int
    problems: tuple[Problem, ...]


class Winner(msgspec.Struct, frozen=True, array_like=True):
    """The definition in force under a name, where it lies in the blob, and the path of the one it replaces."""

    head: Head
    offset: int
    overrides: str | None = None


class Sweep(msgspec.Struct, array_like=True):
    """One look at the folders: parallel lists, because comparing them is then one comparison in C.

    `ends` has, for each folder, how many files there are up to its end.
    """

    paths: list[str] = []
    sizes: list[int] = []
    mtimes: list[int] = []
    ends: list[int] = []


class Blob(Protocol):
    """Encoded definitions, one after the other."""

    def part(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer where there are not as many. Never raises."""
        ...


def executable_summary(definition: ToolDefinition) -> str:
    """`yes`, `partial` or `no`: how many of a tool's operations can be executed."""
    runnable = sum(operation.not_executable is None for operation in definition.operations.values())
    return "no" if not runnable else "yes" if runnable == len(definition.operations) else "partial"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ToolDefinition)


def encode_definition(definition: ToolDefinition) -> bytes:
    """A definition as it lies in the blob."""
    return _encoder.encode(definition)


def decode_definition(head: Head, encoded: bytes) -> ToolDefinition | None:
    """The definition of `head`, or None when `encoded` is not what was stored."""
    if len(encoded) != head.length or zlib.crc32(encoded) != head.crc:
        return None
    try:
        return _decoder.decode(encoded)
    except msgspec.DecodeError:
        return None


def make_head(definition: ToolDefinition, encoded: bytes, *, path: str, digest: str, legacy: bool) -> Head:
    """The head of a definition that is stored as `encoded`."""
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
        len(encoded),
        zlib.crc32(encoded),
    )
