"""Routing decisions: against a scan at each decision, against two dict look-ups, and from 185 to 10,000 tools.

`python -m bench.routing` prints ratios of one run on this machine and exits 1 when a floor is missed.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import Comparison, compare, seconds, verdict
from bench.tool_tree import tool_name, write_tree
from opsconductor.catalog.catalog import load_catalog
from opsconductor.routing.router import Router
from opsconductor.routing.services import DEFAULT_URLS, Services

SCAN_FLOOR = 10_000.0  # times as fast as looking for the file at each decision, at 10,000 tools
LOOKUP_CEILING = 5.0  # times two dict look-ups
FLAT_CEILING = 1.5  # 10,000 tools against 185
SMALL, LARGE = 185, 10_000


def scan(root: Path, tool: str) -> str | None:
    """The earlier system's way: walk the tree, compare file names, read the match for its location."""
    for path in root.rglob("*.yaml"):
        if path.stem == tool:
            for line in path.read_text().splitlines():
                if line.startswith("execution_location:"):
                    return DEFAULT_URLS[line.partition(":")[2].strip()]
    return None


def names(count: int) -> Iterator[str]:
    """Names spread over the catalog, endlessly."""
    return itertools.cycle([tool_name(number) for number in range(0, count, max(1, count // 97))])


def against_lookups(router: Router, count: int) -> Comparison:
    """A decision beside the two look-ups it cannot do without, both called as functions."""
    service_of = {name: router.resolve(name).service for name in {*itertools.islice(names(count), 200)}}

    def two_lookups(tool: str) -> str:
        return DEFAULT_URLS[service_of[tool]]

    asked = list(itertools.islice(names(count), 1000))

    def over(function: Callable[[str], object]) -> Callable[[], None]:
        def run() -> None:
            for tool in asked:
                function(tool)

        return run

    return compare(over(router.resolve), over(two_lookups), pairs=31, calls=10)


def measure(count: int, folder: Path) -> tuple[float, float, float]:
    """(times faster than scanning, times two look-ups, seconds a decision) with `count` tools."""
    root = folder / f"tools-{count}"
    write_tree(root, count)
    catalog = load_catalog([root], cache_dir=None)
    router = Router(catalog.location_of, Services({}, embedded=False))
    lookups = against_lookups(router, count)
    asked = names(count)
    scanning = compare(lambda: router.resolve(next(asked)), lambda: scan(root, next(asked).replace("-", "_")), pairs=15)
    decision_s = lookups.ours_s / 1000
    print(
        f"{count:>6,} tools: {seconds(decision_s)} a decision, {seconds(lookups.other_s / 1000)} two look-ups, "
        f"{seconds(scanning.other_s)} a scan"
    )
    return scanning.other_s / decision_s, 1 / lookups.times_faster, decision_s


def main() -> bool:
    """Run all comparisons; whether all floors hold."""
    with tempfile.TemporaryDirectory() as folder:
        _, small_lookups, small_s = measure(SMALL, Path(folder))
        faster, large_lookups, large_s = measure(LARGE, Path(folder))
    return all(
        [
            verdict("faster than a scan at each decision (10,000 tools)", faster, SCAN_FLOOR),
            verdict("beside two dict look-ups (185 tools)", small_lookups, LOOKUP_CEILING, at_most=True),
            verdict("beside two dict look-ups (10,000 tools)", large_lookups, LOOKUP_CEILING, at_most=True),
            verdict("10,000 tools beside 185", large_s / small_s, FLAT_CEILING, at_most=True),
        ]
    )


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
