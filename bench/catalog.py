"""Loading 10,000 definitions: cold against libyaml's loader alone, warm against a look at the files alone.

`python -m bench.catalog [COUNT]` prints ratios of one run on this machine and exits 1 when a floor is missed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from bench.measure import compare, seconds, verdict
from bench.tool_tree import write_tree
from opsconductor.catalog.catalog import load_catalog

COLD_FLOOR = 5.0  # times as fast as yaml.CSafeLoader on the same files, validation and index included
WARM_CEILING = 1.5  # times a stat sweep


def parse_alone(paths: list[Path]) -> None:
    """What a loader in Python usually begins with."""
    for path in paths:
        yaml.load(path.read_bytes(), yaml.CSafeLoader)


def stat_alone(root: Path) -> int:
    """The least that tells whether anything changed."""
    total, pending = 0, [os.fspath(root)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending.append(entry.path)
                else:
                    status = entry.stat()
                    total += status.st_mtime_ns ^ status.st_size
    return total


def main(count: int) -> bool:
    """Run both comparisons; whether both floors hold."""
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder, "tools"), Path(folder, "cache")
        paths = write_tree(root, count)
        size = sum(path.stat().st_size for path in paths)
        print(f"{count:,} definitions, {size / count:,.0f} bytes each")

        def cold() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            catalog = load_catalog([root], cache_dir=cache)
            assert len(catalog) == count and not catalog.problems, catalog.problems[:3]

        def warm() -> None:
            catalog = load_catalog([root], cache_dir=cache)
            assert catalog.location_of("tool-1") == ("tool_1", "communication-service")

        loading = compare(cold, lambda: parse_alone(paths), pairs=3)
        detail = f"cold {seconds(loading.ours_s)}, CSafeLoader alone {seconds(loading.other_s)}"
        cold_holds = verdict("cold load, validated and indexed", loading.times_faster, COLD_FLOOR, detail=detail)
        starting = compare(warm, lambda: stat_alone(root), pairs=15)
        detail = f"warm {seconds(starting.ours_s)}, sweep {seconds(starting.other_s)}"
        warm_holds = verdict("warm start", 1 / starting.times_faster, WARM_CEILING, at_most=True, detail=detail)
    return cold_holds and warm_holds


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000) else 1)
