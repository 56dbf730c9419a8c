"""The journal on SQLite: what happened, append-only, durable, hash-chained for each execution.

Implements `engine.ports.Journal`; made by bootstrap, used by the coordinator, recovery and history. Writing is in
`journal_writer`, reading in `journal_reader`, the file's format in `journal_schema`, the chain in `engine.chain`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opsconductor.engine.chain import Row, check_execution_id, encode_body
from opsconductor.engine.ports import Entry, JournalRecord, Now
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.execution import ExecutionStatus, is_terminal
from opsconductor.store.history_rows import changes
from opsconductor.store.journal_reader import JournalReader, records_of
from opsconductor.store.journal_writer import Append, JournalWriter

_OPEN = [status.value for status in ExecutionStatus if not is_terminal(status)]
_UNFINISHED = f"SELECT id FROM executions WHERE status IN ({', '.join('?' * len(_OPEN))}) ORDER BY accepted_at, id"  # noqa: S608


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqliteJournal:
    """A journal in one SQLite file, shared by any number of coroutines and processes on this machine."""

    def __init__(self, path: Path, *, now: Now = _utc_now) -> None:
        """Open or create the file (0600) in an existing folder. Raises OpsError(`journal_unavailable`)."""
        self._writer = JournalWriter(path)
        self._now = now
        self.reader = JournalReader(path)

    async def append(
        self, execution_id: str, kind: str, body: Mapping[str, Any], *, after: int | None = None
    ) -> JournalRecord:
        """Append one record; it is on disk when this returns. See `engine.ports.Journal` for `after` and errors."""
        return (await self.append_all(execution_id, [(kind, body)], after=after))[0]

    async def append_all(
        self, execution_id: str, entries: Sequence[Entry], *, after: int | None = None
    ) -> Sequence[JournalRecord]:
        """Append records with one commit, all or none. See `engine.ports.Journal`.

        Cancelling the caller does not take back records that are already being written.
        """
        check_execution_id(execution_id)
        at = to_rfc3339(self._now())
        rows = [Row(execution_id, 0, at, str(kind), encode_body(body)) for kind, body in entries]
        derived = [change for kind, body in entries for change in changes(execution_id, str(kind), at, body)]
        append = Append(rows, derived, after)
        self._writer.submit(append)
        placed = await append.future
        return [
            JournalRecord(
                execution_id=execution_id,
                sequence=row.sequence,
                at=at,
                kind=row.kind,
                body=dict(body),
                hash=row.hash.hex(),
            )
            for row, (_, body) in zip(placed, entries, strict=True)
        ]

    async def read(self, execution_id: str) -> Sequence[JournalRecord]:
        """All records of one execution in order, chain verified. Raises OpsError(`not_found`, `journal_corrupt`)."""
        return await self.reader.query(lambda connection: records_of(connection, execution_id))

    async def verify(self, execution_id: str) -> int:
        """Verify the chain of one execution; the number of its records. Raises as `read` does."""
        return len(await self.read(execution_id))

    async def unfinished(self) -> Sequence[str]:
        """Ids of executions without a `finished` record, oldest first."""
        return await self.reader.query(_unfinished)

    async def close(self) -> None:
        """Write what is queued and close; may be called twice."""
        await asyncio.to_thread(self._writer.close)
        await self.reader.close()


def _unfinished(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute(_UNFINISHED, _OPEN)]
