"""Ids sort by the time they were made, also when many are made at once or the clock goes back."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from opsconductor.bootstrap.clock import IdSource, utc_now


def test_ids_are_version_7_and_carry_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID(IdSource()())
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= before + 1000


def test_ids_ascend_within_one_millisecond_and_beyond_its_counter() -> None:
    source = IdSource()
    made = [source() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_ascend_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    source = IdSource()
    first = source()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    assert source() > first


def test_the_clock_is_aware() -> None:
    assert utc_now().tzinfo is not None
