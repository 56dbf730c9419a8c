"""How benches compare: two things alternate, and the median of their ratios counts, so that noise hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import msgspec


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Medians in seconds of a call, and the median of `other / ours` over pairs (more than 1: ours is faster)."""

    ours_s: float
    other_s: float
    times_faster: float


def timed(action: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(ours: Callable[[], object], other: Callable[[], object], *, pairs: int = 5, calls: int = 1) -> Comparison:
    """Run both alternately, `pairs` times; a side's time is that of `calls` calls divided by them."""

    def several(action: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(calls):
                action()

        return run

    first, second = several(ours), several(other)
    times = [(timed(first) / calls, timed(second) / calls) for _ in range(pairs)]
    return Comparison(
        ours_s=statistics.median(mine for mine, _ in times),
        other_s=statistics.median(theirs for _, theirs in times),
        times_faster=statistics.median(theirs / mine for mine, theirs in times),
    )


def seconds(value: float) -> str:
    """A duration for people: `65.1 ms`."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def verdict(name: str, value: float, floor: float, *, at_most: bool = False, detail: str = "") -> bool:
    """Print one line: the ratio, the floor it is held against, and whether it holds. Returns that."""
    holds = value <= floor if at_most else value >= floor
    bound = "at most" if at_most else "at least"
    print(f"{'ok  ' if holds else 'MISS'} {name}: {value:,.2f}x ({bound} {floor:,g}x) {detail}".rstrip())
    return holds
