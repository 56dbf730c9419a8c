"""From an execution's records to where it stands: a pure fold, and the only reading of what records mean.

Used by history (what a person sees), by recovery (what is left to settle) and by whoever continues an execution.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from opsconductor.engine.ports import JournalRecord
from opsconductor.engine.records import (
    Accepted,
    CancelRequested,
    Dispatched,
    Finished,
    Owner,
    Record,
    Started,
    StepFinished,
    StepOutput,
    decode,
)
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.outcome import StepResult


class StepState(msgspec.Struct, kw_only=True):
    """Where one step stands. `output` holds what was recorded while it ran; its result, once there, has it all."""

    step_index: int
    id: str
    tool: str
    status: StepStatus = StepStatus.PENDING
    dispatched_at: str | None = None
    dispatch: Dispatched | None = None
    result: StepResult | None = None
    output: dict[str, str] = {}


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One record in a line: when, what, and for which step."""

    at: str
    sequence: int
    kind: str
    step: str | None = None
    detail: str = ""


class ExecutionState(msgspec.Struct, kw_only=True):
    """Where an execution stands. `last_sequence` is what the next record must come `after`."""

    execution_id: str
    status: ExecutionStatus
    accepted: Accepted
    accepted_at: str
    owner: Owner | None
    steps: list[StepState]
    started_at: str | None = None
    cancel_requested_at: str | None = None
    finished: Finished | None = None
    timeline: list[TimelineEntry]
    last_sequence: int


def replay(records: Sequence[JournalRecord]) -> ExecutionState:
    """Fold the records of one execution, as `Journal.read` gives them. Raises OpsError(`journal_corrupt`)."""
    decoded = [decode(record) for record in records]
    accepted = decoded[0]
    if not isinstance(accepted, Accepted):
        raise _misplaced(records[0], "it is the first record and not 'accepted'")
    state = ExecutionState(
        execution_id=records[0].execution_id,
        status=ExecutionStatus.QUEUED,
        accepted=accepted,
        accepted_at=records[0].at,
        owner=accepted.owner,
        steps=[StepState(step_index=index, id=step.id, tool=step.tool) for index, step in enumerate(accepted.steps)],
        timeline=[],
        last_sequence=records[-1].sequence,
    )
    for stored, record in zip(records, decoded, strict=True):
        _apply(state, stored, record)
        if not isinstance(record, StepOutput):
            state.timeline.append(_entry(stored, record))
    return state


def _apply(state: ExecutionState, stored: JournalRecord, record: Record) -> None:
    match record:
        case Started():
            state.status = ExecutionStatus.RUNNING
            state.owner = record.owner
            state.started_at = state.started_at or stored.at
        case Dispatched():
            step = _step(state, stored, record.step_index)
            step.status, step.dispatch, step.dispatched_at = StepStatus.DISPATCHED, record, stored.at
        case StepOutput():
            output = _step(state, stored, record.step_index).output
            output[record.stream] = output.get(record.stream, "") + record.text
        case StepFinished():
            step = _step(state, stored, record.result.step_index)
            step.status, step.result = record.result.status, record.result
        case CancelRequested():
            state.cancel_requested_at = state.cancel_requested_at or stored.at
        case Finished():
            state.status, state.finished = record.status, record
        case Accepted():
            pass


def _step(state: ExecutionState, stored: JournalRecord, index: int) -> StepState:
    if not 0 <= index < len(state.steps):
        raise _misplaced(stored, f"it names step {index} and the plan has {len(state.steps)} steps")
    return state.steps[index]


def _misplaced(stored: JournalRecord, found: str) -> OpsError:
    return OpsError(
        "journal_corrupt",
        f"record {stored.sequence} of execution {stored.execution_id}: {found}; a defect wrote it, please report it",
        execution_id=stored.execution_id,
        sequence=stored.sequence,
    )


def _entry(stored: JournalRecord, record: Record) -> TimelineEntry:
    step, detail = None, ""
    match record:
        case Accepted():
            detail = f"{record.plan_name}: {len(record.steps)} steps"
        case Started():
            detail = f"by process {record.owner.pid} on {record.owner.host}"
        case Dispatched():
            step, detail = record.id, f"{record.tool} → {record.service} ({record.route_reason})"
        case StepFinished():
            step, detail = record.result.id, str(record.result.status)
        case CancelRequested():
            detail = record.reason or ""
        case Finished():
            detail = str(record.status)
        case StepOutput():
            pass
    return TimelineEntry(at=stored.at, sequence=stored.sequence, kind=stored.kind, step=step, detail=detail)
