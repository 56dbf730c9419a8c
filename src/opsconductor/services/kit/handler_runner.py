"""Runs a Python handler within its limits and turns how it ended into an outcome. Called by the step runner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.handlers import Handler, HandlerResult, StepContext
from opsconductor.services.kit.outcomes import Outcome, outcome_of_error
from opsconductor.services.kit.plain_json import plain_json
from opsconductor.services.kit.waiting import Woken, end_task, wait_for_task

log = logging.getLogger(__name__)


def _plain(ctx: StepContext, result: HandlerResult) -> dict[str, Any]:
    """The handler's output as plain JSON data."""
    if not isinstance(result, HandlerResult):
        raise TypeError(f"handler {ctx.operation.handler} gave {type(result).__name__}, expected HandlerResult")
    return dict(plain_json({**result.output, "data": result.data}))


def _defect(ctx: StepContext) -> Outcome:
    """The outcome of an exception that nobody meant to raise; its text stays in the log."""
    error = OpsError(
        "internal_error",
        f"a defect in handler {ctx.operation.handler} of {ctx.tool.tool_name}; the service's log has the details",
        handler=ctx.operation.handler,
    )
    return outcome_of_error(error, idempotent=ctx.operation.is_idempotent)


def _collect(ctx: StepContext, task: asyncio.Task[HandlerResult], redactor: Redactor) -> Outcome:
    """The outcome of a handler that came to its own end."""
    try:
        output = _plain(ctx, task.result())
        return Outcome(status=StepStatus.COMPLETED, output=redactor.data(output) if redactor else output)
    except OpsError as error:
        return outcome_of_error(error, idempotent=ctx.operation.is_idempotent)
    except (Exception, asyncio.CancelledError):  # the boundary: one handler's defect ends one step
        log.exception("handler %s of %s failed", ctx.operation.handler, ctx.tool.tool_name)
        return _defect(ctx)


def _timed_out(ctx: StepContext, *, by_itself: bool) -> Outcome:
    message = f"{ctx.tool.tool_name} reached its time limit of {ctx.timeout_s:g} s"
    error = OpsError("command_timeout", message, timeout_s=ctx.timeout_s)
    return outcome_of_error(error, idempotent=by_itself or ctx.operation.is_idempotent)


def _cancelled(ctx: StepContext, *, ended: bool) -> Outcome:
    name = ctx.tool.tool_name
    if ended and ctx.operation.is_idempotent:
        error = OpsError("cancelled", f"{name} was cancelled")
    else:
        error = OpsError("cancel_unconfirmed", f"{name} was cancelled while it worked; what it had done is not known")
    return outcome_of_error(error, idempotent=ctx.operation.is_idempotent)


def _forget(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.warning("a handler that was given up on ended with %r", task.exception())


async def _stop(
    ctx: StepContext, task: asyncio.Task[HandlerResult], woken: Woken, grace_s: float, redactor: Redactor
) -> Outcome:
    """Ask the handler to end, then end it. What it did in the meantime counts: a result that came is a result."""
    ctx.cancel.set()
    by_itself = await end_task(task, grace_s=grace_s)
    if by_itself:
        outcome = _collect(ctx, task, redactor)
        if woken is Woken.TIMEOUT and outcome.status is StepStatus.CANCELLED:
            return _timed_out(ctx, by_itself=True)
        return outcome
    task.add_done_callback(_forget)
    return _timed_out(ctx, by_itself=False) if woken is Woken.TIMEOUT else _cancelled(ctx, ended=task.done())


async def run_handler(
    handler: Handler, ctx: StepContext, inputs: Mapping[str, Any], *, redactor: Redactor, grace_s: float
) -> Outcome:
    """Run `handler` until it ends, `ctx.timeout_s` is over or `ctx.cancel` is set. Never raises what it raised."""
    task = asyncio.ensure_future(handler(ctx, inputs))
    try:
        woken = await wait_for_task(task, timeout_s=ctx.timeout_s, cancel=ctx.cancel)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if woken is Woken.DONE:
        return _collect(ctx, task, redactor)
    return await _stop(ctx, task, woken, grace_s, redactor)
