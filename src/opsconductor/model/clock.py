"""Formats of times and ids. The clock itself is passed in by callers, so this stays pure."""

from __future__ import annotations

from datetime import UTC, datetime


def to_rfc3339(moment: datetime) -> str:
    """An aware time as `2026-01-02T03:04:05.678901Z`. Raises ValueError for naive times."""
    if moment.tzinfo is None:
        raise ValueError("a naive time has no meaning here; pass an aware one")
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"  # without the offset, which is +00:00


def from_rfc3339(text: str) -> datetime:
    """Read an RFC 3339 time; the result is aware UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    return moment.astimezone(UTC)


def uuid7(unix_ms: int, random_bits: int) -> str:
    """A version-7 UUID (RFC 9562 §5.7) from milliseconds since the epoch and 74 random bits."""
    value = (
        (unix_ms & (2**48 - 1)) << 80
        | 0x7 << 76
        | (random_bits >> 62 & 0xFFF) << 64
        | 0b10 << 62
        | random_bits & (2**62 - 1)
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
