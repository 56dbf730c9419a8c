"""The engine's front door: accept a plan durably, run it, cancel it. Bootstrap makes one; the interfaces call it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from opsconductor.engine.coordinator import AcceptedExecution, Coordinator, EngineLimits
from opsconductor.engine.dispatch import Dispatcher, Origin
from opsconductor.engine.plan_inputs import bind_inputs
from opsconductor.engine.ports import ClientFor, EventSink, Journal, NewId, Now, ReceiverHost, Telemetry
from opsconductor.engine.process_identity import this_process
from opsconductor.engine.records import Accepted, Owner, PlannedStep, write
from opsconductor.engine.resolution import Catalog, Chosen, Router, choose
from opsconductor.engine.secrets import MASK, RedactorOf, mask, no_redactor, secret_inputs, secret_texts
from opsconductor.engine.templates import Templates
from opsconductor.engine.validation import Validator
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import PlanResponse
from opsconductor.model.plan import Plan


class Engine:
    """Runs executions in this process. All methods belong to one event loop."""

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
        templates: Templates | None = None,
        limits: EngineLimits = EngineLimits(),  # noqa: B008 - frozen
        validator: Callable[[], Validator] | None = None,
        receiver_host: Callable[[], ReceiverHost] | None = None,
        redactor_of: RedactorOf = no_redactor,
        deny_fallback: bool = False,
        default_target: str = "",
        owner: Owner | None = None,
    ) -> None:
        """`catalog` and `validator` are asked for each time: definitions may be reloaded. `receiver_host` is absent on
        servers, which refuse plans with receivers. `redactor_of` masks an execution's secrets in what is
        journaled.
        """
        self._journal, self._catalog, self._telemetry = journal, catalog, telemetry
        self._now, self._new_id, self._limits, self._redactor_of = now, new_id, limits, redactor_of
        self._templates = templates or Templates()
        self._validator, self._receiver_host = validator, receiver_host
        self._owner = owner or this_process()
        self._executions: dict[str, Coordinator] = {}
        self._dispatcher = Dispatcher(
            journal=journal,
            client_for=client_for,
            router=router,
            catalog=catalog,
            telemetry=telemetry,
            now=now,
            new_id=new_id,
            answer_grace_s=limits.answer_grace_s,
            deny_fallback=deny_fallback,
            default_target=default_target,
        )

    async def accept(
        self,
        plan: Plan,
        inputs: Mapping[str, Any] | None = None,
        *,
        tenant_id: str | None = None,
        actor_id: str | int | None = None,
        idempotency_key: str | None = None,
        execution_id: str | None = None,
    ) -> str:
        """Take a plan on: when this returns its id, the plan is on disk. It runs with `run`.

        Raises OpsError: what `bind_inputs` and `Validator.check` raise, `plan_feature_unsupported` (receivers on a
        server), `journal_unavailable`, `transition_illegal` (the id is taken). Nothing was recorded then.
        """
        bound = bind_inputs(plan, inputs or {})
        if self._validator is not None:
            self._validator().check(plan, bound)
        if plan.receivers and self._receiver_host is None:
            message = (
                "receivers live on the machine that runs the plan; a server does not start them; use `run` without one"
            )
            raise OpsError("plan_feature_unsupported", message, field="receivers")
        redact = self._redactor_of(secret_texts(plan, bound, self._chosen))
        origin = Origin(
            execution_id=execution_id or self._new_id(),
            tenant_id=tenant_id,
            actor_id=actor_id,
            plan_name=plan.name,
            redact=redact,
        )
        record = Accepted(
            plan=redact(self._shown(plan)),
            plan_name=plan.name,
            steps=tuple(PlannedStep(id=step.id, tool=step.tool) for step in plan.steps),
            inputs=redact({name: _masked(plan, name, value) for name, value in bound.items()}),
            tenant_id=tenant_id,
            actor_id=actor_id,
            source=plan.source,
            idempotency_key=idempotency_key,
            owner=self._owner,
        )
        stored = await write(self._journal, origin.execution_id, record, after=0)
        accepted = AcceptedExecution(origin=origin, plan=plan, inputs=bound, accepted_at=stored.at)
        self._executions[origin.execution_id] = self._coordinator(accepted)
        return origin.execution_id

    async def run(self, execution_id: str, on_event: EventSink | None = None) -> PlanResponse:
        """Run an accepted execution to its end.

        A cancelled asyncio task cancels the execution, waits until that is done and recorded, and then re-raises; a
        second cancellation waits no longer. Raises OpsError(`not_found`).
        """
        coordinator = self._executions.get(execution_id)
        if coordinator is None:
            raise OpsError("not_found", f"no execution {execution_id[:64]!r} waits to be run here")
        work = asyncio.ensure_future(coordinator.run(on_event))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await coordinator.cancel(reason="interrupted")
            try:
                await asyncio.shield(work)
            finally:
                work.cancel()
            raise
        finally:
            self._executions.pop(execution_id, None)

    async def execute(
        self,
        plan: Plan,
        inputs: Mapping[str, Any] | None = None,
        *,
        tenant_id: str | None = None,
        actor_id: str | int | None = None,
        on_event: EventSink | None = None,
    ) -> PlanResponse:
        """Accept and run. Raises what `accept` raises."""
        execution_id = await self.accept(plan, inputs, tenant_id=tenant_id, actor_id=actor_id)
        return await self.run(execution_id, on_event)

    async def cancel(self, execution_id: str, *, actor_id: str | int | None = None, reason: str | None = None) -> bool:
        """Cancel an execution of this process; False when there is none of that id. Its `run` tells how it ended."""
        coordinator = self._executions.get(execution_id)
        if coordinator is None:
            return False
        await coordinator.cancel(actor_id, reason)
        return True

    @property
    def active(self) -> tuple[str, ...]:
        """Ids of executions that were accepted here and have not ended."""
        return tuple(self._executions)

    def _coordinator(self, accepted: AcceptedExecution) -> Coordinator:
        wants_receivers = accepted.plan.receivers and self._receiver_host is not None
        return Coordinator(
            accepted,
            journal=self._journal,
            dispatcher=self._dispatcher,
            templates=self._templates,
            telemetry=self._telemetry,
            now=self._now,
            limits=self._limits,
            owner=self._owner,
            receivers=self._receiver_host() if wants_receivers and self._receiver_host else None,
        )

    def _shown(self, plan: Plan) -> dict[str, Any]:
        """The plan as plain data without the values of secret inputs."""
        shown: dict[str, Any] = msgspec.to_builtins(plan)
        for step, raw in zip(plan.steps, shown["steps"], strict=True):
            if step.inputs:
                raw["inputs"] = mask(raw["inputs"], secret_inputs(self._chosen(step.tool, step.operation)))
        for name, declared in plan.inputs.items():
            if declared.secret and declared.default is not msgspec.UNSET:
                shown["inputs"][name]["default"] = MASK
        return shown

    def _chosen(self, tool: str, operation: str | None) -> Chosen | None:
        entry = self._catalog().find(tool)
        try:
            return None if entry is None else choose(entry.definition, operation)
        except OpsError:
            return None


def _masked(plan: Plan, name: str, value: Any) -> Any:
    return MASK if plan.inputs[name].secret else value
