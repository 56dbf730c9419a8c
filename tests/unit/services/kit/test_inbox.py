"""The same request again: the recorded answer, also after the process ended; and never a second run in doubt."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import PlanRequest, PlanResponse, StepRequest, StepResult
from opsconductor.services.kit.inbox import Inbox
from opsconductor.services.kit.inbox_store import Accept, Answer, InboxStore
from opsconductor.services.kit.plan_runner import response_of
from opsconductor.services.kit.requests import Claim, claim_for

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def claim(*, durable: bool = True, tool: str = "count", **fields: Any) -> Claim:
    request = PlanRequest(**{"execution_id": "e1", "steps": (StepRequest(tool=tool, id="s"),), **fields})
    return claim_for(request, durable=durable)


def response(status: StepStatus = StepStatus.COMPLETED, *, text: str = "") -> PlanResponse:
    result = StepResult(step_index=0, id="s", tool="count", status=status, output={"stdout": text})
    return response_of("e1", [result], started_at=None, completed_at="2026-01-02T03:04:05.000000Z")


def never() -> PlanResponse:
    raise AssertionError("nothing was lost")


def open_inbox(folder: Path, **fields: Any) -> Inbox:
    return Inbox(folder / "inbox.sqlite", **{"now": lambda: MOMENT, **fields})


async def code_of(inbox: Inbox, asked: Claim) -> str:
    with pytest.raises(OpsError) as caught:
        await inbox.admit(asked, lost=never)
    return caught.value.code


@pytest.mark.parametrize("durable", [True, False])
async def test_a_request_runs_once_and_is_answered_from_the_record_after(tmp_path: Path, durable: bool) -> None:
    inbox, asked = open_inbox(tmp_path), claim(durable=durable)
    assert await inbox.admit(asked, lost=never) is None
    assert await code_of(inbox, asked) == "execution_in_progress"
    await inbox.finish(asked, response())
    assert await inbox.admit(asked, lost=never) == response()
    await inbox.close()


async def test_reads_leave_no_file(tmp_path: Path) -> None:
    inbox, asked = open_inbox(tmp_path), claim(durable=False)
    assert await inbox.admit(asked, lost=never) is None
    await inbox.finish(asked, response())
    await inbox.close()
    assert list(tmp_path.iterdir()) == []


async def test_what_must_not_run_twice_is_on_disk_before_it_starts(tmp_path: Path) -> None:
    inbox, asked = open_inbox(tmp_path), claim()
    await inbox.admit(asked, lost=never)
    with closing(sqlite3.connect(tmp_path / "inbox.sqlite")) as other, other:
        rows = other.execute("SELECT key, response FROM requests").fetchall()
    other.close()
    assert rows == [(asked.key, None)]
    await inbox.close()


async def test_a_recorded_answer_survives_the_process(tmp_path: Path) -> None:
    inbox, asked = open_inbox(tmp_path), claim()
    await inbox.admit(asked, lost=never)
    await inbox.finish(asked, response(text="kept"))
    await inbox.close()
    later = open_inbox(tmp_path)
    assert await later.admit(asked, lost=never) == response(text="kept")
    assert await code_of(later, claim(tool="other")) == "idempotency_key_reused"
    await later.close()


async def test_what_was_started_and_never_ended_is_unknown_and_stays_so(tmp_path: Path) -> None:
    inbox, asked = open_inbox(tmp_path), claim()
    await inbox.admit(asked, lost=never)
    await inbox.close()
    later, unknown = open_inbox(tmp_path), response(StepStatus.OUTCOME_UNKNOWN)
    assert await later.admit(asked, lost=lambda: unknown) == unknown
    assert await later.admit(asked, lost=never) == unknown
    await later.close()


async def test_another_tenants_same_key_is_another_request(tmp_path: Path) -> None:
    inbox = open_inbox(tmp_path)
    for tenant in ("a", "b", None):
        assert await inbox.admit(claim(tenant_id=tenant, idempotency_key="k"), lost=never) is None
    await inbox.close()


async def test_a_running_key_with_another_body_is_refused(tmp_path: Path) -> None:
    inbox = open_inbox(tmp_path)
    await inbox.admit(claim(idempotency_key="k"), lost=never)
    assert await code_of(inbox, claim(idempotency_key="k", tool="other")) == "idempotency_key_reused"
    await inbox.close()


async def test_epoch_and_deadline_do_not_make_another_body() -> None:
    assert claim(epoch=1).body_sha256 == claim(epoch=2, deadline_at="2026-01-02T03:04:05Z").body_sha256
    assert claim(actor_id=1).body_sha256 != claim(actor_id=2).body_sha256


async def test_a_lower_epoch_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    inbox = open_inbox(tmp_path)
    await inbox.admit(claim(epoch=5, idempotency_key="a"), lost=never)
    assert await code_of(inbox, claim(epoch=4, idempotency_key="b")) == "epoch_stale"
    assert await inbox.admit(claim(epoch=5, idempotency_key="c"), lost=never) is None
    await inbox.close()
    later = open_inbox(tmp_path)
    assert await code_of(later, claim(epoch=4, idempotency_key="d", durable=False)) == "epoch_stale"
    await later.close()


async def test_concurrent_claims_share_commits_and_all_are_kept(tmp_path: Path) -> None:
    inbox = open_inbox(tmp_path)
    claims = [claim(idempotency_key=f"k{number}") for number in range(50)]
    admitted = await asyncio.gather(*(inbox.admit(asked, lost=never) for asked in claims))
    assert admitted == [None] * 50
    await asyncio.gather(*(inbox.finish(asked, response()) for asked in claims))
    await inbox.close()
    later = open_inbox(tmp_path)
    assert [await later.admit(asked, lost=never) for asked in claims] == [response()] * 50
    await later.close()


async def test_a_disk_that_refuses_the_claim_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "inbox.sqlite").write_bytes(b"this is no database, and long enough to be seen as one" * 100)
    inbox = open_inbox(tmp_path)
    assert await code_of(inbox, claim()) == "service_not_ready"
    with pytest.raises(OpsError):
        await inbox.check()


async def test_a_claim_that_was_not_written_can_be_made_again(tmp_path: Path) -> None:
    inbox = open_inbox(tmp_path)
    await inbox.check()
    with closing(sqlite3.connect(tmp_path / "inbox.sqlite")) as other, other:
        other.execute("ALTER TABLE requests RENAME TO hidden")
    assert await code_of(inbox, claim()) == "service_not_ready"
    with closing(sqlite3.connect(tmp_path / "inbox.sqlite")) as other, other:
        other.execute("ALTER TABLE hidden RENAME TO requests")
    other.close()
    assert await inbox.admit(claim(), lost=never) is None
    await inbox.close()


async def test_an_answer_that_cannot_be_written_is_still_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox, asked = open_inbox(tmp_path), claim()
    await inbox.admit(asked, lost=never)
    with closing(sqlite3.connect(tmp_path / "inbox.sqlite")) as other, other:
        other.execute("DROP TABLE requests")
    other.close()
    await inbox.finish(asked, response())
    assert "could not be recorded" in caplog.text
    await inbox.close()


async def test_answers_in_memory_are_bounded_by_number_and_size(tmp_path: Path) -> None:
    inbox = open_inbox(tmp_path, max_remembered=2, max_remembered_bytes=50_000)
    for key in ("a", "b", "c"):
        asked = claim(durable=False, idempotency_key=key)
        await inbox.admit(asked, lost=never)
        await inbox.finish(asked, response())
    assert await inbox.admit(claim(durable=False, idempotency_key="b"), lost=never) is not None
    assert await inbox.admit(claim(durable=False, idempotency_key="a"), lost=never) is None
    big = claim(durable=False, idempotency_key="big")
    await inbox.admit(big, lost=never)
    await inbox.finish(big, response(text="x" * 40_000))
    assert await inbox.admit(big, lost=never) is not None
    assert await inbox.admit(claim(durable=False, idempotency_key="c"), lost=never) is None
    await inbox.close()


def test_old_requests_are_forgotten_in_batches(tmp_path: Path) -> None:
    store = InboxStore(tmp_path / "inbox.sqlite")
    old = [claim(idempotency_key=f"k{number}") for number in range(5)]
    store.write([Accept(asked, float(number)) for number, asked in enumerate(old)])
    assert store.purge(4.0, limit=3) == 3
    assert store.purge(4.0, limit=3) == 1
    assert store.find("", "k4") is not None
    store.close()


async def test_requests_older_than_the_retention_are_forgotten_while_others_come(tmp_path: Path) -> None:
    store = InboxStore(tmp_path / "inbox.sqlite")
    store.write([Accept(claim(idempotency_key="old"), (MOMENT - timedelta(days=8)).timestamp())])
    store.close()
    inbox = open_inbox(tmp_path)
    await inbox.admit(claim(idempotency_key="new"), lost=never)
    assert await inbox.admit(claim(idempotency_key="old"), lost=never) is None
    await inbox.close()


def test_the_file_keeps_what_was_committed_through_a_power_cut(tmp_path: Path) -> None:
    store = InboxStore(tmp_path / "inbox.sqlite")
    connection = store._writer
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    store.close()


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    store = InboxStore(tmp_path / "inbox.sqlite")
    store.write([Accept(claim(idempotency_key="a"), 1.0)])
    with pytest.raises(OpsError):
        store.write([Answer(claim(idempotency_key="a"), b"{}"), Accept(claim(idempotency_key="a"), 2.0)])
    row = store.find("", "a")
    assert row is not None
    assert row.response is None
    store.close()
