"""Keeping one output stream within bounded memory: its two ends, an exact count, and all of it in a spool file.

Knows nothing of pipes or processes. Used by the transports' readers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from opsconductor.transports.base import CapturedStream

_SLOW_FOR_WRITES = 32
LEAVE_FREE_BYTES = 64 * 1024**2
"""Free space that spools leave on their disk (a quarter of a small one): what happened must be recorded there too."""


class Tail:
    """The last `size` bytes of what is added, in a ring, so that adding costs one copy."""

    def __init__(self, size: int) -> None:
        self._ring = bytearray(size)
        self._total = 0

    def add(self, data: memoryview) -> None:
        """Append `data`."""
        size = len(self._ring)
        self._total += len(data)
        data = data[max(0, len(data) - size) :]
        if not data:
            return
        start = (self._total - len(data)) % size
        first = min(len(data), size - start)
        self._ring[start : start + first] = data[:first]
        self._ring[: len(data) - first] = data[first:]

    def value(self) -> bytes:
        """The bytes in order."""
        size = len(self._ring)
        if self._total <= size or size == 0:
            return bytes(self._ring[: self._total])
        cut = self._total % size
        return bytes(self._ring[cut:] + self._ring[:cut])


class SpoolFile:
    """A file that takes a stream up to a limit. A failed write is kept as `error`; counting and reading go on.

    The last free space of the disk is not taken: it belongs to the journal and the inbox.

    `slow` is set by a write that took at least `slow_write_s`, and until a row of quicker ones has followed.
    """

    def __init__(self, folder: Path, name: str, limit_bytes: int, *, slow_write_s: float = 0.01) -> None:
        self._folder = folder
        self._name = name
        self.written = 0
        self.error: str | None = None
        self._limit = limit_bytes
        self._slow_write_s = slow_write_s
        self._slow_for = 0
        self._fd = -1

    def write(self, data: bytes | memoryview) -> None:
        """Write what the limit leaves room for. Blocks while the disk does; never raises."""
        rest = memoryview(data)[: max(0, self._limit - self.written)]
        if self.error is not None:
            return
        started = time.monotonic()
        try:
            if self._fd < 0:
                self._open()
            if lack := self._lack_of_space(len(rest)):
                self.error = lack
                return
            while rest:
                count = os.write(self._fd, rest)
                self.written += count
                rest = rest[count:]
        except OSError as error:
            self.error = f"{self.path}: {os.strerror(error.errno or 0)} after {self.written} bytes"
        took_s = time.monotonic() - started
        self._slow_for = _SLOW_FOR_WRITES if took_s >= self._slow_write_s else max(0, self._slow_for - 1)

    def _lack_of_space(self, size: int) -> str | None:
        """Why `size` more bytes may not be written; fstatvfs(3) takes a microsecond."""
        disk = os.fstatvfs(self._fd)
        reserve = min(LEAVE_FREE_BYTES, disk.f_blocks * disk.f_frsize // 4)
        if disk.f_bavail * disk.f_frsize - size >= reserve:
            return None
        return (
            f"{self.path}: {self.written} bytes were kept; more would leave less than {reserve} bytes of its disk free"
        )

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    @property
    def path(self) -> Path:
        """Where the file is, once there is one. Most streams never need it, so it is not kept."""
        return self._folder / self._name

    @property
    def slow(self) -> bool:
        """Whether the next write may well block."""
        return self._slow_for > 0

    @property
    def exists(self) -> bool:
        """Whether a file was made."""
        return self._fd >= 0 or self.written > 0

    def close(self) -> None:
        """Close the file; what was written stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class StreamCapture:
    """One stream. `keep_bytes` stay in memory, half of them from its beginning; a longer one is spooled whole."""

    def __init__(self, keep_bytes: int, spool: SpoolFile) -> None:
        self.total = 0
        self.spool = spool
        self._keep = keep_bytes
        self._kept = bytearray()
        self._tail: Tail | None = None

    def take(self, chunk: memoryview) -> memoryview | bytes:
        """Count and keep a chunk; return what is to be written to the spool now (often nothing)."""
        self.total += len(chunk)
        if self._tail is not None:
            self._tail.add(chunk)
            return chunk
        self._kept += chunk
        return self._overflow() if self.total > self._keep else b""

    def _overflow(self) -> bytes:
        """The first time there is too much: keep the ends apart and hand all of it to the spool."""
        everything = bytes(self._kept)
        self._tail = Tail(self._keep // 2)
        half = self._keep - self._keep // 2
        self._tail.add(memoryview(everything)[half:])
        del self._kept[half:]
        return everything

    def add(self, chunk: memoryview) -> None:
        """Keep a chunk and spool what there is to spool, at once."""
        if due := self.take(chunk):
            self.spool.write(due)

    def result(self, *, eof: bool = True) -> CapturedStream:
        """The stream as data; `eof` is False when somebody still held it open. Closes the spool."""
        spooled = self.spool.exists
        self.spool.close()
        return CapturedStream(
            head=bytes(self._kept),
            tail=self._tail.value() if self._tail else b"",
            total_bytes=self.total,
            truncated=self._tail is not None,
            spool=self.spool.path if spooled else None,
            spooled_bytes=self.spool.written,
            spool_error=self.spool.error,
            eof=eof,
        )

    def discard(self) -> None:
        """Close and remove the spool: nobody will get the result."""
        exists = self.spool.exists
        self.spool.close()
        if exists:
            self.spool.path.unlink(missing_ok=True)
