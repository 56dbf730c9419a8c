"""A capture is whole, or it is an error: never a file with a hole in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.services.network.tcpdump import content_of
from opsconductor.transports.base import CapturedStream


def test_what_was_kept_whole_is_given_back(tmp_path: Path) -> None:
    assert content_of(CapturedStream(head=b"ab", tail=b"cd", total_bytes=4)) == b"abcd"
    spool = tmp_path / "spool"
    spool.write_bytes(b"abXXcd")
    stream = CapturedStream(head=b"ab", tail=b"cd", total_bytes=6, truncated=True, spool=spool, spooled_bytes=6)
    assert content_of(stream) == b"abXXcd"
    assert not spool.exists()


@pytest.mark.parametrize(("spooled", "error"), [(0, "no space left"), (5, None)])
def test_what_was_lost_in_the_middle_is_told(tmp_path: Path, spooled: int, error: str | None) -> None:
    spool = tmp_path / "spool"
    spool.write_bytes(b"abXXc"[:spooled])
    stream = CapturedStream(
        head=b"ab", tail=b"cd", total_bytes=6, truncated=True, spool=spool, spooled_bytes=spooled, spool_error=error
    )
    with pytest.raises(OpsError, match="not whole") as caught:
        content_of(stream)
    assert caught.value.code == "output_spool_failed"


def test_a_stream_that_was_cut_without_a_spool_is_told() -> None:
    with pytest.raises(OpsError, match="not whole"):
        content_of(CapturedStream(head=b"ab", tail=b"cd", total_bytes=9, truncated=True))
