"""Sends one step to the service that owns its tool and tells truthfully what became of it.

Order matters: the route is resolved, the dispatch is made durable, and only then is the service contacted. What cannot
be proven is `outcome_unknown`, unless the operation only reads: then it is a failure that may simply be repeated.
Called by the coordinator; never raises for what a service does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from opsconductor.engine.ports import ClientFor, EventSink, Journal, NewId, Now, ServiceClient, Telemetry
from opsconductor.engine.records import Dispatched, write
from opsconductor.engine.resolution import (
    Catalog,
    Chosen,
    Decision,
    Router,
    choose,
    split_target,
    target_name,
    without_credentials,
)
from opsconductor.engine.secrets import Redact, mask, nothing_secret, secret_inputs
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import ErrorInfo, OpsError, Retry
from opsconductor.model.execution import StepStatus, is_terminal
from opsconductor.model.outcome import Event, PlanRequest, PlanResponse, StepRequest, StepResult
from opsconductor.model.tool import Effect

_NOT_STARTED = frozenset({"service_unreachable", "service_not_ready"})
_PATIENCE = 1.2
"""The client gives up after the grace and says exactly why; who waits for it waits a little longer."""
_GIVE_BACK_S = 1.0
"""How long a call that is given up may take to give its connection back."""
_STILL_OPEN = frozenset({"execution_in_progress"})


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf an execution runs."""

    execution_id: str
    tenant_id: str | None = None
    actor_id: str | int | None = None
    plan_name: str = ""
    epoch: int = 0
    redact: Redact = nothing_secret
    """Masks this execution's secrets in what is recorded."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One step, rendered and ready to go. `deadline_at` is its last moment, `step_id` its id in the plan."""

    step_index: int
    step_id: str
    request: StepRequest
    deadline_at: datetime


class Dispatch(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is routed: its `record` is to be made durable, and only then it may be sent."""

    call: Call
    decision: Decision
    chosen: Chosen | None
    request: PlanRequest
    record: Dispatched


class JournalFailedError(Exception):
    """The dispatch could not be recorded, so nothing was started; `cause` says why."""

    def __init__(self, cause: OpsError) -> None:
        self.cause = cause
        super().__init__(str(cause))


class Watch(Protocol):
    """Whoever runs the execution, as the dispatcher sees it."""

    def wanted(self) -> bool:
        """Whether the step may still be sent; asked when its dispatch is on record."""
        ...

    def called(self, client: ServiceClient, call: asyncio.Task[Any]) -> None:
        """The call began. Cancelling it means that nobody waits for the answer any longer."""
        ...

    @property
    def listens(self) -> bool:
        """Whether anybody wants to see events; output that nobody sees need not be told."""
        ...

    def emit(self, event: Event) -> None:
        """Something to show happened."""
        ...


class Dispatcher:
    """Dispatches the steps of all executions of an engine; holds no state of theirs."""

    def __init__(
        self,
        *,
        journal: Journal,
        client_for: ClientFor,
        router: Router,
        catalog: Callable[[], Catalog],
        telemetry: Telemetry,
        now: Now,
        new_id: NewId,
        answer_grace_s: float,
        deny_fallback: bool = False,
        default_target: str = "",
    ) -> None:
        self._journal, self._client_for, self._router, self._catalog = journal, client_for, router, catalog
        self._telemetry, self._now, self._new_id = telemetry, now, new_id
        self._answer_grace_s, self._deny_fallback, self._default_target = answer_grace_s, deny_fallback, default_target

    async def dispatch(self, origin: Origin, call: Call, *, watch: Watch) -> StepResult:
        """Route, record, send, wait. Raises JournalFailedError when the dispatch could not be recorded."""
        prepared = self.prepare(origin, call)
        if isinstance(prepared, StepResult):
            return prepared
        try:
            await write(self._journal, origin.execution_id, prepared.record)
        except OpsError as error:
            raise JournalFailedError(error) from error
        return await self.send(prepared, watch=watch)

    def prepare(self, origin: Origin, call: Call) -> Dispatch | StepResult:
        """Route a call and say what is to be recorded of it; a result when it cannot be sent. Contacts nobody."""
        try:
            decision = self._router.resolve(call.request.tool)
        except OpsError as error:
            return self._ended(call, None, StepStatus.FAILED, error.to_info())
        self._telemetry.routed(call.request.tool, decision.service, decision.reason)
        if self._deny_fallback and decision.reason.startswith("fallback:"):
            message = (
                f"{call.request.tool!r} has no service of its own ({decision.reason}) and routing.fallback is deny"
            )
            return self._ended(call, decision, StepStatus.FAILED, OpsError("routing_denied", message).to_info())
        chosen = self._chosen(call.request)
        request = _plan_request(origin, call, self._new_id())
        record = self._record(request, call, decision, chosen, origin.redact)
        return Dispatch(call=call, decision=decision, chosen=chosen, request=request, record=record)

    async def send(self, dispatch: Dispatch, *, watch: Watch) -> StepResult:
        """Send what was prepared and wait for its result; its record must be durable by now."""
        call, decision = dispatch.call, dispatch.decision
        if not watch.wanted():
            cancelled = OpsError("cancelled", "cancelled before the service was asked; nothing was started").to_info()
            return self._ended(call, decision, StepStatus.CANCELLED, cancelled)
        try:
            response = await self._answer(dispatch.request, call, decision, watch)
        except OpsError as error:
            return self._ended(call, decision, *_verdict(error, dispatch.chosen))
        return self._accepted(call, decision, dispatch.chosen, response)

    async def _answer(self, request: PlanRequest, call: Call, decision: Decision, watch: Watch) -> PlanResponse:
        """The service's answer, waited for until the deadline and the grace have passed, or nobody wants it."""
        client = self._client_for(decision.service, decision.url)
        forward = _forwarder(call, request.execution_id, watch.emit) if watch.listens else None
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        task = loop.create_task(_ending(client.execute_plan(request, on_event=forward), over))
        watch.called(client, task)
        remaining_s = max((call.deadline_at - self._now()).total_seconds(), 0.0)
        patience_s = remaining_s + self._answer_grace_s * _PATIENCE
        timer = loop.call_later(patience_s, _end, over)
        task.add_done_callback(lambda _task: _end(over))  # also when it was cancelled before it began
        try:
            await over
        finally:
            timer.cancel()
            late = not task.done()
            task.cancel()
        if late:
            await asyncio.wait({task}, timeout=_GIVE_BACK_S)
        if late or task.cancelled():
            why = f"did not answer within {patience_s:g} s" if late else "did not answer after it was asked to cancel"
            raise OpsError("service_connection_lost", f"{decision.service} {why}", service=decision.service)
        try:
            return task.result()
        except OpsError:
            raise
        except Exception as error:  # the boundary to whatever a client is made of; the result records it
            message = f"calling {decision.service} failed: {type(error).__name__}: {error}"
            raise OpsError("internal_error", message, service=decision.service) from error

    def _accepted(self, call: Call, decision: Decision, chosen: Chosen | None, response: PlanResponse) -> StepResult:
        """The one step result of a well-formed answer, with its place in the plan and its route."""
        results = response.step_results
        if len(results) != 1 or not is_terminal(results[0].status):
            found = f"{len(results)} step results" if len(results) != 1 else f"a step that is {results[0].status}"
            error = OpsError(
                "service_answer_invalid", f"{decision.service} answered with {found}, expected one that ended"
            )
            return self._ended(call, decision, *_verdict(error, chosen))
        result = results[0]
        return msgspec.structs.replace(
            result,
            step_index=call.step_index,
            id=call.step_id,
            tool=call.request.tool,
            service=decision.service,
            route_reason=decision.reason,
            completed_at=result.completed_at or to_rfc3339(self._now()),
        )

    def _ended(self, call: Call, decision: Decision | None, status: StepStatus, error: ErrorInfo) -> StepResult:
        return StepResult(
            step_index=call.step_index,
            id=call.step_id,
            tool=call.request.tool,
            operation=call.request.operation,
            status=status,
            error=error,
            completed_at=to_rfc3339(self._now()),
            service=decision.service if decision else None,
            route_reason=decision.reason if decision else None,
        )

    def _chosen(self, request: StepRequest) -> Chosen | None:
        """The operation as the catalog knows it; None when only the service can tell."""
        entry = self._catalog().find(request.tool)
        if entry is None:
            return None
        try:
            return choose(entry.definition, request.operation)
        except OpsError:
            return None

    def _record(
        self, request: PlanRequest, call: Call, decision: Decision, chosen: Chosen | None, redact: Redact
    ) -> Dispatched:
        step, operation = call.request, chosen.operation if chosen else None
        target = None
        if chosen is not None and chosen.runs_on_target:
            target = target_name(split_target(chosen, step.inputs)[0], self._default_target, step.target)
        secret = secret_inputs(chosen)
        shown = msgspec.to_builtins(msgspec.structs.replace(step, inputs=mask(step.inputs, secret)))
        return Dispatched(
            step_index=call.step_index,
            id=call.step_id,
            tool=step.tool,
            service=decision.service,
            url=without_credentials(decision.url),
            route_reason=decision.reason,
            dispatch_id=request.idempotency_key or "",
            epoch=request.epoch,
            request_sha256=hashlib.sha256(msgspec.json.encode(step)).hexdigest(),
            deadline_at=request.deadline_at,
            request=redact(shown),
            operation=chosen.operation_name if chosen else step.operation,
            target=target,
            effect=None if operation is None else str(operation.effect),
            idempotent=None if operation is None else operation.is_idempotent,
        )


async def _ending(work: Awaitable[PlanResponse], over: asyncio.Future[None]) -> PlanResponse:
    """`work`, setting `over` at its end: who waits for that runs a turn of the loop before who waits for a task."""
    try:
        return await work
    finally:
        _end(over)


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _plan_request(origin: Origin, call: Call, dispatch_id: str) -> PlanRequest:
    return PlanRequest(
        execution_id=origin.execution_id,
        steps=(call.request,),
        tenant_id=origin.tenant_id,
        actor_id=origin.actor_id,
        idempotency_key=dispatch_id,
        deadline_at=to_rfc3339(call.deadline_at),
        epoch=origin.epoch,
        plan_name=origin.plan_name,
    )


def _forwarder(call: Call, execution_id: str, on_event: EventSink) -> EventSink:
    """Passes the service's output on under the step's place in the plan; beginnings and ends are told by us."""

    def forward(event: Event) -> None:
        if event.event == "step.output":
            on_event(
                msgspec.structs.replace(
                    event,
                    execution_id=execution_id,
                    step_index=call.step_index,
                    id=call.step_id,
                    tool=call.request.tool,
                )
            )

    return forward


def _verdict(error: OpsError, chosen: Chosen | None) -> tuple[StepStatus, ErrorInfo]:
    """What an error instead of an answer says about the step."""
    if error.code in _NOT_STARTED:
        return StepStatus.UNREACHABLE, error.to_info()
    in_doubt = error.kind.retry is Retry.UNKNOWN or error.code in _STILL_OPEN
    only_reads = chosen is not None and chosen.operation is not None and chosen.operation.effect is Effect.READ
    if not in_doubt or only_reads:
        return StepStatus.FAILED, error.to_info()
    doubt = "it cannot be proven whether, or how, the step ended"
    message = f"{doubt}: {error.message}; look at the target before running it again"
    info = OpsError("outcome_unknown", message, **{**error.context, "cause": error.code}).to_info()
    return StepStatus.OUTCOME_UNKNOWN, info


def deadline(now: datetime, timeout_s: float | None, latest: datetime) -> datetime:
    """The earlier of `latest` and `timeout_s` from now."""
    return latest if timeout_s is None else min(latest, now + timedelta(seconds=timeout_s))
