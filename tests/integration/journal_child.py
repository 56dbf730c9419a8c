"""A process that records and says so: `python -m tests.integration.journal_child PATH PREFIX COUNT`.

COUNT executions at once; each prints `id sequence` after its record was acknowledged, until it is killed or, with a
positive number of records as the fourth argument, until all have that many.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from opsconductor.store.journal import SqliteJournal
from tests.conformance.journal import ACCEPTED, OUTPUT


async def main(path: Path, prefix: str, count: int, records: int) -> None:
    """Record and acknowledge."""
    journal = SqliteJournal(path)

    async def run(name: str) -> None:
        written = 0
        while not records or written < records:
            body = OUTPUT if written else ACCEPTED
            record = await journal.append(name, "step_output" if written else "accepted", body)
            written = record.sequence
            os.write(1, f"{name} {written}\n".encode())  # one write(2), no buffer that a kill could lose

    await asyncio.gather(*(run(f"{prefix}{number}") for number in range(count)))
    await journal.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
