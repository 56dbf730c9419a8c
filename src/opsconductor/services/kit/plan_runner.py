"""The steps of one request in their order: fail fast, keep every result, keep to the deadline, stop when cancelled.

Called by `Service`, which gives it the request and takes the response; the slots bound what runs at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from opsconductor.model.errors import ErrorInfo, OpsError
from opsconductor.model.execution import SUCCESS, StepStatus, summarize
from opsconductor.model.outcome import PlanRequest, PlanResponse, ResultCounts, StepResult
from opsconductor.services.kit.selection import Catalog
from opsconductor.services.kit.step_events import ExecutionEvents
from opsconductor.services.kit.step_runner import StepRun, StepRunner
from opsconductor.services.kit.waiting import Woken, wait_for_task


class ActiveRun:
    """One request while it runs. `cancel` stops the step at work and all that come after it."""

    def __init__(self) -> None:
        self.cancelled = False
        self._step_cancel = asyncio.Event()

    def cancel(self) -> None:
        """Ask it to stop; may be called more than once."""
        self.cancelled = True
        self._step_cancel.set()

    def next_step(self) -> asyncio.Event:
        """The cancel event of the step that begins now."""
        self._step_cancel = asyncio.Event()
        if self.cancelled:
            self._step_cancel.set()
        return self._step_cancel


class PlanRun(msgspec.Struct, frozen=True, kw_only=True):
    """One admitted request: `deadline` is on the clock of `time.monotonic`."""

    request: PlanRequest
    key: str
    catalog: Catalog
    active: ActiveRun
    events: ExecutionEvents
    deadline: float


def succeeded(result: StepResult) -> bool:
    """Whether the steps after this one may run: it completed, or was only asked what it would do."""
    return result.status in SUCCESS or (result.status is StepStatus.SKIPPED and result.error is None)


def counts(results: list[StepResult]) -> ResultCounts:
    """How the steps ended; skipped ones count in the total only."""
    good = sum(result.status in SUCCESS for result in results)
    skipped = sum(result.status is StepStatus.SKIPPED for result in results)
    return ResultCounts(total_steps=len(results), successful_steps=good, failed_steps=len(results) - good - skipped)


def response_of(
    execution_id: str, results: list[StepResult], *, started_at: str | None, completed_at: str, plan_name: str = ""
) -> PlanResponse:
    """The answer that these results make."""
    bad = next((result for result in results if not succeeded(result)), None)
    message, details = None, None
    if bad is not None and bad.error is not None:
        message = f"step {bad.id} ({bad.tool}) {bad.status}: {bad.error.message}"
        where = {"step_index": bad.step_index, "step_id": bad.id, "tool": bad.tool}
        details = {"code": bad.error.code, "message": bad.error.message, "retry": str(bad.error.retry), **where}
    return PlanResponse(
        execution_id=execution_id,
        status=summarize([result.status for result in results]),
        result=counts(results),
        step_results=tuple(results),
        started_at=started_at,
        completed_at=completed_at,
        error_message=message,
        error_details=details,
        plan=plan_name or None,
    )


class PlanRunner:
    """Runs the requests of one service, at most `max_concurrent_steps` steps at once."""

    def __init__(self, steps: StepRunner, *, service: str, max_concurrent_steps: int, timestamp: Callable[[], str]):
        self._steps = steps
        self._service = service
        self._slots = asyncio.Semaphore(max_concurrent_steps)
        self._timestamp = timestamp

    async def run(self, run: PlanRun) -> PlanResponse:
        """All steps to their results. Raises nothing of its own."""
        started_at = self._timestamp()
        results: list[StepResult] = []
        failed: StepResult | None = None
        for index in range(len(run.request.steps)):
            result = await self._step(run, index, failed)
            run.events.finished(result)
            results.append(result)
            if failed is None and not succeeded(result):
                failed = result
        return response_of(
            run.request.execution_id,
            results,
            started_at=started_at,
            completed_at=self._timestamp(),
            plan_name=run.request.plan_name,
        )

    async def _step(self, run: PlanRun, index: int, failed: StepResult | None) -> StepResult:
        if run.active.cancelled:
            return self._not_started(run, index, StepStatus.CANCELLED, "cancelled", "cancelled before it was started")
        if failed is not None:
            message = f"not run because step {failed.id} ({failed.tool}) did not succeed: {failed.status}"
            return self._not_started(run, index, StepStatus.SKIPPED, "step_skipped", message)
        cancel = run.active.next_step()
        woken = await self._slot(run.deadline - time.monotonic(), cancel)
        if woken is Woken.CANCELLED:
            return self._not_started(run, index, StepStatus.CANCELLED, "cancelled", "cancelled before it was started")
        if woken is Woken.TIMEOUT:
            message = "the deadline was reached before the step was started; nothing was run"
            return self._not_started(run, index, StepStatus.TIMEOUT, "command_timeout", message)
        try:
            return await self._steps.run(self._step_run(run, index, cancel))
        finally:
            self._slots.release()

    def _step_run(self, run: PlanRun, index: int, cancel: asyncio.Event) -> StepRun:
        single = len(run.request.steps) == 1
        return StepRun(
            request=run.request,
            index=index,
            step=run.request.steps[index],
            dispatch_id=run.key if single else f"{run.key}/{index}",
            catalog=run.catalog,
            remaining_s=run.deadline - time.monotonic(),
            cancel=cancel,
            events=run.events,
        )

    async def _slot(self, remaining_s: float, cancel: asyncio.Event) -> Woken:
        """Take one of the slots; waiting for it counts against the deadline. Only DONE holds a slot."""
        if remaining_s <= 0:
            return Woken.TIMEOUT
        if not self._slots.locked():
            await self._slots.acquire()
            return Woken.DONE
        task = asyncio.ensure_future(self._slots.acquire())
        try:
            woken = await wait_for_task(task, timeout_s=remaining_s, cancel=cancel)
        except asyncio.CancelledError:
            self._give_back(task)
            raise
        if woken is Woken.DONE and cancel.is_set():
            woken = Woken.CANCELLED
        if woken is not Woken.DONE:
            self._give_back(task)
        return woken

    def _give_back(self, task: asyncio.Task[bool]) -> None:
        """Stop waiting; a slot that came in the same moment goes back."""
        if task.done():
            self._slots.release()
        else:
            task.cancel()

    def _not_started(self, run: PlanRun, index: int, status: StepStatus, code: str, message: str) -> StepResult:
        step = run.request.steps[index]
        error: ErrorInfo = OpsError(code, message).to_info()
        return StepResult(
            step_index=index,
            id=step.id,
            tool=step.tool,
            status=status,
            error=error,
            completed_at=self._timestamp(),
            operation=step.operation,
            target=step.target,
            service=self._service,
        )
