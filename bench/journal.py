"""How fast the journal records, beside what SQLite itself gives in the same run. Run: `python -m bench.journal`.

Floors: raw batched inserts (one thread, the same pragmas, table and batch size, no hash, no event loop) and raw
commit-per-record. Ratios compare within one run on one machine; absolute figures do not travel.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from opsconductor.store.journal import SqliteJournal
from opsconductor.store.journal_schema import open_for_writing

CONCURRENT = 100
RECORDS_EACH = 300
ALONE = 500
ACCEPTED: dict[str, Any] = {"plan": {}, "plan_name": "bench", "steps": [{"id": "s", "tool": "df"}]}
BODY: dict[str, Any] = {
    "step_index": 0,
    "id": "disk",
    "tool": "df",
    "service": "automation-service",
    "route_reason": "metadata",
    "dispatch_id": "0190b4c1-7d7a-7c3e-8a51-3f1f4a7c9e55",
    "epoch": 1,
    "request_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "request": {"tool": "df", "inputs": {"path": "/", "host": "web-1"}},
}
INSERT = "INSERT INTO journal (execution_id, sequence, at, kind, body, hash) VALUES (?, ?, ?, ?, ?, ?)"


async def concurrent(path: Path) -> float:
    """Records per second of many executions that each wait for every record."""
    journal = SqliteJournal(path)
    names = [f"c{number}" for number in range(CONCURRENT)]
    await asyncio.gather(*(journal.append(name, "accepted", ACCEPTED) for name in names))

    async def run(name: str) -> None:
        for _ in range(RECORDS_EACH):
            await journal.append(name, "dispatched", BODY)

    began = time.perf_counter()
    await asyncio.gather(*map(run, names))
    elapsed = time.perf_counter() - began
    await journal.close()
    return CONCURRENT * RECORDS_EACH / elapsed


async def alone(path: Path) -> list[float]:
    """Milliseconds of each record when one execution writes alone."""
    journal = SqliteJournal(path)
    await journal.append("alone", "accepted", ACCEPTED)
    taken = []
    for _ in range(ALONE):
        began = time.perf_counter()
        await journal.append("alone", "dispatched", BODY)
        taken.append((time.perf_counter() - began) * 1000)
    await journal.close()
    return taken


def raw_batched(path: Path) -> float:
    """Records per second of plain inserts, `CONCURRENT` in a transaction."""
    connection = open_for_writing(path)
    body, digest = json.dumps(BODY).encode(), bytes(32)
    began = time.perf_counter()
    for sequence in range(1, RECORDS_EACH + 1):
        rows = [
            (f"c{n}", sequence, "2026-01-02T03:04:05.000000Z", "dispatched", body, digest) for n in range(CONCURRENT)
        ]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, rows)
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - began
    connection.close()
    return CONCURRENT * RECORDS_EACH / elapsed


def raw_alone(path: Path) -> list[float]:
    """Milliseconds of each plain insert with its own commit."""
    connection = open_for_writing(path)
    body, taken = json.dumps(BODY).encode(), []
    for sequence in range(1, ALONE + 1):
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, ("a", sequence, "2026-01-02T03:04:05.000000Z", "dispatched", body, bytes(32)))
        connection.execute("COMMIT")
        taken.append((time.perf_counter() - began) * 1000)
    connection.close()
    return taken


def opening(path: Path) -> float:
    """Median milliseconds to open an existing journal."""
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        journal = SqliteJournal(path)
        taken.append((time.perf_counter() - began) * 1000)
        asyncio.run(journal.close())
    return statistics.median(taken)


def importing() -> float:
    """Milliseconds that the journal's modules add to a process that has asyncio, sqlite3 and msgspec loaded."""
    code = (
        "import asyncio, sqlite3, msgspec, time; b = time.perf_counter(); import opsconductor.store.journal;"
        "print((time.perf_counter() - b) * 1000)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout) for _ in range(3)
    ]
    return min(runs)


def main() -> None:
    """Print the figures and their ratios."""
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        base = Path(folder)
        many, floor_many = asyncio.run(concurrent(base / "a.db")), raw_batched(base / "b.db")
        one, floor_one = asyncio.run(alone(base / "c.db")), raw_alone(base / "d.db")
        print(
            f"{CONCURRENT} at once: {many:,.0f} records/s; raw batched {floor_many:,.0f}; ratio {many / floor_many:.2f}"
        )
        p50, floor = statistics.median(one), statistics.median(floor_one)
        p99 = statistics.quantiles(one, n=100)[98]
        print(f"alone: p50 {p50:.3f} ms, p99 {p99:.3f} ms; raw commit {floor:.3f} ms; ratio {p50 / floor:.2f}")
        print(f"against one commit a record: {many / (1000 / floor):.1f} times the records/s")
        print(f"open an existing journal: {opening(base / 'a.db'):.2f} ms; import its modules: {importing():.1f} ms")


if __name__ == "__main__":
    main()
