"""A journal in memory that keeps every rule of the real one except durability: for tests and for trying plans out.

Passes tests/conformance/journal.py, as the SQLite journal does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from opsconductor.engine.chain import (
    START,
    Head,
    Row,
    check_execution_id,
    encode_body,
    follow_all,
    stale,
    to_record,
    verified,
)
from opsconductor.engine.ports import Entry, JournalRecord, Now
from opsconductor.engine.records import RecordKind
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError

Store = dict[str, list[Row]]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryJournal:
    """Several of them on one `store` behave like several processes on one file. `failure` is raised by appends."""

    def __init__(self, store: Store | None = None, *, now: Now = _utc_now) -> None:
        self.store: Store = {} if store is None else store
        self.failure: OpsError | None = None
        self._now = now
        self._heads: dict[str, Head] = {}
        self._closed = False

    async def append(
        self, execution_id: str, kind: str, body: Mapping[str, Any], *, after: int | None = None
    ) -> JournalRecord:
        """See `engine.ports.Journal`."""
        return (await self.append_all(execution_id, [(kind, body)], after=after))[0]

    async def append_all(
        self, execution_id: str, entries: Sequence[Entry], *, after: int | None = None
    ) -> Sequence[JournalRecord]:
        """See `engine.ports.Journal`."""
        check_execution_id(execution_id)
        at = to_rfc3339(self._now())
        rows = [Row(execution_id, 0, at, str(kind), encode_body(body)) for kind, body in entries]
        await asyncio.sleep(0)  # like a real journal, let others run before the answer
        if self._closed:
            raise OpsError("journal_unavailable", "the journal is closed; nothing was recorded")
        if self.failure is not None:
            raise self.failure
        placed, head = follow_all(self._head(execution_id, after), rows, after)
        self.store.setdefault(execution_id, []).extend(placed)
        self._heads[execution_id] = head
        return [to_record(row) for row in placed]

    def _head(self, execution_id: str, after: int | None) -> Head:
        rows = self.store.get(execution_id)
        head = Head(rows[-1].sequence, rows[-1].hash, rows[-1].kind) if rows else START
        known = self._heads.get(execution_id)
        if after is None and known is not None and known != head:
            raise stale(execution_id, head.sequence, known.sequence)
        return head

    async def read(self, execution_id: str) -> Sequence[JournalRecord]:
        """See `engine.ports.Journal`."""
        if execution_id not in self.store:
            raise OpsError("not_found", f"there is no execution {execution_id}", execution_id=execution_id)
        records, head = [], START
        for row in self.store[execution_id]:
            record, head = verified(head, row)
            records.append(record)
        return records

    async def unfinished(self) -> Sequence[str]:
        """See `engine.ports.Journal`."""
        return [name for name, rows in self.store.items() if rows[-1].kind != RecordKind.FINISHED]

    async def close(self) -> None:
        """Refuse further appends; what was recorded can still be read."""
        self._closed = True
