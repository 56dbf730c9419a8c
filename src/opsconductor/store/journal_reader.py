"""Reading the journal: one thread, one connection that only queries, opened when first needed.

Readers never wait for the writer (WAL). Used by `SqliteJournal.read` and by `history.History`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from opsconductor.engine.chain import START, Row, verified
from opsconductor.engine.ports import JournalRecord
from opsconductor.model.errors import OpsError
from opsconductor.store.journal_schema import open_for_reading, unavailable

T = TypeVar("T")
_RECORDS = "SELECT execution_id, sequence, at, kind, body, hash FROM journal WHERE execution_id = ? ORDER BY sequence"
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class JournalReader:
    """Runs queries on the journal in its own thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal-reader")

    async def query(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call `work` with the connection. Raises OpsError: `not_found`, `journal_corrupt`, `journal_unavailable`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, work)

    async def close(self) -> None:
        """Close the connection and end the thread; may be called twice."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = open_for_reading(self.path)
            return work(self._connection)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "").startswith(_DAMAGED):
                raise OpsError(
                    "journal_corrupt",
                    f"journal {self.path}: the file is damaged ({error}); restore it from a backup",
                ) from error
            raise unavailable(error, self.path) from error


def records_of(connection: sqlite3.Connection, execution_id: str) -> list[JournalRecord]:
    """All records of one execution, chain verified. Raises OpsError: `not_found`, `journal_corrupt`."""
    records = list(_verified(connection, execution_id))
    if not records:
        raise OpsError(
            "not_found",
            f"there is no execution {execution_id}; list the known ones with: opsconductor executions list",
            execution_id=execution_id,
        )
    return records


def _verified(connection: sqlite3.Connection, execution_id: str) -> Iterator[JournalRecord]:
    head = START
    for stored in connection.execute(_RECORDS, (execution_id,)):
        record, head = verified(head, Row(*stored))
        yield record
