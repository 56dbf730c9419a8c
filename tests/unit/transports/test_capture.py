from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.transports.capture import SpoolFile, StreamCapture, Tail


@given(size=st.integers(0, 40), chunks=st.lists(st.binary(max_size=60), max_size=12))
def test_a_tail_is_the_last_bytes_however_they_came(size: int, chunks: list[bytes]) -> None:
    tail = Tail(size)
    for chunk in chunks:
        tail.add(memoryview(chunk))
    everything = b"".join(chunks)
    assert tail.value() == everything[max(0, len(everything) - size) :]


@given(keep=st.integers(0, 50), chunks=st.lists(st.binary(max_size=60), max_size=12))
def test_a_capture_keeps_both_ends_and_counts_exactly(
    tmp_path_factory: pytest.TempPathFactory, keep: int, chunks: list[bytes]
) -> None:
    capture = StreamCapture(keep, SpoolFile(tmp_path_factory.mktemp("spool"), "out", 10_000))
    for chunk in chunks:
        capture.add(memoryview(chunk))
    result, everything = capture.result(), b"".join(chunks)
    assert result.total_bytes == len(everything)
    assert result.truncated == (len(everything) > keep)
    assert everything.startswith(result.head)
    assert everything.endswith(result.tail)
    assert len(result.head) + len(result.tail) == min(keep, len(everything))
    if result.truncated:
        assert result.spool is not None
        assert result.spool.read_bytes() == everything


def test_a_spool_is_private_and_its_folder_is_made(tmp_path: Path) -> None:
    spool = SpoolFile(tmp_path / "new", "out", 100)
    spool.write(b"secret")
    spool.close()
    assert stat.S_IMODE(spool.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.path.parent.stat().st_mode) == 0o700


def test_a_spool_never_overwrites_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"of another")
    capture = StreamCapture(0, SpoolFile(tmp_path, "out", 100))
    capture.add(memoryview(b"mine"))
    result = capture.result()
    assert (result.spool, result.spooled_bytes, result.truncated) == (None, 0, True)
    assert "File exists" in (result.spool_error or "")
    capture.discard()
    assert (tmp_path / "out").read_bytes() == b"of another"


def test_a_full_disk_loses_the_middle_visibly_and_keeps_ends_and_count(tmp_path: Path) -> None:
    """/dev/full refuses every write with ENOSPC, as a full disk does."""
    spool = SpoolFile(tmp_path, "out", 1_000)
    spool._fd = os.open("/dev/full", os.O_WRONLY)
    capture = StreamCapture(4, spool)
    for chunk in (b"abc", b"defgh", b"ijkl"):
        capture.add(memoryview(chunk))
    result = capture.result()
    assert (result.head, result.tail, result.total_bytes, result.truncated) == (b"ab", b"kl", 12, True)
    assert "No space left on device" in (result.spool_error or "")
    assert result.spooled_bytes == 0


def test_a_slow_write_is_remembered_until_a_row_of_quick_ones(tmp_path: Path) -> None:
    always_slow = SpoolFile(tmp_path, "slow", 1_000, slow_write_s=0.0)
    always_slow.write(b"x")
    assert always_slow.slow
    quick = SpoolFile(tmp_path, "quick", 1_000, slow_write_s=60.0)
    quick._slow_for = 2
    seen = []
    for _ in range(3):
        seen.append(quick.slow)
        quick.write(b"x")
    assert seen == [True, True, False]
    for spool in (always_slow, quick):
        spool.close()


def test_the_output_does_not_show_in_a_repr(tmp_path: Path) -> None:
    capture = StreamCapture(100, SpoolFile(tmp_path, "out", 100))
    capture.add(memoryview(b"password"))
    result = capture.result()
    assert "password" not in repr(result)
    assert "8 bytes whole" in repr(result)
