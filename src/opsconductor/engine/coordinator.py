"""Runs one accepted execution to its end: starts what is ready, records what happened, says how it all ended.

Steps run as soon as what they wait for has ended; nothing polls. After a step that did not succeed and says
`on_failure: stop` (the default) nothing new starts, what runs may finish, and the rest is skipped. With `continue` the
plan goes on, also with steps that depend on the failed one; the execution is then `partial` when some steps succeeded.
A step whose `when` is false is skipped, which is no failure: steps that depend on it run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from opsconductor.engine.dispatch import Call, Dispatcher, JournalFailedError, Origin, deadline
from opsconductor.engine.ports import EventSink, Journal, Now, ReceiverHost, ServiceClient, Telemetry
from opsconductor.engine.records import CancelRequested, Finished, Owner, Record, Started, StepFinished, write
from opsconductor.engine.results import Ending, combine, count, first_trouble, is_bad, not_sent, overall
from opsconductor.engine.scheduler import Schedule
from opsconductor.engine.scope import Scope
from opsconductor.engine.templates import Templates
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import Event, PlanResponse, StepRequest, StepResult
from opsconductor.model.plan import OnFailure, Plan, Step


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one execution. `cancel_grace_s` is how long a service may take to answer after a cancel."""

    max_parallel_steps: int = 50
    max_items: int = 10_000
    plan_timeout_s: float = 86_400.0
    answer_grace_s: float = 20.0
    cancel_grace_s: float = 15.0


_CANCEL_ATTEMPTS = 20
_CANCEL_PAUSE_S = 0.25
"""A cancel may overtake its request: the service is asked again while it does not know the execution."""


class AcceptedExecution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution that was accepted and is to be run."""

    origin: Origin
    plan: Plan
    inputs: Mapping[str, Any]
    accepted_at: str


class Coordinator:
    """One execution; `run` once. `cancel` may come at any time from the same event loop."""

    def __init__(
        self,
        accepted: AcceptedExecution,
        *,
        journal: Journal,
        dispatcher: Dispatcher,
        templates: Templates,
        telemetry: Telemetry,
        now: Now,
        limits: EngineLimits,
        owner: Owner,
        receivers: ReceiverHost | None = None,
    ) -> None:
        self._accepted, self._plan, self._origin = accepted, accepted.plan, accepted.origin
        self._journal, self._dispatcher, self._templates = journal, dispatcher, templates
        self._telemetry, self._now, self._limits, self._owner = telemetry, now, limits, owner
        self._receivers = receivers
        self._on_event: EventSink | None = None
        self._schedule = Schedule(self._plan.steps, max_parallel=limits.max_parallel_steps)
        self._slots = asyncio.Semaphore(limits.max_parallel_steps)
        self._results: dict[int, StepResult] = {}
        self._calls: dict[asyncio.Task[Any], ServiceClient] = {}
        self._scope = Scope(self._plan, {}, {})
        self._deadline = now()
        self._stopped_because = ""
        self._continued = self._cancelled = self._timed_out = False
        self._unrecorded = self._journal_failed = False
        self._failure: OpsError | None = None
        self._cancelling: set[asyncio.Task[None]] = set()

    async def run(self, on_event: EventSink | None = None) -> PlanResponse:
        """Run to the end. Never raises for what happens to steps; a journal that fails shows in the response.

        `on_event` must be quick and must not raise.
        """
        self._on_event = on_event
        started_at = self._now()
        timeout_s = self._plan.timeout_s or self._limits.plan_timeout_s
        self._deadline = started_at + timedelta(seconds=timeout_s)
        timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out)
        received: Mapping[str, Any] | None = None
        try:
            await self._record(Started(owner=self._owner))
            if self._plan.receivers and self._receivers is not None:
                received = await self._with_receivers(self._receivers)
            else:
                self._scope = Scope(self._plan, self._accepted.inputs, {})
                await self._drive()
        except OpsError as error:
            self._fail(error)
        finally:
            timer.cancel()
        await self._close_open_steps()
        if self._cancelling:
            await asyncio.wait(self._cancelling)
        return await self._finish(to_rfc3339(started_at), received)

    async def _with_receivers(self, host: ReceiverHost) -> Mapping[str, Any]:
        try:
            addresses = await host.start(self._plan.receivers)
            self._scope = Scope(self._plan, self._accepted.inputs, addresses)
            await self._drive()
        finally:
            received = await host.stop()
        return received

    async def _drive(self) -> None:
        """Start what is ready, wait for whatever ends first, until nothing runs and nothing may start."""
        running: dict[asyncio.Task[StepResult], int] = {}
        while True:
            for index in self._schedule.take():
                running[asyncio.ensure_future(self._step(index))] = index
            if not running:
                return
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                index = running.pop(task)
                await self._settle(index, task)
                self._schedule.finish(index)

    async def _settle(self, index: int, task: asyncio.Task[StepResult]) -> None:
        """Take a step's result, record it, and decide whether the plan goes on."""
        step = self._plan.steps[index]
        try:
            result = task.result()
        except JournalFailedError as error:
            self._fail(error.cause)
            result = self._not_sent(index, StepStatus.FAILED, error.cause)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not lose what the other steps did
            defect = OpsError("internal_error", f"running the step failed: {type(error).__name__}: {error}")
            result = self._not_sent(index, StepStatus.OUTCOME_UNKNOWN, defect)
        await self._take(result)
        if not is_bad(result.status):
            return
        # In doubt nothing may go on: what comes next might build on something that did not happen.
        if step.on_failure is OnFailure.CONTINUE and result.status is not StepStatus.OUTCOME_UNKNOWN:
            self._continued = True
        else:
            self._stop(f"step {step.id} is {result.status}")

    async def _take(self, result: StepResult) -> None:
        """Record a terminal result, and only then show it to anybody."""
        self._results[result.step_index] = result
        self._scope.add(result)
        if not self._journal_failed:
            await self._try_record(StepFinished(result=result))
        # After a failed write nothing more is written: a record that is missing in the middle would be a lie.
        self._unrecorded |= self._journal_failed and result.service is not None
        self._publish_finished(result)

    def _publish_finished(self, result: StepResult) -> None:
        if result.service is not None:
            self._telemetry.step_finished(result.service, result.tool, str(result.status), result.duration_ms / 1000)
        self._publish("step.finished", result.step_index, result=result)

    async def _step(self, index: int) -> StepResult:
        """One step from its condition to its result. Raises JournalFailedError alone."""
        step = self._plan.steps[index]
        try:
            if step.when is not None and not self._templates.condition(step.when, self._scope.variables()):
                return self._not_sent(index, StepStatus.SKIPPED, reason=f"when: {step.when} is false")
            if step.for_each is not None:
                return await self._loop(index, step)
            async with self._slots:
                return await self._send(index, step, None)
        except OpsError as error:
            return self._not_sent(index, StepStatus.FAILED, error)

    async def _send(self, index: int, step: Step, item: tuple[int, Any] | None) -> StepResult:
        """Render and dispatch a step, or one item of it. Raises OpsError(`expression_invalid`), JournalFailedError."""
        if self._stopped_because:
            return self._left_out(index)
        variables = self._scope.variables() if item is None else self._scope.variables(index=item[0], item=item[1])
        request = StepRequest(
            tool=step.tool,
            id=step.id if item is None else f"{step.id}[{item[0]}]",
            operation=step.operation,
            inputs=self._templates.render(step.inputs, variables),
            timeout_s=step.timeout_s,
            env={name: str(self._templates.render(value, variables)) for name, value in step.env.items()},
            description=step.description,
        )
        latest = deadline(self._now(), step.timeout_s, self._deadline)
        call = Call(step_index=index, step_id=step.id, request=request, deadline_at=latest)
        if item is None:
            self._publish("step.started", index)
        began = self._now()
        result = await self._dispatcher.dispatch(self._origin, call, watch=self)
        return _timed(result, began, self._now())

    async def _loop(self, index: int, step: Step) -> StepResult:
        """Run a step once for each item. Without `on_failure: continue` no item starts after one that failed."""
        items = self._items(step)
        self._publish("step.started", index)
        results: list[StepResult | None] = [None] * len(items)
        places = iter(range(len(items)))

        async def work() -> None:
            for place in places:
                async with self._slots:
                    if self._stopped_because or _stops(step, results):
                        return
                    results[place] = await self._item(index, step, place, items[place])

        workers = min(step.max_parallel or self._limits.max_parallel_steps, len(items))
        await asyncio.gather(*(work() for _ in range(workers)))
        left_out = StepStatus.TIMEOUT if self._timed_out else StepStatus.FAILED
        left_out = StepStatus.CANCELLED if self._cancelled else left_out
        return combine(index, step, items, results, at=to_rfc3339(self._now()), left_out=left_out)

    async def _item(self, index: int, step: Step, place: int, item: Any) -> StepResult:
        try:
            return await self._send(index, step, (place, item))
        except JournalFailedError as error:
            self._fail(error.cause)
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

    # What the dispatcher sees of this execution.
    def wanted(self) -> bool:
        """Whether a step may still be sent."""
        return not self._cancelled

    def called(self, client: ServiceClient, call: asyncio.Task[Any]) -> None:
        """Remember a call while it runs, so that it can be cancelled."""
        self._calls[call] = client
        call.add_done_callback(lambda done: self._calls.pop(done, None))

    def emit(self, event: Event) -> None:
        """Show an event to whoever listens."""
        if self._on_event is not None:
            self._on_event(event)

    async def cancel(self, actor_id: str | int | None = None, reason: str | None = None) -> None:
        """Start nothing more and ask every service that runs a step of this execution to end it."""
        if self._cancelled:
            return
        self._cancelled = True
        self._stop("the execution was cancelled")
        task = asyncio.ensure_future(self._cancel_running(actor_id, reason))
        self._cancelling.add(task)
        await asyncio.shield(task)

    async def _cancel_running(self, actor_id: str | int | None, reason: str | None) -> None:
        loop = asyncio.get_running_loop()
        for call in list(self._calls):
            timer = loop.call_later(self._limits.cancel_grace_s, call.cancel)
            call.add_done_callback(lambda _call, timer=timer: timer.cancel())  # type: ignore[misc]
        # A cancel that cannot be recorded is carried out all the same; the steps' results tell.
        await self._try_record(CancelRequested(actor_id=actor_id, reason=reason))
        clients = {id(client): client for client in self._calls.values()}
        await asyncio.gather(*(self._cancel_at(client) for client in clients.values()))

    async def _cancel_at(self, client: ServiceClient) -> None:
        """Ask one service until it knows the execution (the request may still be on its way) or has answered."""
        for _ in range(_CANCEL_ATTEMPTS):
            with contextlib.suppress(OpsError):  # not reachable: the call itself will tell, or its grace ends
                if await client.cancel(self._origin.execution_id):
                    return
            open_calls = [call for call, owner in self._calls.items() if owner is client]
            if not open_calls:
                return
            await asyncio.wait(open_calls, timeout=_CANCEL_PAUSE_S)

    def _time_out(self) -> None:
        self._timed_out = True
        self._stop("the plan's time limit was reached")

    def _stop(self, because: str) -> None:
        self._stopped_because = self._stopped_because or because
        self._schedule.stop()

    def _fail(self, error: OpsError) -> None:
        self._failure = self._failure or error
        self._stop(error.message)

    async def _close_open_steps(self) -> None:
        """Every step gets its terminal result: those that never started are skipped or cancelled."""
        left = [self._left_out(index) for index in range(len(self._plan.steps)) if index not in self._results]
        # Together, so that they share the journal's commits.
        await asyncio.gather(*(self._take(result) for result in left))

    def _left_out(self, index: int) -> StepResult:
        because = self._stopped_because or "the execution ended"
        if self._cancelled:
            return self._not_sent(index, StepStatus.CANCELLED, OpsError("cancelled", f"not started: {because}"))
        return self._not_sent(index, StepStatus.SKIPPED, OpsError("step_skipped", f"not started: {because}"))

    def _not_sent(self, index: int, status: StepStatus, error: OpsError | None = None, reason: str = "") -> StepResult:
        info = None if error is None else error.to_info()
        at = to_rfc3339(self._now())
        return not_sent(index, self._plan.steps[index], status, at, error=info, reason=reason)

    async def _finish(self, started_at: str, received: Mapping[str, Any] | None) -> PlanResponse:
        results = tuple(self._results[index] for index in range(len(self._plan.steps)))
        at = to_rfc3339(self._now())
        response = self._respond(results, started_at, at)
        message, details = response.error_message, response.error_details
        record = Finished(
            status=response.status,
            counts=response.result,
            completed_at=at,
            error_message=message,
            error_details=details,
        )
        if not self._journal_failed and not await self._try_record(record):
            self._unrecorded = any(result.service is not None for result in results)
            response = self._respond(results, started_at, at)
        if self._plan.receivers:
            response = msgspec.structs.replace(response, received=dict(received or {}))
        self.emit(Event(event="plan.finished", at=at, execution_id=self._origin.execution_id, response=response))
        return response

    def _respond(self, results: tuple[StepResult, ...], started_at: str, at: str) -> PlanResponse:
        ending = Ending(
            continued=self._continued,
            cancelled=self._cancelled,
            timed_out=self._timed_out,
            failure=self._failure,
            unrecorded=self._unrecorded,
        )
        message, details = first_trouble(results, ending)
        outputs, errors = self._outputs()
        return PlanResponse(
            execution_id=self._origin.execution_id,
            status=overall(results, ending),
            result=count(results),
            step_results=results,
            started_at=started_at,
            completed_at=at,
            error_message=message,
            error_details=details,
            plan=self._plan.name,
            outputs=outputs if self._plan.outputs else None,
            output_errors=errors or msgspec.UNSET,
        )

    def _outputs(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The plan's declared outputs; one that has no value is null, with the reason beside it."""
        outputs, errors = dict[str, Any](), dict[str, str]()
        for name, text in self._plan.outputs.items():
            try:
                outputs[name] = self._templates.text(text, self._scope.variables())
            except OpsError as error:
                outputs[name], errors[name] = None, error.message
        return outputs, errors

    async def _record(self, record: Record) -> None:
        """Append to the journal; a failure is remembered, because after it nothing may be started."""
        try:
            await write(self._journal, self._origin.execution_id, record)
        except OpsError as error:
            self._journal_failed = True
            self._fail(error)
            raise

    async def _try_record(self, record: Record) -> bool:
        with contextlib.suppress(OpsError):
            await self._record(record)
            return True
        return False

    def _publish(self, event: str, index: int, *, result: StepResult | None = None) -> None:
        step = self._plan.steps[index]
        at = to_rfc3339(self._now())
        origin = self._origin.execution_id
        self.emit(
            Event(event=event, at=at, execution_id=origin, step_index=index, id=step.id, tool=step.tool, result=result)
        )


def _stops(step: Step, results: list[StepResult | None]) -> bool:
    """Whether an item's result forbids to start another one."""
    bad = {result.status for result in results if result is not None and is_bad(result.status)}
    return StepStatus.OUTCOME_UNKNOWN in bad or (bool(bad) and step.on_failure is OnFailure.STOP)


def _timed(result: StepResult, began: datetime, ended: datetime) -> StepResult:
    """A result with the time it took here, where the service did not say."""
    if result.started_at is not None:
        return result
    took_ms = round((ended - began).total_seconds() * 1000)
    return msgspec.structs.replace(result, started_at=to_rfc3339(began), duration_ms=result.duration_ms or took_ms)
