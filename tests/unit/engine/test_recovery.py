"""Orphaned executions are settled truthfully, once, and only when their process is certainly gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from opsconductor.engine.memory_journal import MemoryJournal
from opsconductor.engine.process_identity import Liveness
from opsconductor.engine.records import CancelRequested, Owner, Record, Started, write
from opsconductor.engine.recovery import UNOWNED_GRACE_S, settle_orphans
from opsconductor.engine.replay import ExecutionState, replay
from opsconductor.model.execution import ExecutionStatus, StepStatus
from tests.unit.store.executions import OWNER, accepted, dispatched, finished, result

OK, BAD, SKIPPED, UNKNOWN = StepStatus.COMPLETED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.OUTCOME_UNKNOWN
STARTED = Started(owner=OWNER)
NOW = datetime.now(UTC)


def _gone(owner: Owner) -> Liveness:
    assert owner == OWNER
    return Liveness.GONE


async def _settled(*records: Record) -> ExecutionState:
    journal = MemoryJournal()
    for record in records:
        await write(journal, "a", record)
    [outcome] = await settle_orphans(journal, liveness=_gone, now=lambda: NOW)
    state = replay(await journal.read("a"))
    assert outcome.status is state.status
    assert await journal.unfinished() == []
    return state


async def test_a_dispatched_step_without_a_result_is_unknown_and_the_rest_is_skipped() -> None:
    state = await _settled(
        accepted("df", "kill", "ps"), STARTED, dispatched(0, "df"), result(0, "df", OK), dispatched(1, "kill")
    )
    assert [step.status for step in state.steps] == [OK, UNKNOWN, SKIPPED]
    assert state.status is ExecutionStatus.OUTCOME_UNKNOWN
    assert state.finished is not None
    assert "before the result of s1 was recorded" in str(state.finished.error_message)
    counts = state.finished.counts
    assert (counts.total_steps, counts.successful_steps, counts.failed_steps) == (3, 1, 1)
    doubt = state.steps[1].result
    assert doubt is not None
    assert doubt.error is not None
    assert (doubt.error.code, doubt.error.retry, doubt.service) == ("outcome_unknown", "unknown", "automation-service")
    assert doubt.started_at == state.steps[1].dispatched_at


@pytest.mark.parametrize("begun", [(), (STARTED,)])
async def test_what_never_started_a_step_failed_and_can_be_run_again(begun: tuple[Record, ...]) -> None:
    state = await _settled(accepted("df", "ps"), *begun)
    assert [step.status for step in state.steps] == [SKIPPED, SKIPPED]
    assert state.status is ExecutionStatus.FAILED
    assert state.finished is not None
    assert "before any step was started; it can be run again" in str(state.finished.error_message)


async def test_a_half_run_plan_without_doubt_is_failed_and_never_completed() -> None:
    state = await _settled(accepted("df", "ps"), STARTED, dispatched(0, "df"), result(0, "df", OK))
    assert [step.status for step in state.steps] == [OK, SKIPPED]
    assert state.status is ExecutionStatus.FAILED
    assert state.finished is not None
    assert "were started: s1" in str(state.finished.error_message)


async def test_when_all_results_are_there_they_decide() -> None:
    done = await _settled(accepted("df"), STARTED, dispatched(0, "df"), result(0, "df", OK))
    assert done.status is ExecutionStatus.COMPLETED
    assert done.finished is not None
    assert done.finished.error_message is None
    failed = await _settled(accepted("df"), STARTED, dispatched(0, "df"), result(0, "df", BAD))
    assert failed.status is ExecutionStatus.FAILED
    late = await _settled(accepted("df"), STARTED, result(0, "df", StepStatus.TIMEOUT))
    assert late.status is ExecutionStatus.TIMEOUT


async def test_a_plan_that_goes_on_after_failures_is_partial() -> None:
    plan = {"steps": [{"tool": "df", "on_failure": "continue"}, {"tool": "ps"}]}
    state = await _settled(accepted("df", "ps", plan=plan), STARTED, result(0, "df", BAD), result(1, "ps", OK))
    assert state.status is ExecutionStatus.PARTIAL


async def test_a_requested_cancel_is_what_happened_to_steps_that_did_not_start() -> None:
    state = await _settled(accepted("df", "ps"), STARTED, result(0, "df", OK), CancelRequested())
    assert [step.status for step in state.steps] == [OK, StepStatus.CANCELLED]
    assert state.status is ExecutionStatus.CANCELLED


@pytest.mark.parametrize("answer", [Liveness.ALIVE, Liveness.UNKNOWN])
async def test_an_owner_that_lives_or_cannot_be_seen_is_left_alone(answer: Liveness) -> None:
    journal = MemoryJournal()
    await write(journal, "a", accepted("df"))
    assert await settle_orphans(journal, liveness=lambda _owner: answer, now=lambda: NOW) == ()
    assert len(await journal.read("a")) == 1


async def test_an_execution_without_an_owner_is_settled_after_its_grace() -> None:
    journal = MemoryJournal(now=lambda: NOW)
    await write(journal, "a", accepted("df", owner=None))
    for seconds, expected in ((UNOWNED_GRACE_S - 1, 0), (UNOWNED_GRACE_S + 1, 1)):
        later = NOW + timedelta(seconds=seconds)
        assert len(await settle_orphans(journal, liveness=_gone, now=lambda at=later: at)) == expected  # type: ignore[misc]


async def test_two_processes_that_settle_at_once_record_one_end() -> None:
    first = MemoryJournal()
    await write(first, "a", accepted("df", "ps"))
    second = MemoryJournal(first.store)
    outcomes = await asyncio.gather(
        *(settle_orphans(journal, liveness=_gone, now=lambda: NOW) for journal in (first, second))
    )
    assert sum(len(outcome) for outcome in outcomes) == 1
    assert [record.kind for record in await first.read("a")] == [
        "accepted",
        "step_finished",
        "step_finished",
        "finished",
    ]
    assert await settle_orphans(first, liveness=_gone, now=lambda: NOW) == ()


async def test_a_settling_that_was_itself_interrupted_is_gone_on_with() -> None:
    state = await _settled(accepted("df", "ps"), STARTED, dispatched(0, "df"), result(0, "df", UNKNOWN))
    assert [step.status for step in state.steps] == [UNKNOWN, SKIPPED]
    assert state.status is ExecutionStatus.OUTCOME_UNKNOWN


async def test_a_damaged_execution_is_reported_and_does_not_stop_the_others() -> None:
    journal = MemoryJournal()
    for name in ("a", "b"):
        await write(journal, name, accepted("df"))
    journal.store["a"][0] = journal.store["a"][0]._replace(at="2020-01-01T00:00:00.000000Z")
    damaged, settled = await settle_orphans(journal, liveness=_gone, now=lambda: NOW)
    assert damaged.error is not None
    assert (damaged.execution_id, damaged.error.code) == ("a", "journal_corrupt")
    assert (settled.execution_id, settled.status) == ("b", ExecutionStatus.FAILED)


async def test_a_finished_execution_is_not_touched() -> None:
    journal = MemoryJournal()
    await write(journal, "a", accepted("df"))
    await write(journal, "a", finished(ExecutionStatus.COMPLETED, 1, 1, 0))
    assert await settle_orphans(journal, liveness=_gone, now=lambda: NOW) == ()
