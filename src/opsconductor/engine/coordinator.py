"""Runs one accepted execution to its end: starts what is ready, records what happened, says how it all ended.

Steps run as soon as what they wait for has ended; nothing polls. After a step that did not succeed and says
`on_failure: stop` (the default) nothing new starts, what runs may finish, and the rest is skipped. With `continue` the
plan goes on, also with steps that depend on the failed one; the execution is then `partial` when some steps succeeded.
A step whose `when` is false is skipped, which is no failure: steps that depend on it run. A doubt
(`outcome_unknown`) always stops the plan: what comes next might build on something that did not happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from opsconductor.engine.dispatch import Dispatch, Dispatcher, JournalFailedError, Origin
from opsconductor.engine.ledger import Entered, Ledger
from opsconductor.engine.open_calls import OpenCalls
from opsconductor.engine.ports import EventSink, Journal, Now, ReceiverHost, Telemetry
from opsconductor.engine.progress import EngineLimits, Progress
from opsconductor.engine.records import CancelRequested, Dispatched, Finished, Owner, Record, Started, StepFinished
from opsconductor.engine.results import count, first_trouble, is_bad, not_sent, overall
from opsconductor.engine.running_steps import RunningSteps, StepTask
from opsconductor.engine.scheduler import Schedule
from opsconductor.engine.scope import Scope
from opsconductor.engine.secrets import without_secrets
from opsconductor.engine.step_run import StepRunner
from opsconductor.engine.templates import Templates
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import Event, PlanResponse, StepResult
from opsconductor.model.plan import OnFailure, Plan

__all__ = ["AcceptedExecution", "Coordinator", "EngineLimits"]


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
        self._dispatcher, self._templates = dispatcher, templates
        self._telemetry, self._now, self._limits = telemetry, now, limits
        self._receivers = receivers
        self._schedule = Schedule(self._plan.steps, max_parallel=limits.max_parallel_steps)
        self._progress = Progress(self._plan, self._schedule)
        self._calls = OpenCalls(self._origin.execution_id, self._progress)
        self._scope = Scope(self._plan, accepted.inputs, {})
        self._results: dict[int, StepResult] = {}
        self._ledger = Ledger(journal, self._origin.execution_id, self._progress.fail)
        self._facts: list[Record] = [Started(owner=owner)]
        self._ended: list[StepResult] = []
        self._cancelling: asyncio.Task[None] | None = None

    async def run(self, on_event: EventSink | None = None) -> PlanResponse:
        """Run to the end. Never raises for what happens to steps; a journal that fails shows in the response.

        `on_event` must be quick and must not raise.
        """
        self._calls.on_event = on_event
        started_at = to_rfc3339(self._now())
        timeout_s = self._plan.timeout_s or self._limits.plan_timeout_s
        timer = asyncio.get_running_loop().call_later(timeout_s, self._progress.time_out)
        received: Mapping[str, Any] | None = None
        try:
            if self._plan.receivers and self._receivers is not None:
                received = await self._with_receivers(self._receivers, timeout_s)
            else:
                await self._drive(timeout_s)
        except OpsError as error:
            self._progress.fail(error)
        finally:
            timer.cancel()
        self._close_open_steps()
        if self._cancelling is not None:
            await self._commit()
            await asyncio.wait({self._cancelling})
        return await self._finish(started_at, received)

    async def _with_receivers(self, host: ReceiverHost, timeout_s: float) -> Mapping[str, Any]:
        if (await self._commit()).error is not None:
            return {}
        try:
            addresses = await host.start(self._plan.receivers)
            self._scope = Scope(self._plan, self._accepted.inputs, addresses)
            await self._drive(timeout_s)
            await self._commit()
        finally:
            received = await host.stop()
        return received

    async def _drive(self, timeout_s: float) -> None:
        """Start what is ready, wait for whatever ends first, until nothing runs and nothing may start.

        The results that come last are not on record then: they share a commit with the end.
        """
        runner = self._step_runner(timeout_s)
        running = RunningSteps()
        while True:
            await self._start_ready(runner, running)
            if not running:
                return
            for index, task in await running.ended():
                self._settle(self._outcome(index, task))

    def _step_runner(self, timeout_s: float) -> StepRunner:
        return StepRunner(
            self._plan,
            self._origin,
            self._scope,
            dispatcher=self._dispatcher,
            templates=self._templates,
            progress=self._progress,
            watch=self._calls,
            started=lambda index: self._publish("step.started", index),
            now=self._now,
            limits=self._limits,
            ends_at=self._now() + timedelta(seconds=timeout_s),
        )

    async def _start_ready(self, runner: StepRunner, running: RunningSteps) -> None:
        """Start what may start now. The results at hand and what is to be sent next share one commit."""
        dispatches: list[Dispatch] = []
        others: list[int] = []
        while ready := self._schedule.take():  # again and again: a step that ends at once may free others
            for index in ready:
                match await self._begin(runner, index):
                    case StepResult() as result:
                        self._settle(result)
                    case Dispatch() as dispatch:
                        dispatches.append(dispatch)
                    case None:
                        others.append(index)
        if not (dispatches or others or running):
            return
        error = (await self._commit([dispatch.record for dispatch in dispatches])).error
        for dispatch in dispatches:
            index = dispatch.call.step_index
            if error is None:
                running.start(index, runner.send(dispatch))
            else:
                runner.drop()
                self._settle(self._not_sent(index, StepStatus.FAILED, error))
        for index in others:
            running.start(index, runner.run(index))

    async def _begin(self, runner: StepRunner, index: int) -> StepResult | Dispatch | None:
        try:
            return await runner.begin(index)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not lose what the other steps did
            defect = OpsError("internal_error", f"preparing the step failed: {type(error).__name__}: {error}")
            return self._not_sent(index, StepStatus.FAILED, defect)

    def _outcome(self, index: int, task: StepTask) -> StepResult:
        """The result of a step that ended, also when what ran it did not end well."""
        try:
            return task.result()
        except JournalFailedError as error:
            self._progress.fail(error.cause)
            return self._not_sent(index, StepStatus.FAILED, error.cause)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not lose what the other steps did
            defect = OpsError("internal_error", f"running the step failed: {type(error).__name__}: {error}")
            return self._not_sent(index, StepStatus.OUTCOME_UNKNOWN, defect)

    def _settle(self, result: StepResult) -> None:
        """Take the result of a step that was taken from the schedule, and decide whether the plan goes on."""
        step = self._plan.steps[result.step_index]
        self._take(result)
        self._schedule.finish(result.step_index)
        if not is_bad(result.status):
            return
        if step.on_failure is OnFailure.CONTINUE and result.status is not StepStatus.OUTCOME_UNKNOWN:
            self._progress.continued = True
        else:
            self._progress.stop(f"step {step.id} ended {result.status}")

    def _take(self, result: StepResult) -> None:
        """Keep a terminal result; nobody sees it before it is on record. Later steps get it as it is, others masked."""
        self._scope.add(result)
        shown = without_secrets(result, self._origin.redact)
        self._results[result.step_index] = shown
        self._ended.append(shown)

    async def _commit(self, dispatches: Sequence[Dispatched] = (), *, end: Finished | None = None) -> Entered:
        """Record what happened and what is to be sent, and only then show the results."""
        ended, facts, self._ended, self._facts = self._ended, self._facts, [], []
        facts += [StepFinished(result=result) for result in ended]
        entered = await self._ledger.enter([*facts, end] if end else facts, dispatches)
        for result in ended:
            self._progress.unrecorded |= not entered.facts and result.service is not None
            if result.service is not None:
                took_s = result.duration_ms / 1000
                self._telemetry.step_finished(result.service, result.tool, str(result.status), took_s)
            self._publish("step.finished", result.step_index, result=result)
        return entered

    async def cancel(self, actor_id: str | int | None = None, reason: str | None = None) -> None:
        """Start nothing more and ask every service that runs a step of this execution to end it."""
        if self._cancelling is None:
            self._progress.cancel()
            self._cancelling = asyncio.ensure_future(self._cancel(actor_id, reason))
        await asyncio.shield(self._cancelling)

    async def _cancel(self, actor_id: str | int | None, reason: str | None) -> None:
        self._calls.give_up_after(self._limits.cancel_grace_s)
        # A cancel that cannot be recorded is carried out all the same; the steps' results tell.
        await self._ledger.enter([CancelRequested(actor_id=actor_id, reason=reason)])
        await self._calls.cancel()

    def _close_open_steps(self) -> None:
        """Every step gets its terminal result: those that never started are skipped or cancelled."""
        at = to_rfc3339(self._now())
        for index in range(len(self._plan.steps)):
            if index not in self._results:
                self._take(self._progress.left_out(index, at))

    def _not_sent(self, index: int, status: StepStatus, error: OpsError) -> StepResult:
        return not_sent(index, self._plan.steps[index], status, to_rfc3339(self._now()), error=error.to_info())

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
        if not (await self._commit(end=record)).facts:
            self._progress.unrecorded = any(result.service is not None for result in results)
            response = self._respond(results, started_at, at)
        if self._plan.receivers:
            response = msgspec.structs.replace(response, received=dict(received or {}))
        self._calls.emit(Event(event="plan.finished", at=at, execution_id=self._origin.execution_id, response=response))
        return response

    def _respond(self, results: tuple[StepResult, ...], started_at: str, at: str) -> PlanResponse:
        ending = self._progress.ending()
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

    def _publish(self, event: str, index: int, *, result: StepResult | None = None) -> None:
        if not self._calls.listens:
            return
        step = self._plan.steps[index]
        at = to_rfc3339(self._now())
        origin = self._origin.execution_id
        self._calls.emit(
            Event(event=event, at=at, execution_id=origin, step_index=index, id=step.id, tool=step.tool, result=result)
        )
