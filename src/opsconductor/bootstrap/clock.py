"""The real clock and the real source of ids, which everyone else is handed."""

from __future__ import annotations

import secrets
import threading
import time
from datetime import UTC, datetime

from opsconductor.model.clock import uuid7


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


class IdSource:
    """Version-7 UUIDs that never go back within a process, also when the clock does (RFC 9562 §6.2, method 1)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = (0, 0)

    def __call__(self) -> str:
        """A new id, larger than every one before it."""
        with self._lock:
            now_ms = time.time_ns() // 1_000_000
            last_ms, last_counter = self._last
            if now_ms > last_ms:
                self._last = (now_ms, secrets.randbits(11))
            else:
                # A counter of 12 bits leads the random part; when it is used up, the next millisecond is borrowed.
                full = last_counter >= 0xFFF
                self._last = (last_ms + 1, 0) if full else (last_ms, last_counter + 1)
            stamp, counter = self._last
            return uuid7(stamp, counter << 62 | secrets.randbits(62))
