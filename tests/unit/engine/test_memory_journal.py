"""The in-memory journal keeps the rules of the real one."""

from __future__ import annotations

import pytest

from opsconductor.engine.memory_journal import MemoryJournal, Store
from opsconductor.engine.ports import Journal
from opsconductor.model.errors import OpsError
from tests.conformance.journal import ACCEPTED, JournalConformance, Medium


class _Memory:
    def __init__(self) -> None:
        self.store: Store = {}

    def open(self) -> Journal:
        return MemoryJournal(self.store)

    def tamper(self, execution_id: str, sequence: int) -> None:
        rows = self.store[execution_id]
        rows[sequence - 1] = rows[sequence - 1]._replace(body=rows[sequence - 1].body.replace(b'"', b" ", 1))

    def remove(self, execution_id: str, sequence: int) -> None:
        del self.store[execution_id][sequence - 1]


class TestMemoryJournal(JournalConformance):
    @pytest.fixture
    def medium(self) -> Medium:
        return _Memory()


async def test_a_failure_that_a_test_asks_for_leaves_nothing() -> None:
    journal = MemoryJournal()
    journal.failure = OpsError("journal_unavailable", "the disk is full")
    with pytest.raises(OpsError, match="disk is full"):
        await journal.append("a", "accepted", ACCEPTED)
    assert journal.store == {}
