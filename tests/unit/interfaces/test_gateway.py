"""What the gateway takes, and that a repeated request does its work once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from opsconductor.bootstrap.clock import IdSource, utc_now
from opsconductor.interfaces.api.gateway import read_submission
from opsconductor.interfaces.api.once import Once
from opsconductor.interfaces.ports import EventSink, ListQuery, Submission
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus
from opsconductor.model.outcome import PlanResponse, ResultCounts
from opsconductor.services.kit.inbox import Inbox
from opsconductor.services.kit.request_reader import CallHeaders

PLAN = {"steps": [{"tool": "df"}]}


class CountingConductor:
    """Executes nothing and counts how often it was asked to."""

    def __init__(self) -> None:
        self.executed: list[Submission] = []
        self.refuse: OpsError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def check(self, submission: Submission) -> None:
        if self.refuse:
            raise self.refuse

    async def execute(self, submission: Submission, *, on_event: EventSink | None = None) -> PlanResponse:
        self.executed.append(submission)
        await self.gate.wait()
        return PlanResponse(
            execution_id=submission.execution_id or "",
            status=ExecutionStatus.COMPLETED,
            result=ResultCounts(total_steps=1, successful_steps=1, failed_steps=0),
            step_results=(),
            completed_at="2026-01-01T00:00:00Z",
        )

    async def submit(self, submission: Submission) -> str:
        raise NotImplementedError

    async def explain(self, submission: Submission) -> dict[str, Any]:
        raise NotImplementedError

    async def list_executions(self, query: ListQuery) -> dict[str, Any]:
        raise NotImplementedError

    async def show_execution(self, execution_id: str) -> dict[str, Any]:
        raise NotImplementedError

    async def execution_logs(self, execution_id: str, step: str | None) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def cancel_execution(self, execution_id: str) -> bool:
        raise NotImplementedError

    async def call(self, service: str, tool: str, operation: str, inputs: dict[str, Any]) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


def submission(**keys: Any) -> Submission:
    return Submission(plan=PLAN, **keys)


def once(conductor: CountingConductor, folder: Path) -> Once:
    return Once(Inbox(folder / "inbox.sqlite3", now=utc_now), conductor, now=utc_now, new_id=IdSource())


async def test_the_same_key_and_body_is_executed_once_and_answered_twice(tmp_path: Path) -> None:
    conductor = CountingConductor()
    gate = once(conductor, tmp_path)
    first = await gate.execute(submission(idempotency_key="k"))
    second = await gate.execute(submission(idempotency_key="k"))
    assert first == second
    assert len(conductor.executed) == 1
    await gate.close()


async def test_the_answer_is_remembered_across_a_restart(tmp_path: Path) -> None:
    conductor = CountingConductor()
    first_server = once(conductor, tmp_path)
    first = await first_server.execute(submission(execution_id="e-1"))
    await first_server.close()
    second_server = once(conductor, tmp_path)
    assert await second_server.execute(submission(execution_id="e-1")) == first
    assert len(conductor.executed) == 1
    await second_server.close()


async def test_another_body_under_the_same_key_is_refused(tmp_path: Path) -> None:
    gate = once(CountingConductor(), tmp_path)
    await gate.execute(submission(idempotency_key="k"))
    with pytest.raises(OpsError) as caught:
        await gate.execute(submission(idempotency_key="k", inputs={"a": 1}))
    assert caught.value.code == "idempotency_key_reused"
    await gate.close()


async def test_a_hundred_at_once_do_the_work_once(tmp_path: Path) -> None:
    conductor = CountingConductor()
    conductor.gate.clear()
    gate = once(conductor, tmp_path)
    calls = [asyncio.ensure_future(gate.execute(submission(idempotency_key="k"))) for _ in range(100)]
    while not conductor.executed:
        await asyncio.sleep(0)
    conductor.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    codes = {result.code for result in results if isinstance(result, OpsError)}
    assert len(conductor.executed) == 1
    assert codes <= {"execution_in_progress"}
    assert any(isinstance(result, PlanResponse) for result in results)
    await gate.close()


async def test_a_refused_plan_does_not_use_up_its_key(tmp_path: Path) -> None:
    conductor = CountingConductor()
    conductor.refuse = OpsError("plan_invalid", "wrong")
    gate = once(conductor, tmp_path)
    with pytest.raises(OpsError):
        await gate.execute(submission(idempotency_key="k"))
    conductor.refuse = None
    assert (await gate.execute(submission(idempotency_key="k"))).status is ExecutionStatus.COMPLETED
    await gate.close()


async def test_without_a_key_every_request_is_new(tmp_path: Path) -> None:
    conductor = CountingConductor()
    gate = once(conductor, tmp_path)
    await gate.execute(submission())
    await gate.execute(submission())
    assert len(conductor.executed) == 2
    await gate.close()


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "plan"),
        ({"plan": PLAN, "document": "steps: []"}, "plan"),
        ({"plan": []}, "plan"),
        ({"plan": PLAN, "extra": 1}, "extra"),
        ({"plan": PLAN, "execution_id": "../x"}, "execution_id"),
        ({"plan": PLAN, "execution_id": 5}, "execution_id"),
        ({"plan": PLAN, "inputs": []}, "inputs"),
        ({"plan": PLAN, "actor_id": True}, "actor_id"),
        ({"plan": PLAN, "tenant_id": {}}, "tenant_id"),
    ],
)
def test_bodies_that_do_not_follow_the_contract_are_refused_by_field(document: dict[str, Any], field: str) -> None:
    with pytest.raises(OpsError) as caught:
        read_submission(document, CallHeaders())
    assert caught.value.code == "request_invalid"
    assert field in {problem.field for problem in caught.value.problems}


def test_the_request_of_existing_clients_is_taken_as_it_is() -> None:
    body = {"execution_id": "0b0e1c1e-1111-4111-8111-111111111111", "plan": PLAN, "tenant_id": "acme", "actor_id": 7}
    taken = read_submission(body, CallHeaders(idempotency_key="k"))
    assert (taken.plan, taken.tenant_id, taken.actor_id, taken.idempotency_key) == (PLAN, "acme", 7, "k")
