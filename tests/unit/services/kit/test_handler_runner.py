"""A handler's end, however it comes, becomes one truthful outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.handler_runner import run_handler
from opsconductor.services.kit.handlers import Handler, HandlerResult, StepContext
from opsconductor.services.kit.outcomes import Outcome
from tests.unit.services.kit.fakes import context, tool

READ = tool(argv=None, handler="suite.probe")
CHANGE = tool(argv=None, handler="suite.probe", effect="change")
GRACE_S = 0.05


async def run(handler: Handler, ctx: StepContext, secret: str = "") -> Outcome:
    return await run_handler(handler, ctx, {}, redactor=Redactor([secret]), grace_s=GRACE_S)


def raising(error: BaseException) -> Handler:
    async def handler(_ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
        raise error

    return handler


def giving(result: Any) -> Handler:
    async def handler(_ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
        return result  # type: ignore[no-any-return]

    return handler


async def stubborn(_ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
    """Hears no cancellation event."""
    await asyncio.Event().wait()
    raise AssertionError


async def obedient(ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
    await ctx.cancel.wait()
    raise OpsError("cancelled", "stopped")


async def finishing(ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
    """Completes what it does when asked to stop."""
    await ctx.cancel.wait()
    return HandlerResult(data="done")


async def test_data_and_output_of_a_result_are_the_steps_output(tmp_path: Path) -> None:
    outcome = await run(giving(HandlerResult(data=(1, 2), output={"stdout": "x"})), context(READ, tmp_path))
    assert outcome.status is StepStatus.COMPLETED
    assert outcome.output == {"stdout": "x", "data": [1, 2]}


async def test_secrets_in_a_result_are_masked(tmp_path: Path) -> None:
    result = HandlerResult(data={"echo": "token hunter2hunter2"})
    outcome = await run(giving(result), context(READ, tmp_path), secret="hunter2hunter2")
    assert outcome.output["data"] == {"echo": "token ***"}


@pytest.mark.parametrize(
    ("code", "of_read", "of_change"),
    [
        ("asset_not_found", StepStatus.FAILED, StepStatus.FAILED),
        ("peer_unreachable", StepStatus.FAILED, StepStatus.FAILED),
        ("target_unreachable", StepStatus.UNREACHABLE, StepStatus.UNREACHABLE),
        ("outcome_unknown", StepStatus.OUTCOME_UNKNOWN, StepStatus.OUTCOME_UNKNOWN),
        ("cancel_unconfirmed", StepStatus.OUTCOME_UNKNOWN, StepStatus.OUTCOME_UNKNOWN),
        ("cancelled", StepStatus.CANCELLED, StepStatus.CANCELLED),
        ("command_timeout", StepStatus.TIMEOUT, StepStatus.OUTCOME_UNKNOWN),
        ("service_connection_lost", StepStatus.FAILED, StepStatus.OUTCOME_UNKNOWN),
    ],
)
async def test_what_a_handler_raises_decides_the_status(
    tmp_path: Path, code: str, of_read: StepStatus, of_change: StepStatus
) -> None:
    handler = raising(OpsError(code, "said so"))
    for definition, expected in ((READ, of_read), (CHANGE, of_change)):
        outcome = await run(handler, context(definition, tmp_path))
        assert outcome.status is expected
        assert outcome.error is not None
        assert outcome.error.code == code


@pytest.mark.parametrize(
    "handler",
    [
        raising(RuntimeError("inner text")),
        raising(asyncio.CancelledError()),
        giving(None),
        giving(HandlerResult(data=object())),
        giving(HandlerResult(data={"text": "\ud800"})),
    ],
)
async def test_a_defect_is_logged_and_never_a_success(
    tmp_path: Path, handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    for definition, expected in ((READ, StepStatus.FAILED), (CHANGE, StepStatus.OUTCOME_UNKNOWN)):
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            outcome = await run(handler, context(definition, tmp_path))
        assert outcome.status is expected
        assert outcome.error is not None
        assert outcome.error.code == "internal_error"
        assert "inner text" not in outcome.error.message
        assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize(
    ("handler", "of_read", "of_change"),
    [
        (obedient, StepStatus.TIMEOUT, StepStatus.TIMEOUT),
        (stubborn, StepStatus.TIMEOUT, StepStatus.OUTCOME_UNKNOWN),
        (finishing, StepStatus.COMPLETED, StepStatus.COMPLETED),
    ],
)
async def test_a_handler_over_its_time_limit_is_ended(
    tmp_path: Path, handler: Handler, of_read: StepStatus, of_change: StepStatus
) -> None:
    for definition, expected in ((READ, of_read), (CHANGE, of_change)):
        outcome = await run(handler, context(definition, tmp_path, timeout_s=0.02))
        assert outcome.status is expected


@pytest.mark.parametrize(
    ("handler", "of_read", "of_change"),
    [
        (obedient, StepStatus.CANCELLED, StepStatus.CANCELLED),
        (stubborn, StepStatus.CANCELLED, StepStatus.OUTCOME_UNKNOWN),
        (finishing, StepStatus.COMPLETED, StepStatus.COMPLETED),
    ],
)
async def test_a_cancelled_handler_is_ended(
    tmp_path: Path, handler: Handler, of_read: StepStatus, of_change: StepStatus
) -> None:
    for definition, expected in ((READ, of_read), (CHANGE, of_change)):
        ctx = context(definition, tmp_path)
        asyncio.get_running_loop().call_soon(ctx.cancel.set)
        outcome = await run(handler, ctx)
        assert outcome.status is expected


async def test_a_handler_that_will_not_end_is_given_up_as_a_doubt(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def immortal(_ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return HandlerResult(data=None)

    ctx = context(READ, tmp_path)
    asyncio.get_running_loop().call_soon(ctx.cancel.set)
    outcome = await run(immortal, ctx)
    release.set()
    assert outcome.status is StepStatus.OUTCOME_UNKNOWN
    assert outcome.error is not None
    assert outcome.error.code == "cancel_unconfirmed"
