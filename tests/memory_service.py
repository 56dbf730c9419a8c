"""A small service in memory: implements `engine.ports.ServiceClient` for tests of what wraps or calls a service.

Its tools: `echo` gives its inputs back, `fail` fails, `doubt` is outcome_unknown, `away` is unreachable, `chatter`
emits `lines` lines of `width` characters, `wait` runs until `release` is set (or it is cancelled), `defect` raises.
"""

from __future__ import annotations

import asyncio
from typing import Any

from opsconductor.engine.ports import EventSink
from opsconductor.model.errors import ErrorInfo, OpsError, Retry
from opsconductor.model.execution import SUCCESS, StepStatus, summarize
from opsconductor.model.outcome import Event, PlanRequest, PlanResponse, ResultCounts, StepRequest, StepResult

AT = "2026-01-02T03:04:05.000000Z"
_ENDINGS = {
    "fail": (StepStatus.FAILED, "command_failed"),
    "doubt": (StepStatus.OUTCOME_UNKNOWN, "outcome_unknown"),
    "away": (StepStatus.UNREACHABLE, "target_unreachable"),
}


class MemoryService:
    """Remembers what it was asked; repeats by idempotency key get the recorded answer, or 409 while it runs."""

    def __init__(self) -> None:
        self.requests: list[PlanRequest] = []
        self.release = asyncio.Event()
        self.waiting = asyncio.Event()
        self.is_ready = True
        self.closed = False
        self._running: dict[str, asyncio.Event] = {}
        self._recorded: dict[str, PlanResponse | None] = {}

    async def execute_plan(self, request: PlanRequest, *, on_event: EventSink | None = None) -> PlanResponse:
        """Run the steps one after the other."""
        key = request.idempotency_key or request.execution_id
        if key in self._recorded:
            recorded = self._recorded[key]
            if recorded is None:
                raise OpsError("execution_in_progress", "it still runs")
            return recorded
        self._recorded[key] = None
        self.requests.append(request)
        cancelled = self._running.setdefault(request.execution_id, asyncio.Event())
        send = on_event or _nobody
        try:
            results = [await self._step(i, step, request, cancelled, send) for i, step in enumerate(request.steps)]
        finally:
            self._running.pop(request.execution_id)
        response = response_to(request, results)
        self._recorded[key] = response
        send(Event(event="plan.finished", at=AT, execution_id=request.execution_id, response=response))
        return response

    async def cancel(self, execution_id: str) -> bool:
        """Set the execution's cancel event."""
        if execution_id in self._running:
            self._running[execution_id].set()
            return True
        return False

    async def tools(self) -> list[dict[str, Any]]:
        """One tool is enough."""
        return [{"tool": "echo", "executable": True}]

    async def ready(self) -> dict[str, Any]:
        """As the test says."""
        return {"ready": self.is_ready, "missing": [] if self.is_ready else ["a disk"]}

    async def close(self) -> None:
        """Note it."""
        self.closed = True

    async def _step(
        self, index: int, step: StepRequest, request: PlanRequest, cancelled: asyncio.Event, send: EventSink
    ) -> StepResult:
        common: dict[str, Any] = {"at": AT, "execution_id": request.execution_id, "step_index": index}
        common |= {"id": step.id, "tool": step.tool}
        send(Event(event="step.started", **common))
        status, error = StepStatus.COMPLETED, None
        match step.tool:
            case "chatter":
                text = "x" * step.inputs["width"]
                for _ in range(step.inputs["lines"]):
                    send(Event(event="step.output", stream="stdout", text=text, **common))
                    await asyncio.sleep(0)
            case "wait":
                self.waiting.set()
                if await _first_of(self.release, cancelled) is cancelled:
                    status = StepStatus.CANCELLED
            case "defect":
                raise RuntimeError("a secret detail of a defect")
            case name if name in _ENDINGS:
                status, code = _ENDINGS[name]
                error = ErrorInfo(code=code, message=f"{name} it was told", retry=Retry.NO)
        result = StepResult(
            step_index=index, id=step.id, tool=step.tool, status=status, error=error, output={"data": step.inputs}
        )
        send(Event(event="step.finished", result=result, **common))
        return result


def response_to(request: PlanRequest, results: list[StepResult]) -> PlanResponse:
    """The answer these results make."""
    good = sum(result.status in SUCCESS for result in results)
    bad = next((result.error for result in results if result.error), None)
    return PlanResponse(
        execution_id=request.execution_id,
        status=summarize([result.status for result in results]),
        result=ResultCounts(total_steps=len(results), successful_steps=good, failed_steps=len(results) - good),
        step_results=tuple(results),
        completed_at=AT,
        error_message=bad.message if bad else None,
        error_details={"code": bad.code} if bad else None,
    )


async def _first_of(*events: asyncio.Event) -> asyncio.Event:
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return next(event for event in reversed(events) if event.is_set())


def _nobody(_event: Event) -> None:
    pass
