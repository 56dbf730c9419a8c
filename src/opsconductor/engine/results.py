"""Results that the engine makes itself: of steps that were not sent, of loops over items, of the whole plan. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from opsconductor.model.errors import ErrorInfo, OpsError
from opsconductor.model.execution import SUCCESS, ExecutionStatus, StepStatus, summarize
from opsconductor.model.outcome import ResultCounts, StepResult
from opsconductor.model.plan import Step

_WORST_FIRST = (
    StepStatus.OUTCOME_UNKNOWN,
    StepStatus.CANCELLED,
    StepStatus.FAILED,
    StepStatus.UNREACHABLE,
    StepStatus.TIMEOUT,
    StepStatus.SKIPPED,
)


def not_sent(
    index: int, step: Step, status: StepStatus, at: str, *, error: ErrorInfo | None = None, reason: str = ""
) -> StepResult:
    """The result of a step that no service heard of."""
    return StepResult(
        step_index=index,
        id=step.id,
        tool=step.tool,
        operation=step.operation,
        status=status,
        output={"reason": reason} if reason else {},
        error=error,
        completed_at=at,
    )


def is_bad(status: StepStatus) -> bool:
    """Whether a step neither succeeded nor was left out on purpose."""
    return status not in SUCCESS and status is not StepStatus.SKIPPED


def combine(
    index: int, step: Step, items: Sequence[Any], results: Sequence[StepResult | None], *, at: str, left_out: StepStatus
) -> StepResult:
    """The result of a `for_each`: counts, and each item with its own result; None is an item that was not started.

    Its status is the worst of its items'; without items it is completed. Items that were not started count as
    `left_out`, so that a loop which was cut short never looks like a success.
    """
    entries = [_item(place, item, result) for place, (item, result) in enumerate(zip(items, results, strict=True))]
    statuses = [left_out if result is None else result.status for result in results]
    if items and not any(results):
        statuses = [StepStatus.CANCELLED if left_out is StepStatus.CANCELLED else StepStatus.SKIPPED]
    status = next((worst for worst in _WORST_FIRST if worst in statuses), StepStatus.COMPLETED)
    bad = [result for result in results if result is not None and is_bad(result.status)]
    started = [result.started_at for result in results if result is not None and result.started_at]
    sample = next((result for result in results if result is not None), None)
    return StepResult(
        step_index=index,
        id=step.id,
        tool=step.tool,
        operation=sample.operation if sample else step.operation,
        status=status,
        output={
            "total": len(items),
            "completed": sum(result is not None and result.status in SUCCESS for result in results),
            "failed": len(bad),
            "items": entries,
        },
        error=_loop_error(status, bad, results),
        started_at=min(started, default=None),
        completed_at=at,
        duration_ms=sum(result.duration_ms for result in results if result is not None),
        service=sample.service if sample else None,
        route_reason=sample.route_reason if sample else None,
    )


def _item(place: int, item: Any, result: StepResult | None) -> dict[str, Any]:
    if result is None:
        return {"index": place, "item": item, "status": str(StepStatus.SKIPPED), "output": {}, "error": None}
    return {
        "index": place,
        "item": item,
        "status": str(result.status),
        "target": result.target,
        "output": result.output,
        "error": None if result.error is None else msgspec.to_builtins(result.error),
        "duration_ms": result.duration_ms,
    }


def _loop_error(
    status: StepStatus, bad: Sequence[StepResult], results: Sequence[StepResult | None]
) -> ErrorInfo | None:
    if status in SUCCESS:
        return None
    first = next((result.error for result in bad if result.status is status and result.error is not None), None)
    if first is None:
        left = results.count(None)
        return OpsError("step_skipped", f"{left} of {len(results)} items were not started").to_info()
    message = f"{len(bad)} of {len(results)} items did not succeed; the first: {first.message}"
    return msgspec.structs.replace(first, message=message)


def count(results: Sequence[StepResult]) -> ResultCounts:
    """How many steps there were and how they ended."""
    return ResultCounts(
        total_steps=len(results),
        successful_steps=sum(result.status in SUCCESS for result in results),
        failed_steps=sum(is_bad(result.status) for result in results),
    )


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the plan as a whole ended, whatever its steps say."""

    continued: bool = False
    cancelled: bool = False
    timed_out: bool = False
    failure: OpsError | None = None
    unrecorded: bool = False


def overall(results: Sequence[StepResult], ending: Ending) -> ExecutionStatus:
    """The execution's status: doubt first, then what ended the plan from outside, then its steps."""
    statuses = [result.status for result in results]
    status = summarize(statuses, continued=ending.continued)
    if ending.unrecorded or status is ExecutionStatus.OUTCOME_UNKNOWN:
        return ExecutionStatus.OUTCOME_UNKNOWN
    if ending.failure is not None:
        return ExecutionStatus.FAILED
    everything_ran = not {StepStatus.SKIPPED, StepStatus.CANCELLED} & set(statuses)
    if ending.cancelled and not (everything_ran and status is ExecutionStatus.COMPLETED):
        return ExecutionStatus.CANCELLED
    return ExecutionStatus.TIMEOUT if ending.timed_out else status


def first_trouble(results: Sequence[StepResult], ending: Ending) -> tuple[str | None, dict[str, Any] | None]:
    """`error_message` and `error_details` of the response."""
    if ending.failure is not None:
        return ending.failure.message, {"code": ending.failure.code, **ending.failure.context}
    doubted = [result for result in results if result.status is StepStatus.OUTCOME_UNKNOWN]
    bad = [result for result in results if is_bad(result.status) and result.error is not None]
    for result in [*doubted, *bad]:
        if result.error is not None:
            details = {"code": result.error.code, "retry": str(result.error.retry), "step": result.id}
            message = f"step {result.id} ({result.tool}): {result.error.message}"
            return message, {**details, "step_index": result.step_index, **result.error.context}
    if ending.timed_out:
        return "the plan's time limit was reached", {"code": "command_timeout"}
    return None, None
