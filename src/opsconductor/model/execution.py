"""States of executions and steps, and which changes between them are legal."""

from __future__ import annotations

from enum import StrEnum

from opsconductor.model.errors import OpsError


class ExecutionStatus(StrEnum):
    """Where one run of a plan stands."""

    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    PARTIAL = "partial"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    OUTCOME_UNKNOWN = "outcome_unknown"
    REJECTED = "rejected"
    EXPIRED = "expired"


class StepStatus(StrEnum):
    """Where one step of an execution stands."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    OUTCOME_UNKNOWN = "outcome_unknown"


_E = ExecutionStatus
_RESULTS = {_E.COMPLETED, _E.FAILED, _E.PARTIAL, _E.CANCELLED, _E.TIMEOUT, _E.OUTCOME_UNKNOWN}
EXECUTION_TRANSITIONS: dict[ExecutionStatus, frozenset[ExecutionStatus]] = {
    _E.PENDING_APPROVAL: frozenset({_E.APPROVED, _E.REJECTED, _E.EXPIRED, _E.CANCELLED}),
    _E.APPROVED: frozenset({_E.QUEUED, _E.CANCELLED}),
    _E.QUEUED: frozenset({_E.RUNNING, _E.CANCELLED}),
    _E.RUNNING: frozenset({_E.WAITING, *_RESULTS}),
    _E.WAITING: frozenset({_E.RUNNING, _E.CANCELLED, _E.EXPIRED, _E.TIMEOUT}),
    **{status: frozenset() for status in (*_RESULTS, _E.REJECTED, _E.EXPIRED)},
}

_S = StepStatus
_STEP_RESULTS = {_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.TIMEOUT, _S.UNREACHABLE, _S.OUTCOME_UNKNOWN}
STEP_TRANSITIONS: dict[StepStatus, frozenset[StepStatus]] = {
    _S.PENDING: frozenset({_S.DISPATCHED, _S.SKIPPED, _S.CANCELLED, _S.FAILED}),
    _S.DISPATCHED: frozenset({_S.RUNNING, *_STEP_RESULTS}),
    _S.RUNNING: frozenset(_STEP_RESULTS),
    **{status: frozenset() for status in (*_STEP_RESULTS, _S.SKIPPED)},
}

SUCCESS: frozenset[StepStatus] = frozenset({StepStatus.COMPLETED})
"""Success is a positive list: what is not in it did not succeed."""


def is_terminal(status: ExecutionStatus | StepStatus) -> bool:
    """Whether nothing may follow `status`."""
    if isinstance(status, StepStatus):
        return not STEP_TRANSITIONS[status]
    return not EXECUTION_TRANSITIONS[status]


def check_transition(current: ExecutionStatus | StepStatus, wanted: ExecutionStatus | StepStatus) -> None:
    """Raise `transition_illegal` unless `current → wanted` is in the table."""
    table: dict[StrEnum, frozenset[StrEnum]] = {**EXECUTION_TRANSITIONS, **STEP_TRANSITIONS}  # type: ignore[dict-item]
    allowed = table[current] if type(current) is type(wanted) else frozenset[StrEnum]()
    if wanted not in allowed:
        names = ", ".join(sorted(allowed)) or "nothing"
        raise OpsError(
            "transition_illegal",
            f"{current} → {wanted} is not allowed; after {current} comes {names}",
            current=str(current),
            wanted=str(wanted),
        )


def summarize(statuses: list[StepStatus], *, continued: bool = False) -> ExecutionStatus:
    """The execution's result from its steps' results, which must all be terminal.

    `outcome_unknown` outranks everything: a doubt is never hidden behind a failure. `partial` means that the plan
    asked to go on after a failure (`continued`) and some steps did complete. Skipped steps count neither way.
    """
    if StepStatus.OUTCOME_UNKNOWN in statuses:
        return ExecutionStatus.OUTCOME_UNKNOWN
    if StepStatus.CANCELLED in statuses:
        return ExecutionStatus.CANCELLED
    bad = {status for status in statuses if status not in SUCCESS and status is not StepStatus.SKIPPED}
    if not bad:
        return ExecutionStatus.COMPLETED
    if continued and SUCCESS & set(statuses):
        return ExecutionStatus.PARTIAL
    return ExecutionStatus.TIMEOUT if bad == {StepStatus.TIMEOUT} else ExecutionStatus.FAILED
