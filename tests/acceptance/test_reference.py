"""Generated pages say what the code says."""

from __future__ import annotations

from scripts.reference import stale


def test_generated_pages_are_current() -> None:
    assert stale() == [], "run python -m scripts.reference"
