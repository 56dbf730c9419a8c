"""Records come back from their stored form as they were, and what is none is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from opsconductor.engine.memory_journal import MemoryJournal
from opsconductor.engine.ports import JournalRecord
from opsconductor.engine.records import (
    TYPES,
    CancelRequested,
    Record,
    RecordKind,
    Started,
    StepOutput,
    body_of,
    decode,
    kind_of,
    write,
)
from opsconductor.engine.replay import replay
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus, StepStatus
from tests.unit.store.executions import OWNER, accepted, dispatched, finished, result

RECORDS: list[Record] = [
    accepted("df", "ps", inputs={"a": 1}, actor_id=7, source="cli"),
    Started(owner=OWNER),
    dispatched(0, "df"),
    StepOutput(step_index=0, stream="stdout", offset=0, text="x"),
    result(0, "df", StepStatus.FAILED, stdout="x", exit_code=1),
    CancelRequested(actor_id="ann"),
    finished(ExecutionStatus.FAILED, 2, 0, 1, "step s0"),
]


def _stored(kind: str, body: dict[str, Any]) -> JournalRecord:
    return JournalRecord(execution_id="a", sequence=3, at="t", kind=kind, body=body)


def test_there_is_an_example_of_every_kind() -> None:
    assert [kind_of(record) for record in RECORDS] == list(RecordKind) == list(TYPES)


@pytest.mark.parametrize("record", RECORDS, ids=kind_of)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    body = msgspec.json.decode(msgspec.json.encode(body_of(record)))
    assert decode(_stored(kind_of(record), body)) == record


def test_an_unknown_field_of_a_later_version_is_passed_over() -> None:
    body = {**body_of(Started(owner=OWNER)), "later": True}
    assert decode(_stored("started", body)) == Started(owner=OWNER)


@pytest.mark.parametrize(("kind", "body"), [("started", {}), ("nonsense", {}), ("finished", {"status": "fine"})])
def test_what_is_no_record_is_refused_with_its_place(kind: str, body: dict[str, Any]) -> None:
    with pytest.raises(OpsError, match="record 3 of execution a") as caught:
        decode(_stored(kind, body))
    assert caught.value.code == "journal_corrupt"


async def test_all_kinds_replay_to_where_the_execution_stands() -> None:
    journal = MemoryJournal()
    for record in RECORDS:
        await write(journal, "a", record)
    state = replay(await journal.read("a"))
    assert (state.status, state.finished, state.last_sequence) == (ExecutionStatus.FAILED, RECORDS[-1], 7)
    assert [step.status for step in state.steps] == [StepStatus.FAILED, StepStatus.PENDING]
    assert state.steps[0].output == {"stdout": "x"}
    assert [entry.kind for entry in state.timeline] == [kind for kind in RecordKind if kind != "step_output"]
    msgspec.json.encode(state)


async def test_a_record_of_a_step_that_the_plan_does_not_have_is_refused() -> None:
    journal = MemoryJournal()
    await write(journal, "a", accepted("df"))
    await write(journal, "a", msgspec.structs.replace(dispatched(0, "df"), step_index=5))
    with pytest.raises(OpsError, match="it names step 5 and the plan has 1 steps"):
        replay(await journal.read("a"))
