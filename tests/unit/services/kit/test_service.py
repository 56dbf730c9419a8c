"""The in-process service passes the suite of every service client, and does what only it can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsconductor.engine.ports import ServiceClient
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.outcome import PlanResponse, StepRequest
from opsconductor.services.kit.limits import ServiceLimits
from tests.conformance.service_client import (
    PATIENCE_S,
    ServiceClientConformance,
    World,
    error_codes,
    request,
    statuses,
    until,
)
from tests.unit.services.kit.fakes import ScriptedTransport, ended


class TestInProcessService(ServiceClientConformance):
    @pytest.fixture
    async def client(self, world: World) -> ServiceClient:
        return world.service


@pytest.fixture
async def narrow(tmp_path: Path) -> AsyncIterator[World]:
    """A service that runs one step at a time."""
    limits = ServiceLimits(max_concurrent_steps=1, kill_grace_s=0.05)
    world = World(tmp_path, ScriptedTransport(ended()), limits)
    yield world
    world.release.set()
    await world.service.close()


async def hold_the_slot(world: World) -> asyncio.Task[PlanResponse]:
    """A request that runs until `world.release` is set."""
    world.release.clear()
    task = asyncio.ensure_future(world.service.execute_plan(request("count-reads")))
    await until(world.started.is_set)
    return task


async def test_steps_over_the_limit_wait_for_their_turn(narrow: World) -> None:
    first = await hold_the_slot(narrow)
    second = asyncio.ensure_future(narrow.service.execute_plan(request("count-reads")))
    await until(lambda: narrow.service.running_requests == 2)
    assert narrow.count == 1
    narrow.release.set()
    responses = await asyncio.wait_for(asyncio.gather(first, second), PATIENCE_S)
    assert [response.status for response in responses] == [ExecutionStatus.COMPLETED] * 2
    assert narrow.count == 2


async def test_waiting_for_a_turn_counts_against_the_deadline(narrow: World) -> None:
    first = await hold_the_slot(narrow)
    deadline = to_rfc3339(datetime.now(UTC) + timedelta(seconds=0.05))
    late = await asyncio.wait_for(narrow.service.execute_plan(request("count", deadline_at=deadline)), PATIENCE_S)
    assert statuses(late) == [StepStatus.TIMEOUT]
    assert late.step_results[0].started_at is None
    narrow.release.set()
    await first
    again = await narrow.service.execute_plan(request("count-reads"))
    assert again.status is ExecutionStatus.COMPLETED


async def test_a_step_that_waits_for_its_turn_can_be_cancelled(narrow: World) -> None:
    first = await hold_the_slot(narrow)
    asked = request("count-reads")
    second = asyncio.ensure_future(narrow.service.execute_plan(asked))
    await until(lambda: narrow.service.running_requests == 2)
    assert await narrow.service.cancel(asked.execution_id)
    assert statuses(await asyncio.wait_for(second, PATIENCE_S)) == [StepStatus.CANCELLED]
    narrow.release.set()
    await first
    assert narrow.count == 1


async def test_cancel_reaches_every_request_of_the_execution(tmp_path: Path) -> None:
    world = World(tmp_path, ScriptedTransport(ended()))
    asked = [request("wait", execution_id="e1", idempotency_key=key) for key in ("a", "b", "c")]
    running = [asyncio.ensure_future(world.service.execute_plan(one)) for one in asked]
    await until(lambda: world.service.running_requests == 3)
    assert await world.service.cancel("e1")
    responses = await asyncio.wait_for(asyncio.gather(*running), PATIENCE_S)
    assert [statuses(response) for response in responses] == [[StepStatus.CANCELLED]] * 3
    assert not await world.service.cancel("e1")
    await world.service.close()


async def test_a_caller_that_goes_away_ends_and_records_the_work(tmp_path: Path) -> None:
    world = World(tmp_path, ScriptedTransport(ended()))
    asked = request("wait", "count")
    call = asyncio.ensure_future(world.service.execute_plan(asked))
    await until(world.started.is_set)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    recorded = await world.service.execute_plan(asked)
    assert statuses(recorded) == [StepStatus.CANCELLED, StepStatus.CANCELLED]
    assert world.count == 0
    await world.service.close()


async def test_work_whose_process_died_is_unknown_and_not_run_again(tmp_path: Path) -> None:
    world = World(tmp_path, ScriptedTransport(ended()))
    world.release.clear()
    asked = request("count", "count-reads")
    call = asyncio.ensure_future(world.service.execute_plan(asked))
    await until(world.started.is_set)

    survivor = World(tmp_path, ScriptedTransport(ended()))
    response = await survivor.service.execute_plan(asked)
    assert response.status is ExecutionStatus.OUTCOME_UNKNOWN
    assert statuses(response) == [StepStatus.OUTCOME_UNKNOWN] * 2
    assert error_codes(response) == ["outcome_unknown"] * 2
    assert survivor.count == 0
    assert await survivor.service.execute_plan(asked) == response
    await survivor.service.close()
    world.release.set()
    await call
    await world.service.close()


async def test_a_recorded_answer_outlives_the_process(tmp_path: Path) -> None:
    asked = request("count")
    world = World(tmp_path, ScriptedTransport(ended()))
    first = await world.service.execute_plan(asked)
    await world.service.close()
    later = World(tmp_path, ScriptedTransport(ended()))
    assert await later.service.execute_plan(asked) == first
    assert later.count == 0
    await later.service.close()


async def test_tenants_do_not_share_keys(tmp_path: Path) -> None:
    world = World(tmp_path, ScriptedTransport(ended()))
    for tenant in ("a", "b"):
        await world.service.execute_plan(request("count", execution_id="e", idempotency_key="k", tenant_id=tenant))
    assert world.count == 2
    await world.service.close()


async def test_closing_cancels_what_runs_and_takes_nothing_new(tmp_path: Path) -> None:
    world = World(tmp_path, ScriptedTransport(ended()))
    running = asyncio.ensure_future(world.service.execute_plan(request("wait")))
    await until(world.started.is_set)
    await world.service.close()
    assert statuses(await running) == [StepStatus.CANCELLED]
    with pytest.raises(OpsError) as caught:
        await world.service.execute_plan(request("count"))
    assert caught.value.code == "service_not_ready"
    assert (await world.service.ready())["ready"] is False
    await world.service.close()


async def test_a_work_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file in the way")
    world = World(tmp_path, ScriptedTransport(ended()))
    answer = await world.service.ready()
    assert answer["ready"] is False
    assert "work" in answer["missing"][0]
    await world.service.close()


async def test_inputs_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path, ScriptedTransport(ended()))
    for value in (object(), "\ud800"):
        with pytest.raises(OpsError) as caught:
            await world.service.execute_plan(request(StepRequest(tool="say", inputs={"text": value})))
        assert caught.value.code == "request_invalid"
    await world.service.close()


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf")])
async def test_a_time_limit_that_is_none_is_refused(tmp_path: Path, timeout_s: float) -> None:
    world = World(tmp_path, ScriptedTransport(ended()))
    with pytest.raises(OpsError) as caught:
        await world.service.execute_plan(request(StepRequest(tool="count", timeout_s=timeout_s)))
    assert caught.value.code == "request_invalid"
    assert caught.value.context["field"] == "steps.0.timeout_s"
    await world.service.close()


async def test_the_steps_time_limit_is_the_least_of_all(tmp_path: Path) -> None:
    transport = ScriptedTransport(ended())
    world = World(tmp_path, transport, ServiceLimits(step_timeout_s=50.0))
    soon = to_rfc3339(datetime.now(UTC) + timedelta(seconds=20))
    await world.service.execute_plan(request("nap"))
    await world.service.execute_plan(request(StepRequest(tool="nap", timeout_s=70.0)))
    await world.service.execute_plan(request(StepRequest(tool="nap", timeout_s=5.0)))
    await world.service.execute_plan(request("nap", deadline_at=soon))
    limits = [asked.timeout_s for asked in transport.requests]
    assert limits == pytest.approx([50.0, 50.0, 5.0, 20.0], abs=1.0)
    await world.service.close()


async def test_a_defect_of_the_transport_ends_one_step(tmp_path: Path) -> None:
    world = World(tmp_path, ScriptedTransport(RuntimeError("inner text")))
    response = await world.service.execute_plan(request("nap"))
    assert error_codes(response) == ["internal_error"]
    assert "inner text" not in str(response)
    assert (await world.service.execute_plan(request("count-reads"))).status is ExecutionStatus.COMPLETED
    await world.service.close()
