"""What becomes of a plan: order, failures, conditions, cancels, limits and the journal."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

import msgspec
import pytest

from opsconductor.engine.plan_reader import read_plan
from opsconductor.engine.records import Accepted, Dispatched, StepFinished
from opsconductor.engine.replay import replay
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.outcome import PlanResponse, StepResult
from tests.unit.engine.fakes import (
    CHANGE,
    READ,
    Bench,
    FakeCatalog,
    FakeReceivers,
    FakeRouter,
    FakeService,
    Work,
    read_as,
    statuses,
    steps,
)


async def fail(_work: Work) -> StepStatus:
    return StepStatus.FAILED


def raising(code: str, message: str = "no") -> Any:
    async def behave(_work: Work) -> dict[str, Any]:
        raise OpsError(code, message)

    return behave


async def until_cancelled(work: Work) -> StepStatus:
    await work.cancelled.wait()
    return StepStatus.CANCELLED


async def hang(_work: Work) -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def test_steps_run_one_after_the_other_in_the_order_of_the_plan() -> None:
    bench = Bench()
    response = await bench.run(steps({"id": "a"}, {"id": "b"}, {"id": "c"}))
    assert bench.service.log == [(what, name) for name in "abc" for what in ("start", "end")]
    assert response.status is ExecutionStatus.COMPLETED
    assert response.result == msgspec.convert(
        {"total_steps": 3, "successful_steps": 3, "failed_steps": 0}, type(response.result)
    )
    assert response.error_message is None
    assert [result.step_index for result in response.step_results] == [0, 1, 2]


async def test_steps_that_wait_for_nothing_run_at_the_same_time_up_to_the_limit() -> None:
    bench = Bench(max_parallel_steps=3)
    plan = steps(*({"id": f"s{n}", "depends_on": []} for n in range(10)))
    response = await bench.run(plan)
    assert bench.service.most_at_once == 3
    assert response.result.successful_steps == 10


async def test_a_step_starts_only_when_all_it_waits_for_has_ended() -> None:
    bench = Bench()
    await bench.run(steps({"id": "a"}, {"id": "b", "depends_on": []}, {"id": "c", "depends_on": ["a", "b"]}))
    log = bench.service.log
    assert log.index(("start", "c")) > max(log.index(("end", "a")), log.index(("end", "b")))
    assert log.index(("start", "b")) < log.index(("end", "a"))


async def test_each_step_is_routed_on_its_own_and_the_result_says_how() -> None:
    other = FakeService()
    bench = Bench(
        router=FakeRouter(look="automation-service", asset_query="asset-service"), services={"asset-service": other}
    )
    response = await bench.run(
        steps({"id": "a"}, {"id": "b", "tool": "asset-query"}, {"id": "c", "tool": "nobody-knows"})
    )
    assert bench.service.started == ["a", "c"]
    assert other.started == ["b"]
    routes = [(result.service, result.route_reason) for result in response.step_results]
    assert routes == [
        ("automation-service", "metadata"),
        ("asset-service", "metadata"),
        ("automation-service", "fallback:unknown_tool"),
    ]
    assert [reason for _, _, reason in bench.telemetry.routes] == ["metadata", "metadata", "fallback:unknown_tool"]


async def test_a_fallback_that_is_denied_fails_the_step_and_calls_nobody() -> None:
    bench = Bench(deny_fallback=True)
    response = await bench.run(steps({"id": "a", "tool": "nobody-knows"}))
    assert bench.service.requests == []
    assert response.error_details is not None
    assert response.error_details["code"] == "routing_denied"


async def test_after_a_failure_nothing_new_starts_and_what_runs_may_finish() -> None:
    released = asyncio.Event()

    async def slow(_work: Work) -> dict[str, Any]:
        await released.wait()
        return {"exit_code": 0}

    async def fail_then_release(_work: Work) -> StepStatus:
        asyncio.get_running_loop().call_later(0.05, released.set)
        return StepStatus.FAILED

    bench = Bench(FakeService(bad=fail_then_release, slow=slow))
    response = await bench.run(
        steps(
            {"id": "bad", "tool": "bad", "depends_on": []},
            {"id": "slow", "tool": "slow", "depends_on": []},
            {"id": "next", "depends_on": ["bad"]},
            {"id": "after", "depends_on": ["slow"]},
        )
    )
    assert statuses(response) == {"bad": "failed", "slow": "completed", "next": "skipped", "after": "skipped"}
    assert response.status is ExecutionStatus.FAILED
    assert response.error_message is not None
    assert "step bad (bad)" in response.error_message
    skipped = response.step_results[2].error
    assert skipped is not None
    assert (skipped.code, "bad" in skipped.message) == ("step_skipped", True)
    assert response.result.failed_steps == 1


async def test_with_continue_the_plan_goes_on_and_ends_partial() -> None:
    bench = Bench(FakeService(bad=fail))
    response = await bench.run(
        steps(
            {"id": "bad", "tool": "bad", "on_failure": "continue"},
            {"id": "next", "inputs": {"value": "{{ steps.bad.status }}: {{ steps.bad.error.code }}"}},
        )
    )
    assert statuses(response) == {"bad": "failed", "next": "completed"}
    assert response.status is ExecutionStatus.PARTIAL
    assert response.step_results[1].output["data"] == {"value": "failed: command_failed"}


async def test_a_false_condition_skips_the_step_and_dependents_still_run() -> None:
    bench = Bench()
    response = await bench.run(
        steps(
            {"id": "a", "inputs": {"value": "1"}},
            {"id": "b", "when": "{{ steps.a.output.value == '2' }}"},
            {"id": "c", "when": "{{ steps.b.status == 'skipped' }}"},
            {"id": "d", "when": False},
        )
    )
    assert statuses(response) == {"a": "completed", "b": "skipped", "c": "completed", "d": "skipped"}
    assert response.status is ExecutionStatus.COMPLETED
    assert response.step_results[1].error is None
    assert "is false" in response.step_results[1].output["reason"]


@pytest.mark.parametrize("when", ["{{ 'yes' }}", "{{ steps.a.output.nothing }}", "{{ 1 }}"])
async def test_a_condition_that_is_not_true_or_false_fails_the_step(when: str) -> None:
    bench = Bench()
    response = await bench.run(steps({"id": "a"}, {"id": "b", "when": when}))
    assert response.status is ExecutionStatus.FAILED
    error = response.step_results[1].error
    assert error is not None
    assert error.code == "expression_invalid"
    assert bench.service.started == ["a"]


async def test_values_keep_their_types_and_are_never_read_as_templates_again() -> None:
    bench = Bench()
    response = await bench.run(
        steps(
            {"id": "a", "inputs": {"value": "{{ inputs.text }}"}},
            {
                "id": "b",
                "inputs": {"value": "{{ steps.a.output.value }}", "list": "{{ inputs.list }}", "n": "{{ 1 + 1 }}"},
            },
            inputs={"text": {}, "list": {"type": "array"}},
        ),
        {"text": "{{ inputs.list }}", "list": ["x", "{{ 1 }}"]},
    )
    assert bench.service.requests[1].steps[0].inputs == {
        "value": "{{ inputs.list }}",
        "list": ["x", "{{ 1 }}"],
        "n": 2,
    }
    assert response.status is ExecutionStatus.COMPLETED


async def test_variables_of_older_plans_are_there_after_an_asset_query() -> None:
    async def query(_work: Work) -> dict[str, Any]:
        return {
            "data": {"assets": [{"hostname": "web-1", "ip_address": "10.0.0.1"}, {"hostname": "web-2"}], "count": 2}
        }

    bench = Bench(FakeService(asset_query=query))
    text = "{{ asset_count }} {{ hostnames|join(',') }} {{ ip_addresses[0] }} "
    text += "{{ step_1_result.count }} {{ assets[1].hostname }}"
    await bench.run({"steps": [{"tool": "asset-query"}, {"tool": "look", "parameters": {"value": text}}]})
    assert bench.service.requests[1].steps[0].inputs == {"value": "2 web-1,web-2 10.0.0.1 2 web-2"}


async def test_the_dispatch_is_on_record_before_the_service_is_called() -> None:
    seen: list[list[str]] = []

    async def look(work: Work) -> dict[str, Any]:
        seen.append([record.kind for record in await bench.journal.read(work.request.execution_id)])
        return {}

    bench = Bench(FakeService(look=look))
    response = await bench.run(steps({"id": "a"}))
    assert seen == [["accepted", "started", "dispatched"]]
    assert await bench.kinds(response) == ["accepted", "started", "dispatched", "step_finished", "finished"]
    records = await bench.journal.read(response.execution_id)
    dispatched = read_as(records[2], Dispatched)
    request = bench.service.requests[0]
    assert dispatched.dispatch_id == request.idempotency_key
    assert dispatched.url == "http://automation-service:3003"
    assert (dispatched.effect, dispatched.idempotent, dispatched.operation) == ("read", True, "look")
    assert request.deadline_at == dispatched.deadline_at


async def test_the_journal_tells_the_same_as_the_response() -> None:
    bench = Bench(FakeService(bad=fail))
    response = await bench.run(steps({"id": "a"}, {"id": "b", "tool": "bad"}, {"id": "c"}))
    state = replay(await bench.journal.read(response.execution_id))
    assert state.status is response.status
    assert tuple(step.result for step in state.steps) == response.step_results


async def test_secret_inputs_are_not_journaled() -> None:
    bench = Bench()
    plan = steps(
        {"id": "a", "tool": "change", "inputs": {"password": "hunter2"}},
        {"id": "b", "tool": "change", "inputs": {"password": "{{ inputs.key }}"}},
        inputs={"key": {"secret": True, "default": "hunter3"}},
    )
    response = await bench.run(plan, {"key": "hunter4"})
    records = list(await bench.journal.read(response.execution_id))
    kept = [record for record in records if record.kind in ("accepted", "dispatched")]
    assert b"hunter" not in msgspec.json.encode(kept)
    assert [request.steps[0].inputs["password"] for request in bench.service.requests] == ["hunter2", "hunter4"]


async def test_a_secret_that_is_put_where_none_is_declared_is_not_recorded_and_still_reaches_later_steps() -> None:
    bench = Bench()
    plan = steps(
        {"id": "a", "tool": "look", "inputs": {"value": "key={{ inputs.key }}"}},
        {"id": "b", "tool": "look", "inputs": {"value": "{{ steps.a.output.data.value }}"}},
        {"id": "c", "tool": "change", "inputs": {"PassWord": "hunter5", "value": "not hunter5"}},
        inputs={"key": {"secret": True}},
    )
    response = await bench.run(plan, {"key": "hunter4"})
    recorded = msgspec.json.encode(list(await bench.journal.read(response.execution_id)))
    assert b"hunter" not in recorded and b"hunter" not in msgspec.json.encode(response)
    given = [request.steps[0].inputs["value"] for request in bench.service.requests]
    assert given == ["key=hunter4", "key=hunter4", "not hunter5"]


@pytest.mark.parametrize(
    ("code", "tool", "expected"),
    [
        ("service_unreachable", "change", "unreachable"),
        ("service_not_ready", "change", "unreachable"),
        ("service_connection_lost", "change", "outcome_unknown"),
        ("service_connection_lost", "unknown-tool", "outcome_unknown"),
        ("service_connection_lost", "look", "failed"),
        ("service_answer_invalid", "change", "outcome_unknown"),
        ("service_answer_invalid", "look", "failed"),
        ("internal_error", "change", "outcome_unknown"),
        ("execution_in_progress", "change", "outcome_unknown"),
        ("credential_invalid", "change", "failed"),
        ("tool_not_executable", "look", "failed"),
    ],
)
async def test_an_error_instead_of_an_answer_is_told_for_what_it_is(code: str, tool: str, expected: str) -> None:
    behaviours = dict.fromkeys(("change", "look", "unknown_tool"), raising(code, "the words"))
    response = await Bench(FakeService(**behaviours)).run(steps({"id": "a", "tool": tool}))
    assert statuses(response) == {"a": expected}
    error = response.step_results[0].error
    assert error is not None
    assert error.code == ("outcome_unknown" if expected == "outcome_unknown" else code)
    assert "the words" in error.message
    if expected == "outcome_unknown":
        assert response.status is ExecutionStatus.OUTCOME_UNKNOWN
        assert error.context["cause"] == code


async def test_a_client_that_raises_something_else_leaves_the_outcome_unknown() -> None:
    async def broken(_work: Work) -> dict[str, Any]:
        raise RuntimeError("surprise")

    response = await Bench(FakeService(change=broken)).run(steps({"id": "a", "tool": "change"}))
    assert response.status is ExecutionStatus.OUTCOME_UNKNOWN
    assert "surprise" in (response.error_message or "")


async def test_a_doubt_stops_the_plan_even_with_continue() -> None:
    bench = Bench(FakeService(change=raising("service_connection_lost")))
    response = await bench.run(steps({"id": "a", "tool": "change", "on_failure": "continue"}, {"id": "b"}))
    assert statuses(response) == {"a": "outcome_unknown", "b": "skipped"}


@pytest.mark.parametrize("count", [0, 2])
async def test_an_answer_with_another_number_of_steps_is_not_believed(count: int) -> None:
    class Odd(FakeService):
        async def execute_plan(self, request: Any, *, on_event: Any = None) -> PlanResponse:
            response = await super().execute_plan(request, on_event=on_event)
            return msgspec.structs.replace(response, step_results=response.step_results * count)

    response = await Bench(Odd()).run(steps({"id": "a", "tool": "change"}))
    assert response.status is ExecutionStatus.OUTCOME_UNKNOWN


async def test_a_step_that_is_still_running_in_the_answer_is_not_believed() -> None:
    async def running(_work: Work) -> StepResult:
        return StepResult(step_index=0, id="a", tool="change", status=StepStatus.RUNNING)

    response = await Bench(FakeService(change=running)).run(steps({"id": "a", "tool": "change"}))
    assert statuses(response) == {"a": "outcome_unknown"}


async def test_events_carry_the_places_of_the_plan() -> None:
    async def talk(work: Work) -> dict[str, Any]:
        work.emit(f"hello {work.inputs['value']}")
        return {}

    bench = Bench(FakeService(look=talk))
    response = await bench.run(steps({"id": "a", "inputs": {"value": "1"}}, {"id": "b", "inputs": {"value": "2"}}))
    told = [(event.event, event.step_index, event.id, event.text) for event in bench.events]
    assert told == [
        ("step.started", 0, "a", None),
        ("step.output", 0, "a", "hello 1"),
        ("step.finished", 0, "a", None),
        ("step.started", 1, "b", None),
        ("step.output", 1, "b", "hello 2"),
        ("step.finished", 1, "b", None),
        ("plan.finished", None, None, None),
    ]
    assert {event.execution_id for event in bench.events} == {response.execution_id}
    assert bench.events[-1].response == response
    assert bench.events[2].result == response.step_results[0]


async def test_cancel_ends_what_runs_and_starts_nothing_more() -> None:
    bench = Bench(FakeService(wait=until_cancelled))
    plan = read_plan(steps({"id": "a"}, {"id": "b", "tool": "wait"}, {"id": "c"}))
    execution_id = await bench.engine.accept(plan)
    run = asyncio.ensure_future(bench.engine.run(execution_id, bench.events.append))
    while "b" not in bench.service.started:
        await asyncio.sleep(0)
    assert await bench.engine.cancel(execution_id, actor_id=7, reason="enough")
    response = await run
    assert statuses(response) == {"a": "completed", "b": "cancelled", "c": "cancelled"}
    assert response.status is ExecutionStatus.CANCELLED
    assert bench.service.cancels == [execution_id]
    assert "cancel_requested" in await bench.kinds(response)
    assert not await bench.engine.cancel(execution_id)


async def test_cancel_before_the_run_sends_nothing() -> None:
    bench = Bench()
    execution_id = await bench.engine.accept(read_plan(steps({"id": "a"})))
    assert await bench.engine.cancel(execution_id)
    response = await bench.engine.run(execution_id)
    assert response.status is ExecutionStatus.CANCELLED
    assert bench.service.requests == []


async def test_a_cancel_while_the_dispatch_is_being_recorded_keeps_the_step_from_starting() -> None:
    bench = Bench()
    append_all, recorded = bench.journal.append_all, asyncio.Event()

    async def slow(execution_id: str, entries: Any, **more: Any) -> Any:
        done = await append_all(execution_id, entries, **more)
        if any(kind == "dispatched" for kind, _ in entries):
            recorded.set()
            await asyncio.sleep(0.02)
        return done

    bench.journal.append_all = slow  # type: ignore[method-assign]
    execution_id = await bench.engine.accept(read_plan(steps({"id": "a", "tool": "change"})))
    run = asyncio.ensure_future(bench.engine.run(execution_id))
    await recorded.wait()
    await bench.engine.cancel(execution_id)
    response = await run
    assert bench.service.requests == []
    assert statuses(response) == {"a": "cancelled"}
    assert response.step_results[0].started_at is None


@pytest.mark.parametrize(("tool", "expected"), [("change", "outcome_unknown"), ("look", "failed")])
async def test_a_service_that_does_not_answer_a_cancel_is_given_up(tool: str, expected: str) -> None:
    bench = Bench(FakeService(look=hang, change=hang), cancel_grace_s=0.05)
    execution_id = await bench.engine.accept(read_plan(steps({"id": "a", "tool": tool})))
    run = asyncio.ensure_future(bench.engine.run(execution_id))
    while not bench.service.started:
        await asyncio.sleep(0)
    await bench.engine.cancel(execution_id)
    assert statuses(await run) == {"a": expected}


async def test_a_cancel_that_overtakes_its_request_is_repeated() -> None:
    class Slow(FakeService):
        async def cancel(self, execution_id: str) -> bool:
            known = await super().cancel(execution_id)
            return known and len(self.cancels) > 1

    bench = Bench(Slow(wait=until_cancelled))
    execution_id = await bench.engine.accept(read_plan(steps({"id": "a", "tool": "wait"})))
    run = asyncio.ensure_future(bench.engine.run(execution_id))
    while not bench.service.started:
        await asyncio.sleep(0)
    await bench.engine.cancel(execution_id)
    assert (await run).status is ExecutionStatus.CANCELLED


async def test_an_interrupted_run_cancels_records_and_then_ends() -> None:
    bench = Bench(FakeService(wait=until_cancelled))
    execution_id = await bench.engine.accept(read_plan(steps({"id": "a", "tool": "wait"}, {"id": "b"})))
    run = asyncio.ensure_future(bench.engine.run(execution_id))
    while not bench.service.started:
        await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    state = replay(await bench.journal.read(execution_id))
    assert state.status is ExecutionStatus.CANCELLED
    assert bench.engine.active == ()


async def test_the_plans_time_limit_ends_it_as_timeout() -> None:
    async def until_deadline(work: Work) -> StepStatus:
        assert work.request.deadline_at is not None
        left_s = (datetime.fromisoformat(work.request.deadline_at) - datetime.now().astimezone()).total_seconds()
        await asyncio.sleep(max(left_s, 0))
        return StepStatus.TIMEOUT

    bench = Bench(FakeService(slow=until_deadline))
    response = await bench.run({**steps({"id": "a"}, {"id": "b", "tool": "slow"}, {"id": "c"}), "timeout_s": 0.1})
    assert statuses(response) == {"a": "completed", "b": "timeout", "c": "skipped"}
    assert response.status is ExecutionStatus.TIMEOUT


async def test_a_service_that_outlasts_every_limit_is_given_up_truthfully() -> None:
    bench = Bench(FakeService(change=hang), answer_grace_s=0.05)
    began = time.monotonic()
    response = await bench.run(steps({"id": "a", "tool": "change", "timeout_s": 0.05}, {"id": "b"}))
    assert time.monotonic() - began < 3
    assert statuses(response) == {"a": "outcome_unknown", "b": "skipped"}
    assert "did not answer" in (response.error_message or "")


async def test_limits_of_steps_travel_to_the_service() -> None:
    bench = Bench()
    await bench.run({**steps({"id": "a", "timeout_s": 5, "env": {"TZ": "UTC"}}), "timeout_s": 60})
    (request,) = bench.service.requests
    assert request.steps[0].timeout_s == 5
    assert request.steps[0].env == {"TZ": "UTC"}


async def test_the_target_is_rendered_and_sent() -> None:
    bench = Bench()
    plan = steps({"id": "a"}, {"id": "b", "target": "web-{{ item }}", "for_each": [1, 2], "max_parallel": 1})
    response = await bench.run(plan)
    assert [request.steps[0].target for request in bench.service.requests] == [None, "web-1", "web-2"]
    assert response.status is ExecutionStatus.COMPLETED


async def test_nothing_starts_when_the_journal_cannot_be_written() -> None:
    bench = Bench()
    execution_id = await bench.engine.accept(read_plan(steps({"id": "a", "tool": "change"}, {"id": "b"})))
    bench.journal.failure = OpsError("journal_unavailable", "disk full")
    response = await bench.engine.run(execution_id)
    assert bench.service.requests == []
    assert response.status is ExecutionStatus.FAILED
    assert response.error_details == {"code": "journal_unavailable"}


async def test_a_plan_is_not_accepted_when_the_journal_cannot_be_written() -> None:
    bench = Bench()
    bench.journal.failure = OpsError("journal_unavailable", "disk full")
    with pytest.raises(OpsError, match="disk full"):
        await bench.engine.accept(read_plan(steps({"id": "a"})))
    assert bench.engine.active == ()


async def test_a_journal_that_fails_before_a_later_dispatch_stops_the_plan() -> None:
    async def break_journal(_work: Work) -> dict[str, Any]:
        asyncio.get_running_loop().call_soon(lambda: None)
        return {}

    class BreaksAfterFirstStep(Bench):
        async def arm(self) -> None:
            append_all = self.journal.append_all

            async def failing(execution_id: str, entries: Any, **more: Any) -> Any:
                if any(kind == "dispatched" and body["id"] == "b" for kind, body in entries):
                    raise OpsError("journal_unavailable", "disk full")
                return await append_all(execution_id, entries, **more)

            self.journal.append_all = failing  # type: ignore[method-assign]

    bench = BreaksAfterFirstStep(FakeService(look=break_journal))
    await bench.arm()
    response = await bench.run(steps({"id": "a"}, {"id": "b"}, {"id": "c"}))
    assert bench.service.started == ["a"]
    assert statuses(response) == {"a": "completed", "b": "failed", "c": "skipped"}
    assert response.status is ExecutionStatus.FAILED
    assert response.error_details == {"code": "journal_unavailable"}


async def test_a_result_and_the_dispatch_that_follows_share_a_commit() -> None:
    bench, commits = Bench(), list[list[str]]()
    append_all = bench.journal.append_all

    async def counting(execution_id: str, entries: Any, **more: Any) -> Any:
        commits.append([str(kind) for kind, _ in entries])
        return await append_all(execution_id, entries, **more)

    bench.journal.append_all = counting  # type: ignore[method-assign]
    await bench.run(steps({"id": "a"}, {"id": "b"}, {"id": "c", "when": False}))
    assert commits == [
        ["accepted"],
        ["started", "dispatched"],
        ["step_finished", "dispatched"],
        ["step_finished", "step_finished", "finished"],
    ]


async def test_no_result_is_shown_before_it_is_on_record() -> None:
    bench = Bench()
    execution_id = await bench.engine.accept(read_plan(steps({"id": "a"}, {"id": "b"})))
    recorded: list[int] = []

    def look(event: Any) -> None:
        if event.event == "step.finished":
            kinds = [row.kind for row in bench.journal.store[execution_id]]
            recorded.append(kinds.count("step_finished"))

    await bench.engine.run(execution_id, look)
    assert recorded == [1, 2]


async def test_a_result_that_cannot_be_recorded_is_never_a_silent_success() -> None:
    async def break_journal(_work: Work) -> dict[str, Any]:
        bench.journal.failure = OpsError("journal_unavailable", "disk full")
        return {}

    bench = Bench(FakeService(look=break_journal))
    response = await bench.run(steps({"id": "a"}, {"id": "b"}))
    assert bench.service.started == ["a"]
    assert response.status is ExecutionStatus.OUTCOME_UNKNOWN
    assert response.error_details == {"code": "journal_unavailable"}
    bench.journal.failure = None
    assert await bench.kinds(response) == ["accepted", "started", "dispatched"]


async def test_accept_records_who_and_what() -> None:
    bench = Bench()
    plan = read_plan(steps({"id": "a"}, name="check", inputs={"n": {"type": "integer", "default": 3}}))
    execution_id = await bench.engine.accept(plan, {"n": "5"}, tenant_id="acme", actor_id=7)
    accepted = read_as((await bench.journal.read(execution_id))[0], Accepted)
    assert (accepted.tenant_id, accepted.actor_id, accepted.plan_name) == ("acme", 7, "check")
    assert accepted.inputs == {"n": 5}
    assert [(step.id, step.tool) for step in accepted.steps] == [("a", "look")]
    assert list(bench.engine.active) == [execution_id]
    await bench.engine.run(execution_id)
    assert not bench.engine.active
    request = bench.service.requests[0]
    assert (request.tenant_id, request.actor_id, request.plan_name) == ("acme", 7, "check")


async def test_running_what_was_not_accepted_is_refused() -> None:
    with pytest.raises(OpsError) as caught:
        await Bench().engine.run("nope")
    assert caught.value.code == "not_found"


async def test_outputs_of_the_plan_are_typed_and_those_without_value_say_why() -> None:
    response = await Bench().run(
        {
            **steps({"id": "a", "inputs": {"value": "x"}}),
            "outputs": {"all": "{{ steps.a.output.data }}", "none": "{{ steps.a.output.gone }}"},
        }
    )
    assert response.outputs == {"all": {"value": "x"}, "none": None}
    assert isinstance(response.output_errors, dict)
    assert set(response.output_errors) == {"none"}


async def test_receivers_live_as_long_as_the_plan() -> None:
    host = FakeReceivers()
    bench = Bench(receivers=host)
    plan = steps({"id": "a", "inputs": {"value": "{{ receivers.hook.url }}"}}, receivers={"hook": {"kind": "webhook"}})
    response = await bench.run(plan)
    assert bench.service.requests[0].steps[0].inputs == {"value": "http://127.0.0.1:9/hook"}
    assert host.stopped
    assert response.received == {"hook": {"count": 1}}


async def test_receivers_that_do_not_start_fail_the_plan_before_any_step() -> None:
    host = FakeReceivers(OpsError("peer_unreachable", "port taken"))
    bench = Bench(receivers=host)
    response = await bench.run(steps({"id": "a"}, receivers={"hook": {"kind": "webhook"}}))
    assert bench.service.requests == []
    assert host.stopped
    assert response.status is ExecutionStatus.FAILED
    assert response.error_message == "port taken"


async def test_a_server_refuses_receivers() -> None:
    with pytest.raises(OpsError) as caught:
        await Bench().run(steps({"id": "a"}, receivers={"hook": {"kind": "webhook"}}))
    assert caught.value.code == "plan_feature_unsupported"


async def test_a_loop_runs_once_for_each_item_and_counts() -> None:
    async def odd_fails(work: Work) -> dict[str, Any] | StepStatus:
        return StepStatus.FAILED if work.inputs["value"] == "h1" else {"data": {"used": 5}}

    bench = Bench(FakeService(look=odd_fails))
    response = await bench.run(
        steps(
            {"id": "hosts", "tool": "echo", "inputs": {"names": ["h0", "h1", "h2"]}},
            {
                "id": "each",
                "for_each": "{{ steps.hosts.output.names }}",
                "inputs": {"value": "{{ item }}", "n": "{{ index }}"},
                "on_failure": "continue",
            },
            {
                "id": "tell",
                "tool": "echo",
                "inputs": {
                    "text": "{{ steps.each.failed }} of {{ steps.each.total }}, {{ steps.each.completed }} well",
                    "first": "{{ steps.each.items[0].output.data.used }}",
                },
            },
        )
    )
    each = response.step_results[1]
    assert each.status is StepStatus.FAILED
    assert (each.output["total"], each.output["failed"], each.output["completed"]) == (3, 1, 2)
    assert [entry["status"] for entry in each.output["items"]] == ["completed", "failed", "completed"]
    assert bench.service.requests[-1].steps[0].inputs == {"text": "1 of 3, 2 well", "first": 5}
    assert [request.steps[0].inputs.get("n") for request in bench.service.requests[1:4]] == [0, 1, 2]
    assert len({request.idempotency_key for request in bench.service.requests}) == 5
    assert response.status is ExecutionStatus.PARTIAL


async def test_a_loop_keeps_to_its_parallel_limit_and_stops_at_a_failure() -> None:
    bench = Bench()
    await bench.run(steps({"id": "each", "for_each": list(range(20)), "max_parallel": 4}))
    assert bench.service.most_at_once == 4
    bench = Bench(FakeService(look=fail))
    response = await bench.run(steps({"id": "each", "for_each": [1, 2, 3], "max_parallel": 1}))
    assert bench.service.started == ["each[0]"]
    assert [entry["status"] for entry in response.step_results[0].output["items"]] == ["failed", "skipped", "skipped"]


async def test_a_loop_over_nothing_is_completed_and_over_no_list_fails() -> None:
    bench = Bench()
    response = await bench.run(steps({"id": "a", "for_each": []}, {"id": "b", "for_each": "{{ 5 }}"}))
    assert statuses(response) == {"a": "completed", "b": "failed"}
    assert bench.service.requests == []
    error = response.step_results[1].error
    assert error is not None
    assert "expected a list" in error.message


async def test_a_loop_that_is_cut_short_by_another_step_is_no_success() -> None:
    async def first_waits(work: Work) -> dict[str, Any]:
        while ("end", "bad") not in bench.service.log:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        return {}

    bench = Bench(FakeService(look=first_waits, bad=fail))
    response = await bench.run(
        steps(
            {"id": "each", "for_each": [1, 2], "max_parallel": 1, "depends_on": []},
            {"id": "bad", "tool": "bad", "depends_on": []},
        )
    )
    assert statuses(response) == {"each": "failed", "bad": "failed"}
    assert response.step_results[0].output["completed"] == 1


async def test_ten_thousand_steps_take_little_time_each() -> None:
    bench = Bench()
    plan = read_plan(steps(*({"id": f"s{n}", "depends_on": []} for n in range(2000))))
    began = time.perf_counter()
    response = await bench.run(plan)
    assert response.result.successful_steps == 2000
    assert (time.perf_counter() - began) / 2000 < 0.01


async def test_every_step_has_exactly_one_result_record() -> None:
    bench = Bench(FakeService(bad=fail), catalog=FakeCatalog(READ, CHANGE))
    response = await bench.run(steps({"id": "a"}, {"id": "b", "tool": "bad"}, {"id": "c"}, {"id": "d", "when": False}))
    records = await bench.journal.read(response.execution_id)
    finished = [read_as(record, StepFinished).result.id for record in records if record.kind == "step_finished"]
    assert sorted(finished) == ["a", "b", "c", "d"]
