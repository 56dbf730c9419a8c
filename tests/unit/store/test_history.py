"""History: lists are quick and page by key; one execution is told from its records alone."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsconductor.engine.records import CancelRequested, Started, StepOutput, write
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.store.history import History, rebuild
from opsconductor.store.journal import SqliteJournal
from opsconductor.store.journal_reader import JournalReader
from opsconductor.store.journal_schema import open_for_writing
from tests.unit.store.executions import OWNER, accepted, dispatched, finished, result, run

OK, BAD = StepStatus.COMPLETED, StepStatus.FAILED


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "j.db")
    yield journal
    await journal.close()


async def test_a_finished_execution_is_summed_up(journal: SqliteJournal) -> None:
    await run(journal, "a", ["df", "df", "asset-query"], [OK, BAD, OK], tenant_id="acme", actor_id=7, source="cli")
    [line] = await History(journal.reader).list_executions()
    assert (line.id, line.plan_name, line.status) == ("a", "disk check", ExecutionStatus.FAILED)
    assert (line.steps_total, line.steps_succeeded, line.steps_failed) == (3, 2, 1)
    assert (line.tools, line.tenant_id, line.actor_id, line.source) == ("df ×2, asset-query", "acme", 7, "cli")
    assert line.error_message == "step failed: disk full"
    assert line.accepted_at < str(line.started_at)
    assert line.completed_at is not None


async def test_progress_shows_while_it_runs(journal: SqliteJournal) -> None:
    history = History(journal.reader)
    await write(journal, "a", accepted("df", "du", "ps", "id"))
    assert (await history.list_executions())[0].status is ExecutionStatus.QUEUED
    await write(journal, "a", Started(owner=OWNER))
    await write(journal, "a", result(0, "df", OK))
    await write(journal, "a", result(1, "du", BAD))
    await write(journal, "a", result(2, "ps", StepStatus.SKIPPED))
    [line] = await history.list_executions()
    assert line.status is ExecutionStatus.RUNNING
    assert (line.steps_total, line.steps_succeeded, line.steps_failed, line.completed_at) == (4, 1, 1, None)


async def test_pages_follow_each_other_without_gaps_or_repeats(journal: SqliteJournal) -> None:
    names = [f"e{number:03}" for number in (5, 1, 4, 2, 3, 9, 7)]  # newest first means by time, whatever the ids are
    for name in names:
        await write(journal, name, accepted("df"))
    history = History(journal.reader)
    seen: list[str] = []
    while page := await history.list_executions(limit=3, before_id=seen[-1] if seen else None):
        seen += [line.id for line in page]
    assert seen == names[::-1]


async def test_filters_hold_together(journal: SqliteJournal) -> None:
    await run(journal, "a", ["Get-Service"], [OK], name="windows")
    await run(journal, "b", ["get_service", "df"], [BAD, OK], name="Mixed Bag")
    await run(journal, "c", ["df"], [OK], name="disks")
    history = History(journal.reader)

    async def ids(**wanted: object) -> list[str]:
        return [line.id for line in await history.list_executions(**wanted)]  # type: ignore[arg-type]

    assert await ids(tool="GET SERVICE") == ["b", "a"]
    assert await ids(tool="get-service", before_id="b") == ["a"]
    assert await ids(tool="df", status=ExecutionStatus.COMPLETED) == ["c"]
    assert await ids(status=ExecutionStatus.FAILED) == ["b"]
    assert await ids(text="mixed b") == ["b"]
    assert await ids(text="DISK FULL") == ["b"]
    assert await ids(text="100%") == []
    now = datetime.now(UTC)
    assert await ids(since=now - timedelta(minutes=1)) == ["c", "b", "a"]
    assert await ids(since=now + timedelta(minutes=1)) == []
    assert await ids(tool="df", since=now + timedelta(minutes=1)) == []


async def test_bad_questions_are_answered_with_what_is_wrong(journal: SqliteJournal) -> None:
    history = History(journal.reader)
    with pytest.raises(OpsError, match="expected 1 to 1000"):
        await history.list_executions(limit=0)
    with pytest.raises(OpsError, match="before_id") as caught:
        await history.list_executions(before_id="nobody")
    assert caught.value.code == "not_found"


async def test_a_journal_that_does_not_exist_has_no_executions_and_is_not_made(tmp_path: Path) -> None:
    history = History(JournalReader(tmp_path / "absent.db"))
    assert await history.list_executions() == []
    with pytest.raises(OpsError, match="nothing was run with this state folder") as caught:
        await history.show("a")
    assert caught.value.code == "not_found"
    assert list(tmp_path.iterdir()) == []
    await history.close()


async def test_an_execution_is_shown_from_its_records(journal: SqliteJournal) -> None:
    await write(journal, "a", accepted("df", "du", "ps"))
    await write(journal, "a", Started(owner=OWNER))
    await write(journal, "a", dispatched(0, "df"))
    await write(journal, "a", result(0, "df", OK, stdout="x"))
    await write(journal, "a", dispatched(1, "du"))
    await write(journal, "a", CancelRequested(actor_id=7, reason="too slow"))
    state = await History(journal.reader).show("a")
    assert [step.status for step in state.steps] == [OK, StepStatus.DISPATCHED, StepStatus.PENDING]
    assert state.steps[0].result is not None
    assert state.steps[0].result.output == {"stdout": "x"}
    assert state.steps[1].dispatch == dispatched(1, "du")
    assert (state.status, state.owner, state.last_sequence) == (ExecutionStatus.RUNNING, OWNER, 6)
    assert state.cancel_requested_at is not None
    assert [(entry.kind, entry.step) for entry in state.timeline] == [
        ("accepted", None),
        ("started", None),
        ("dispatched", "s0"),
        ("step_finished", "s0"),
        ("dispatched", "s1"),
        ("cancel_requested", None),
    ]
    assert state.timeline[2].detail == "df → automation-service (metadata)"


async def test_the_only_prefix_is_enough_and_an_ambiguous_one_lists_the_candidates(journal: SqliteJournal) -> None:
    for name in ("abc1", "abc2", "abd", "abdef"):
        await write(journal, name, accepted("df"))
    history = History(journal.reader)
    assert (await history.show("abc2")).execution_id == "abc2"
    assert (await history.show("abde")).execution_id == "abdef"
    assert (await history.show("abd")).execution_id == "abd"
    with pytest.raises(OpsError, match="abc1, abc2; give more") as caught:
        await history.show("abc")
    assert caught.value.context["candidates"] == ["abc1", "abc2"]
    for unknown in ("x", "", "abc%"):
        with pytest.raises(OpsError) as caught:
            await history.show(unknown)
        assert caught.value.code == "not_found"


async def test_logs_are_the_steps_output_in_order(journal: SqliteJournal) -> None:
    await write(journal, "a", accepted("df", "du", "ps"))
    await write(journal, "a", result(1, "du", OK, stdout="one\n", stderr="two\n", truncated=True))
    await write(journal, "a", StepOutput(step_index=0, stream="stdout", offset=0, text="so "))
    await write(journal, "a", StepOutput(step_index=0, stream="stdout", offset=3, text="far"))
    history = History(journal.reader)
    logs = await history.logs("a")
    assert [(log.id, log.stdout, log.stderr, log.truncated) for log in logs] == [
        ("s0", "so far", "", False),
        ("s1", "one\n", "two\n", True),
    ]
    assert [log.id for log in await history.logs("a", step="s1")] == ["s1"]
    assert [log.stdout for log in await history.logs("a", step="2")] == [""]
    with pytest.raises(OpsError, match="its steps are s0, s1, s2"):
        await history.logs("a", step="s9")


async def test_rebuilding_gives_the_same_tables_and_names_what_does_not_verify(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = SqliteJournal(path)
    await run(journal, "a", ["df", "ps"], [OK, BAD], actor_id="ann")
    await write(journal, "b", accepted("df"))
    await write(journal, "c", accepted("df"))
    await write(journal, "c", finished(ExecutionStatus.CANCELLED, 1, 0, 1))
    await journal.close()
    before = _derived(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE executions SET plan_name = 'wrong', steps_failed = 77")
        connection.execute("DELETE FROM execution_tools")
        connection.execute("DELETE FROM executions WHERE id = 'b'")
    connection.close()
    assert rebuild(path).corrupt == ()
    assert _derived(path) == before
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE journal SET kind = 'started' WHERE execution_id = 'c' AND sequence = 2")
    connection.close()
    report = rebuild(path)
    assert (report.executions, report.corrupt) == (2, ("c",))
    history = History(JournalReader(path))
    with pytest.raises(OpsError) as caught:
        await history.show("c")
    assert caught.value.code == "journal_corrupt"
    assert (await history.show("a")).execution_id == "a"
    await history.close()


def _derived(path: Path) -> list[list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    tables = [
        connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
        for table in ("executions", "execution_tools")
    ]
    connection.close()
    return tables


async def test_a_page_costs_the_same_at_any_depth_of_fifty_thousand(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    connection = open_for_writing(path)
    row = (
        "INSERT INTO executions (id, plan_name, status, accepted_at, steps_total, tools) VALUES (?, 'p', ?, ?, 1, 'df')"
    )
    ids = [(f"e{n:06}", "failed" if n % 1000 == 0 else "completed", f"2026-01-01T{n:06}Z") for n in range(50_000)]
    connection.execute("BEGIN")
    connection.executemany(row, ids)
    connection.executemany(
        "INSERT INTO execution_tools VALUES ('df', ?, ?)",
        [(at, name) for name, _, at in ids if int(name[1:]) % 500 == 0],
    )
    connection.execute("COMMIT")
    connection.close()
    history = History(JournalReader(path))
    assert len(await history.list_executions(limit=1)) == 1
    reading = history._reader._connection
    assert reading is not None
    asked: list[str] = []
    reading.set_trace_callback(asked.append)
    deep = await history.list_executions(limit=50, before_id="e000100")
    failed = await history.list_executions(limit=50, status=ExecutionStatus.FAILED)
    by_tool = await history.list_executions(limit=50, tool="df", before_id="e025000")
    reading.set_trace_callback(None)
    assert [deep[0].id, failed[-1].id, by_tool[-1].id] == ["e000099", "e000000", "e000000"]
    assert (len(deep), len(failed), len(by_tool)) == (50, 50, 50)
    plans = [row[3] for statement in asked for row in reading.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert len(plans) >= len(asked) == 5
    assert [plan for plan in plans if not plan.startswith("SEARCH")] == []  # no table scan, no sorting
    await history.close()
