"""For any plan and any way in which its steps end: order is kept, and every step gets exactly one terminal result."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from opsconductor.engine.plan_reader import read_plan
from opsconductor.engine.records import StepFinished
from opsconductor.engine.replay import replay
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus, is_terminal
from tests.unit.engine.fakes import Bench, FakeService, Work, read_as

ENDS = ("completed", "failed", "timeout", "lost", "unreachable")


@st.composite
def plans(draw: st.DrawFn) -> dict[str, object]:
    steps = []
    for number in range(draw(st.integers(1, 7))):
        step: dict[str, object] = {"id": f"s{number}", "tool": draw(st.sampled_from(("look", "change")))}
        step["inputs"] = {"value": draw(st.sampled_from(ENDS)), "pause": draw(st.integers(0, 3))}
        if draw(st.booleans()):
            earlier = [f"s{other}" for other in range(number)]
            step["depends_on"] = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        if draw(st.booleans()):
            step["on_failure"] = "continue"
        if draw(st.integers(0, 4)) == 0:
            step["when"] = "{{ false }}"
        if draw(st.integers(0, 5)) == 0:
            step["for_each"] = list(range(draw(st.integers(0, 3))))
        steps.append(step)
    return {"steps": steps}


async def behave(work: Work) -> dict[str, object] | StepStatus:
    for _ in range(work.inputs["pause"]):
        await asyncio.sleep(0)
    match work.inputs["value"]:
        case "lost":
            raise OpsError("service_connection_lost", "gone")
        case "unreachable":
            raise OpsError("service_unreachable", "refused")
        case "completed":
            return {}
        case other:
            return StepStatus(other)


@settings(max_examples=150, deadline=None)
@given(plans(), st.integers(1, 4), st.integers(-1, 25))
def test_order_is_kept_and_every_step_ends_once(raw: dict[str, object], max_parallel: int, cancel_after: int) -> None:
    asyncio.run(_check(raw, max_parallel, cancel_after))


async def _check(raw: dict[str, object], max_parallel: int, cancel_after: int) -> None:
    bench = Bench(FakeService(look=behave, change=behave), max_parallel_steps=max_parallel)
    plan = read_plan(raw)
    execution_id = await bench.engine.accept(plan)
    run = asyncio.ensure_future(bench.engine.run(execution_id, bench.events.append))
    for _ in range(cancel_after):
        await asyncio.sleep(0)
    if cancel_after >= 0:
        await bench.engine.cancel(execution_id)
    response = await run

    assert [result.id for result in response.step_results] == [step.id for step in plan.steps]
    assert all(is_terminal(result.status) for result in response.step_results)
    assert is_terminal(response.status)
    assert bench.service.most_at_once <= max_parallel
    ended = list[str]()
    for event in bench.events:
        if event.event == "step.started":
            step = next(step for step in plan.steps if step.id == event.id)
            assert set(step.depends_on) <= set(ended)
        elif event.event == "step.finished":
            assert event.id not in ended
            ended.append(str(event.id))
    assert sorted(ended) == sorted(step.id for step in plan.steps)
    records = await bench.journal.read(execution_id)
    finished = [read_as(record, StepFinished).result for record in records if record.kind == "step_finished"]
    assert sorted(result.id for result in finished) == sorted(ended)
    state = replay(records)
    assert state.status is response.status
    assert tuple(step.result for step in state.steps) == response.step_results
    # A success is never claimed for a plan in which something did not succeed.
    bad = [r for r in response.step_results if r.status not in (StepStatus.COMPLETED, StepStatus.SKIPPED)]
    assert (response.status == "completed") == (not bad) or response.status == "cancelled"
