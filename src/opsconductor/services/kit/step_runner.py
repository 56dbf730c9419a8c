"""One step, from its name to its result: find, select, place, check, run, mask. Nothing it meets can raise out of it.

Called by the plan runner, one step at a time for each request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from opsconductor.catalog.inputs import check_inputs
from opsconductor.catalog.render import render_command
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import PlanRequest, StepRequest, StepResult
from opsconductor.model.target import Target
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.capabilities import with_remedy
from opsconductor.services.kit.command_runner import CommandRunner
from opsconductor.services.kit.handler_runner import run_handler
from opsconductor.services.kit.handlers import GuardRegistry, Handler, HandlerRegistry, StepContext
from opsconductor.services.kit.limits import ServiceLimits
from opsconductor.services.kit.outcomes import Outcome, outcome_of_error
from opsconductor.services.kit.plain_json import plain_error
from opsconductor.services.kit.secret_inputs import NO_SECRETS, redacted_error, redactor_for
from opsconductor.services.kit.selection import Catalog, Selected, find_tool, select
from opsconductor.services.kit.step_events import ExecutionEvents, StepOutput
from opsconductor.services.kit.targets import TargetResolver, place

log = logging.getLogger(__name__)
_LEAST_TIMEOUT_S = 0.001


class StepRun(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of one step: its request, its catalog snapshot, its time and its cancellation."""

    request: PlanRequest
    index: int
    step: StepRequest
    dispatch_id: str
    catalog: Catalog
    remaining_s: float
    cancel: asyncio.Event
    events: ExecutionEvents


class _Attempt:
    """What is known of a step so far; the result shows it however the step ends."""

    selected: Selected | None = None
    target: Target | None = None
    redactor: Redactor = NO_SECRETS
    begun: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether an end that nobody saw leaves no doubt: nothing had begun, or it does no harm twice."""
        return not self.begun or self.selected is None or self.selected.operation.is_idempotent


def check_env(env: Mapping[str, str], allowed: frozenset[str]) -> None:
    """Raise OpsError(`env_name_not_allowed`, `input_invalid`) unless every name is allowed and every value fits."""
    for name, value in env.items():
        if name not in allowed:
            raise OpsError(
                "env_name_not_allowed",
                f"env: found {name[:100]!r}, expected one of {', '.join(sorted(allowed)) or 'none'} "
                "(setting OPSCONDUCTOR_ALLOWED_ENV)",
                field=f"env.{name[:100]}",
            )
        if "\0" in value:
            raise OpsError("input_invalid", f"env.{name}: expected text without NUL characters", field=f"env.{name}")


class StepRunner:
    """Runs the steps of one service."""

    def __init__(
        self,
        service: str,
        *,
        handlers: HandlerRegistry,
        commands: CommandRunner,
        resolver: TargetResolver,
        limits: ServiceLimits,
        work_dir: Path,
        timestamp: Callable[[], str],
        guards: GuardRegistry | None = None,
    ) -> None:
        self._service = service
        self._guards = guards or {}
        self._handlers = handlers
        self._commands = commands
        self._resolver = resolver
        self._limits = limits
        self._work_dir = work_dir
        self._timestamp = timestamp

    async def run(self, run: StepRun) -> StepResult:
        """Run one step to its terminal result; events go to `run.events`."""
        attempt, started_at, began = _Attempt(), self._timestamp(), time.monotonic()
        run.events.started(run.index, run.step)
        try:
            outcome = await self._attempt(run, attempt)
        except OpsError as error:
            told = with_remedy(error, attempt.selected.definition if attempt.selected else None)
            outcome = outcome_of_error(told, idempotent=attempt.repeatable)
        except Exception:  # the boundary: a defect here ends one step, never the service
            log.exception("step %s of execution %s failed", run.step.id, run.request.execution_id)
            defect = OpsError("internal_error", "a defect in OpsConductor; the service's log has the details")
            outcome = outcome_of_error(defect, idempotent=attempt.repeatable)
        selected = attempt.selected
        return StepResult(
            step_index=run.index,
            id=run.step.id,
            tool=run.step.tool,
            status=outcome.status,
            output=outcome.output,
            error=None if outcome.error is None else plain_error(redacted_error(attempt.redactor, outcome.error)),
            started_at=started_at,
            completed_at=self._timestamp(),
            duration_ms=round((time.monotonic() - began) * 1000),
            operation=selected.operation_name if selected else run.step.operation,
            target=attempt.target.name if attempt.target else run.step.target,
            service=self._service,
        )

    async def _attempt(self, run: StepRun, attempt: _Attempt) -> Outcome:
        step = run.step
        definition = find_tool(self._service, run.catalog, step.tool)
        attempt.redactor = redactor_for(definition, step.inputs)
        selected = attempt.selected = select(definition, step)
        check_env(step.env, self._limits.allowed_env)
        began = time.monotonic()
        limit_s = min(step.timeout_s or selected.operation.timeout_s, self._limits.step_timeout_s, run.remaining_s)
        placed = await place(
            selected,
            step.target,
            default_target=self._limits.default_target,
            resolver=self._resolver,
            tenant_id=run.request.tenant_id,
            limit_s=limit_s,
        )
        attempt.target = placed.target
        inputs = check_inputs(definition, selected.operation_name, placed.inputs, self._limits.inputs)
        inputs |= await self._guarded(selected, inputs)
        output = StepOutput(
            run.events,
            run.index,
            step,
            redactor=attempt.redactor,
            limit_bytes=self._limits.max_event_text_bytes,
        )
        left_s = max(limit_s - (time.monotonic() - began), _LEAST_TIMEOUT_S)
        context = self._context(run, selected, placed.target, left_s, output)
        attempt.begun = True
        try:
            return await self._execute(context, inputs, attempt.redactor, output)
        finally:
            output.flush()

    async def _guarded(self, selected: Selected, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the operation's guards set. Raises what they refuse with; an absent guard is never passed over."""
        found: dict[str, Any] = {}
        for name, wanted in selected.operation.guards.items():
            guard = self._guards.get(wanted)
            if guard is None:
                message = f"{selected.definition.tool_name} needs the guard {wanted!r}, which {self._service} lacks"
                raise OpsError("tool_not_executable", message, tool=selected.definition.tool_name, guard=wanted)
            if inputs.get(name) is not None:
                found |= await guard(inputs[name])
        return found

    def _context(
        self, run: StepRun, selected: Selected, target: Target, timeout_s: float, output: StepOutput
    ) -> StepContext:
        return StepContext(
            execution_id=run.request.execution_id,
            step_id=run.step.id,
            step_index=run.index,
            dispatch_id=run.dispatch_id,
            tenant_id=run.request.tenant_id,
            actor_id=run.request.actor_id,
            tool=selected.definition,
            operation_name=selected.operation_name,
            operation=selected.operation,
            target=target,
            timeout_s=timeout_s,
            cancel=run.cancel,
            emit=output.text,
            work_dir=self._work_dir,
            env=run.step.env,
            dry_run=run.step.dry_run,
        )

    async def _execute(
        self, ctx: StepContext, inputs: dict[str, Any], redactor: Redactor, output: StepOutput
    ) -> Outcome:
        if ctx.operation.handler is not None:
            handler = self._handler(ctx, ctx.operation.handler)
            if ctx.dry_run:
                return _would_run(ctx, {"handler": ctx.operation.handler, "inputs": redactor.data(inputs)})
            return await run_handler(handler, ctx, inputs, redactor=redactor, grace_s=self._limits.kill_grace_s)
        command = render_command(ctx.tool, ctx.operation_name, inputs, self._limits.inputs)
        if ctx.dry_run:
            return _would_run(ctx, redactor.data(list(command.argv)))
        return await self._commands.run(ctx, command, redactor=redactor, output=output)

    def _handler(self, ctx: StepContext, name: str) -> Handler:
        handler = self._handlers.get(name)
        if handler is None:
            raise OpsError(
                "tool_not_executable",
                f"{ctx.tool.tool_name} {ctx.operation_name} needs the handler {name!r}, which {self._service} lacks",
                tool=ctx.tool.tool_name,
                handler=name,
            )
        return handler


def _would_run(ctx: StepContext, what: Any) -> Outcome:
    """A dry run: everything was checked, nothing was started."""
    return Outcome(status=StepStatus.SKIPPED, output={"would_run": what, "target": ctx.target.name, "dry_run": True})
