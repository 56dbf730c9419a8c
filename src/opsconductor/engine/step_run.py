"""One step of an execution: its condition, its loop, its rendering and its dispatch. Called by the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from opsconductor.engine.dispatch import Call, Dispatch, Dispatcher, JournalFailedError, Origin, Watch, deadline
from opsconductor.engine.ports import Now
from opsconductor.engine.progress import EngineLimits, Progress
from opsconductor.engine.results import combine, is_bad, not_sent
from opsconductor.engine.scope import Scope
from opsconductor.engine.templates import Templates, to_text
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepRequest, StepResult
from opsconductor.model.plan import OnFailure, Plan, Step

_NOT_STARTED = frozenset({StepStatus.UNREACHABLE, StepStatus.CANCELLED, StepStatus.SKIPPED})


class StepRunner:
    """Runs the steps of one execution. `started(index)` is called when one begins."""

    def __init__(
        self,
        plan: Plan,
        origin: Origin,
        scope: Scope,
        *,
        dispatcher: Dispatcher,
        templates: Templates,
        progress: Progress,
        watch: Watch,
        started: Callable[[int], None],
        now: Now,
        limits: EngineLimits,
        ends_at: datetime,
    ) -> None:
        self._plan, self._origin, self._scope = plan, origin, scope
        self._dispatcher, self._templates, self._progress, self._watch = dispatcher, templates, progress, watch
        self._started, self._now, self._limits, self._ends_at = started, now, limits, ends_at
        self._slots = asyncio.Semaphore(limits.max_parallel_steps)

    async def begin(self, index: int) -> StepResult | Dispatch | None:
        """What is to be done with a step now, without waiting for anything: nothing more (it has a result), `send`
        its dispatch once that is on record, or `run` it (None: it is a loop, or has to wait for a slot).

        A dispatch holds a slot until it is sent to its end or given to `drop`.
        """
        step = self._plan.steps[index]
        try:
            if step.when is not None and not self._templates.condition(step.when, self._scope.variables()):
                return self._not_sent(index, StepStatus.SKIPPED, reason=f"when: {step.when} is false")
            if step.for_each is not None or self._slots.locked():
                return None
            prepared = self._dispatcher.prepare(self._origin, self._call(index, step, None))
        except OpsError as error:
            return self._not_sent(index, StepStatus.FAILED, error)
        if isinstance(prepared, Dispatch):
            await self._slots.acquire()  # returns at once: it is not locked
        return prepared

    async def send(self, dispatch: Dispatch) -> StepResult:
        """The terminal result of a step that `begin` prepared and whose dispatch is on record."""
        self._started(dispatch.call.step_index)
        began = self._now()
        try:
            result = await self._dispatcher.send(dispatch, watch=self._watch)
        finally:
            self._slots.release()
        return _timed(result, began, self._now())

    def drop(self) -> None:
        """Give back the slot of a dispatch that is not sent."""
        self._slots.release()

    async def run(self, index: int) -> StepResult:
        """The terminal result of a step that `begin` left alone.

        Raises JournalFailedError when it could not be recorded that it is sent.
        """
        step = self._plan.steps[index]
        try:
            if step.for_each is not None:
                return await self._loop(index, step)
            async with self._slots:
                return await self._send(index, step, None)
        except OpsError as error:
            return self._not_sent(index, StepStatus.FAILED, error)

    async def _send(self, index: int, step: Step, item: tuple[int, Any] | None) -> StepResult:
        """Render and dispatch a step, or one item of it. Raises OpsError(`expression_invalid`), JournalFailedError."""
        if self._progress.stopped_because:
            return self._progress.left_out(index, to_rfc3339(self._now()))
        call = self._call(index, step, item)
        if item is None:
            self._started(index)
        began = self._now()
        result = await self._dispatcher.dispatch(self._origin, call, watch=self._watch)
        return _timed(result, began, self._now())

    def _call(self, index: int, step: Step, item: tuple[int, Any] | None) -> Call:
        """A step, or one item of it, rendered. Raises OpsError(`expression_invalid`)."""
        variables = self._scope.variables() if item is None else self._scope.variables(index=item[0], item=item[1])
        request = StepRequest(
            tool=step.tool,
            id=step.id if item is None else f"{step.id}[{item[0]}]",
            operation=step.operation,
            inputs=self._templates.render(step.inputs, variables),
            target=None if step.target is None else to_text(self._templates.text(step.target, variables)),
            timeout_s=step.timeout_s,
            env={name: to_text(self._templates.text(value, variables)) for name, value in step.env.items()},
            description=step.description,
        )
        latest = deadline(self._now(), step.timeout_s, self._ends_at)
        return Call(step_index=index, step_id=step.id, request=request, deadline_at=latest)

    async def _loop(self, index: int, step: Step) -> StepResult:
        """Run a step once for each item. Without `on_failure: continue` no item starts after one that failed."""
        items = self._items(step)
        self._started(index)
        results: list[StepResult | None] = [None] * len(items)
        places = iter(range(len(items)))
        stopped = False

        async def work() -> None:
            nonlocal stopped
            for place in places:
                async with self._slots:
                    if stopped or self._progress.stopped_because:
                        return
                    result = results[place] = await self._item(index, step, place, items[place])
                if _stops(step, result):
                    stopped = True

        workers = min(step.max_parallel or self._limits.max_parallel_steps, len(items))
        await asyncio.gather(*(work() for _ in range(workers)))
        left_out = StepStatus.TIMEOUT if self._progress.timed_out else StepStatus.FAILED
        left_out = StepStatus.CANCELLED if self._progress.cancelled else left_out
        return combine(index, step, items, results, at=to_rfc3339(self._now()), left_out=left_out)

    async def _item(self, index: int, step: Step, place: int, item: Any) -> StepResult:
        try:
            return await self._send(index, step, (place, item))
        except JournalFailedError as error:
            self._progress.fail(error.cause)
            return self._not_sent(index, StepStatus.FAILED, error.cause)
        except OpsError as error:
            return self._not_sent(index, StepStatus.FAILED, error)

    def _items(self, step: Step) -> list[Any]:
        items = self._templates.render(step.for_each, self._scope.variables())
        if not isinstance(items, list):
            message = f"for_each: {step.for_each!r} came to {type(items).__name__}, expected a list"
            raise OpsError("expression_invalid", message)
        if len(items) > self._limits.max_items:
            message = f"for_each: found {len(items)} items, expected at most {self._limits.max_items}"
            raise OpsError("plan_too_large", message)
        return items

    def _not_sent(self, index: int, status: StepStatus, error: OpsError | None = None, reason: str = "") -> StepResult:
        info = None if error is None else error.to_info()
        at = to_rfc3339(self._now())
        return not_sent(index, self._plan.steps[index], status, at, error=info, reason=reason)


def _stops(step: Step, result: StepResult) -> bool:
    """Whether an item's result forbids to start another one."""
    if not is_bad(result.status):
        return False
    return step.on_failure is OnFailure.STOP or result.status is StepStatus.OUTCOME_UNKNOWN


def _timed(result: StepResult, began: datetime, ended: datetime) -> StepResult:
    """A result with the time it took here, where the service did not say."""
    took_ms = result.duration_ms or round((ended - began).total_seconds() * 1000)
    if result.started_at is not None or result.service is None:
        return result
    started_at = None if result.status in _NOT_STARTED else to_rfc3339(began)
    return msgspec.structs.replace(result, started_at=started_at, duration_ms=took_ms)
