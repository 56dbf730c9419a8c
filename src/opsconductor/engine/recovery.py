"""What to do with executions whose process is gone: a pure decision, and the thin loop that records it.

Called by bootstrap before new work starts. This version *settles* them: nothing is run again, doubt is called doubt,
and the person decides. A version that continues executions replaces `settle` and keeps the rest: `replay` says where
an execution stands, `after` makes sure that only one process goes on from there.

Decided, and why:
- A step that was dispatched and has no result is `outcome_unknown`, also when it only reads: a result that nobody saw
  cannot be reported, and to read again is the user's choice.
- A step that was never dispatched did not start (a dispatch is recorded before the service is contacted): `skipped`.
- Any doubt makes the execution `outcome_unknown`. Without doubt, and with steps that did not start, it is `failed`
  (`cancelled` when that was asked for): it can simply be run again. With all results there, they decide.
- An owner that cannot be looked at from here (another machine or container) is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from opsconductor.engine.ports import Journal, Now
from opsconductor.engine.process_identity import Liveness
from opsconductor.engine.records import Finished, Owner, Record, StepFinished, write
from opsconductor.engine.replay import ExecutionState, StepState, replay
from opsconductor.model.clock import from_rfc3339, to_rfc3339
from opsconductor.model.errors import ERRORS, ErrorInfo, OpsError
from opsconductor.model.execution import SUCCESS, ExecutionStatus, StepStatus, summarize
from opsconductor.model.outcome import ResultCounts, StepResult

UNOWNED_GRACE_S = 60.0
"""How long an accepted execution that names no owner is taken to be about to start."""


class LivenessOf(Protocol):
    """See `process_identity.liveness`."""

    def __call__(self, owner: Owner, /) -> Liveness: ...


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What recovery did with one execution: the status it recorded, or the error that kept it from it."""

    execution_id: str
    status: ExecutionStatus | None = None
    error: ErrorInfo | None = None


async def settle_orphans(journal: Journal, *, liveness: LivenessOf, now: Now) -> tuple[Settled, ...]:
    """Settle every unfinished execution whose process is gone; those that others settle first are left to them.

    A damaged execution is reported and does not keep the others from being settled. Raises `journal_unavailable`.
    """
    outcomes = [await _settle_one(journal, name, liveness, now) for name in await journal.unfinished()]
    return tuple(outcome for outcome in outcomes if outcome is not None)


async def _settle_one(journal: Journal, execution_id: str, liveness: LivenessOf, now: Now) -> Settled | None:
    try:
        state = replay(await journal.read(execution_id))
        records = settle(state, is_gone(state, liveness, now()), to_rfc3339(now()))
        sequence = state.last_sequence
        for record in records:
            sequence = (await write(journal, execution_id, record, after=sequence)).sequence
    except OpsError as error:
        if error.code in ("epoch_stale", "transition_illegal"):  # its owner lives after all, or another process settles
            return None
        if error.code == "journal_corrupt":
            return Settled(execution_id=execution_id, error=error.to_info())
        raise
    last = records[-1] if records else None
    return Settled(execution_id=execution_id, status=last.status) if isinstance(last, Finished) else None


def is_gone(state: ExecutionState, liveness: LivenessOf, now: datetime) -> bool:
    """Whether the process that drives the execution is certainly not there any more."""
    if state.owner is not None:
        return liveness(state.owner) is Liveness.GONE
    return now - from_rfc3339(state.accepted_at) > timedelta(seconds=UNOWNED_GRACE_S)


def settle(state: ExecutionState, gone: bool, at: str) -> tuple[Record, ...]:
    """The records that end an orphaned execution truthfully; none when it is finished or its process is there."""
    if state.finished is not None or not gone:
        return ()
    open_steps = [step for step in state.steps if step.result is None]
    ended = [StepFinished(result=_result(state, step, at)) for step in open_steps]
    results = {record.result.step_index: record.result for record in ended}
    statuses = [results[step.step_index].status if step.result is None else step.status for step in state.steps]
    return (*ended, _finish(state, statuses, open_steps, at))


def _finish(
    state: ExecutionState, statuses: Sequence[StepStatus], open_steps: Sequence[StepState], at: str
) -> Finished:
    status = summarize(list(statuses), continued=_goes_on(state))
    if status is ExecutionStatus.COMPLETED and open_steps:
        status = ExecutionStatus.FAILED
    counts = ResultCounts(
        total_steps=len(statuses),
        successful_steps=sum(one in SUCCESS for one in statuses),
        failed_steps=sum(map(_is_bad, statuses)),
    )
    message = _message(state, open_steps) if status is not ExecutionStatus.COMPLETED else None
    return Finished(status=status, counts=counts, completed_at=at, error_message=message)


def _message(state: ExecutionState, open_steps: Sequence[StepState]) -> str:
    doubtful = ", ".join(step.id for step in open_steps if step.dispatch is not None)
    if doubtful:
        return (
            f"the process that ran it ended before the result of {doubtful} was recorded; "
            "look at the targets before you run it again"
        )
    if open_steps and len(open_steps) == len(state.steps):
        return "the process that accepted it ended before any step was started; it can be run again"
    if open_steps:
        names = ", ".join(step.id for step in open_steps)
        return f"the process that ran it ended before these steps were started: {names}; they can be run again"
    failed = next(step for step in state.steps if _is_bad(step.status))
    reason = failed.result.error.message if failed.result and failed.result.error else str(failed.status)
    return f"step {failed.id}: {reason}"


def _result(state: ExecutionState, step: StepState, at: str) -> StepResult:
    if step.dispatch is not None:
        status, code = StepStatus.OUTCOME_UNKNOWN, "outcome_unknown"
        message = "the process that ran it ended before the result was recorded; it may have happened, go on, or not"
    elif state.cancel_requested_at is not None:
        status, code = StepStatus.CANCELLED, "cancelled"
        message = "it was cancelled before it was started"
    else:
        status, code = StepStatus.SKIPPED, "step_skipped"
        message = "the process that ran the plan ended before this step was started"
    dispatch = step.dispatch
    return StepResult(
        step_index=step.step_index,
        id=step.id,
        tool=step.tool,
        status=status,
        output=dict(step.output),
        error=ErrorInfo(code=code, message=message, retry=ERRORS[code].retry),
        started_at=step.dispatched_at,
        completed_at=at,
        operation=dispatch.operation if dispatch else None,
        target=dispatch.target if dispatch else None,
        service=dispatch.service if dispatch else None,
        route_reason=dispatch.route_reason if dispatch else None,
    )


def _goes_on(state: ExecutionState) -> bool:
    """Whether the plan asked to go on after a step that did not succeed."""
    documents = state.accepted.plan.get("steps")
    if not isinstance(documents, list) or len(documents) != len(state.steps):
        return False
    return any(
        isinstance(document, dict) and document.get("on_failure") == "continue" and _is_bad(step.status)
        for document, step in zip(documents, state.steps, strict=True)
    )


def _is_bad(status: StepStatus) -> bool:
    return status not in SUCCESS and status is not StepStatus.SKIPPED
