"""The journal's vocabulary: one Struct for each kind of record, and the way to and from its stored form.

The coordinator makes these and appends them (`await write(journal, execution_id, Accepted(...))`); replay, recovery and
history read them back with `decode`. A stored record is never rewritten: a field added later needs a default, a field
is never renamed or given another meaning. Inputs and requests are redacted before they get here.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from opsconductor.engine.ports import Journal, JournalRecord
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus
from opsconductor.model.outcome import ResultCounts, StepResult


class RecordKind(StrEnum):
    """What a record tells. `accepted` is always the first of an execution and `finished` always the last."""

    ACCEPTED = "accepted"
    STARTED = "started"
    DISPATCHED = "dispatched"
    STEP_OUTPUT = "step_output"
    STEP_FINISHED = "step_finished"
    CANCEL_REQUESTED = "cancel_requested"
    FINISHED = "finished"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """The process that drives an execution, told apart from any later one that gets the same pid.

    `start_ticks` is field 22 of /proc/<pid>/stat (proc(5)); `boot_id` is /proc/sys/kernel/random/boot_id;
    `pid_namespace` is what /proc/self/ns/pid links to: pids mean nothing outside of theirs.
    """

    pid: int
    start_ticks: int
    boot_id: str
    host: str
    pid_namespace: str = ""


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step as it was accepted; its place in the list is its `step_index`."""

    id: str
    tool: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The plan was taken on. `plan` is the document as given; `owner` is who took it, until `started` names another."""

    plan: dict[str, Any]
    plan_name: str
    steps: tuple[PlannedStep, ...]
    inputs: dict[str, Any] = {}
    tenant_id: str | None = None
    actor_id: str | int | None = None
    source: str | None = None
    idempotency_key: str | None = None
    owner: Owner | None = None


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A process began to drive the execution."""

    owner: Owner


class Dispatched(msgspec.Struct, frozen=True, kw_only=True):
    """Durable before the service is contacted: from here on the step may have happened.

    `url` is None in-process and never holds credentials; `request` holds the redacted step request;
    `effect` is the operation's (`read`, `change`, `destructive`) where the definition is known.
    """

    step_index: int
    id: str
    tool: str
    service: str
    url: str | None = None
    route_reason: str
    dispatch_id: str
    epoch: int = 0
    request_sha256: str
    deadline_at: str | None = None
    request: dict[str, Any] = {}
    operation: str | None = None
    target: str | None = None
    effect: str | None = None
    idempotent: bool | None = None


class StepOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of output while the step runs; `offset` is its first byte's place in `stream`. Optional and bounded."""

    step_index: int
    stream: str
    offset: int
    text: str


class StepFinished(msgspec.Struct, frozen=True, kw_only=True):
    """The one terminal result of a step."""

    result: StepResult


class CancelRequested(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asked for the execution to be cancelled."""

    actor_id: str | int | None = None
    reason: str | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The execution's terminal status. Nothing may follow."""

    status: ExecutionStatus
    counts: ResultCounts
    completed_at: str
    error_message: str | None = None
    error_details: dict[str, Any] | None = None


Record = Accepted | Started | Dispatched | StepOutput | StepFinished | CancelRequested | Finished

TYPES: dict[RecordKind, type[Record]] = {
    RecordKind.ACCEPTED: Accepted,
    RecordKind.STARTED: Started,
    RecordKind.DISPATCHED: Dispatched,
    RecordKind.STEP_OUTPUT: StepOutput,
    RecordKind.STEP_FINISHED: StepFinished,
    RecordKind.CANCEL_REQUESTED: CancelRequested,
    RecordKind.FINISHED: Finished,
}
_KINDS = {record_type: kind for kind, record_type in TYPES.items()}


def kind_of(record: Record) -> RecordKind:
    """The name under which a record is stored."""
    return _KINDS[type(record)]


def body_of(record: Record) -> dict[str, Any]:
    """A record as plain JSON values: the body to append."""
    body: dict[str, Any] = msgspec.to_builtins(record)
    return body


async def write(journal: Journal, execution_id: str, record: Record, *, after: int | None = None) -> JournalRecord:
    """Append a typed record; returns when it is durable. `after` and errors: see `Journal.append`."""
    return await journal.append(execution_id, kind_of(record), body_of(record), after=after)


async def write_all(journal: Journal, execution_id: str, records: Sequence[Record]) -> None:
    """Append typed records with one commit, all or none; returns when they are durable. See `Journal.append_all`."""
    await journal.append_all(execution_id, [(kind_of(record), body_of(record)) for record in records])


def decode(record: JournalRecord) -> Record:
    """Read a stored record back. Raises OpsError(`journal_corrupt`) when its body does not fit its kind."""
    try:
        return msgspec.convert(record.body, TYPES[RecordKind(record.kind)])
    except ValueError as error:  # an unknown kind, or a body of another shape (msgspec.ValidationError)
        raise OpsError(
            "journal_corrupt",
            f"record {record.sequence} of execution {record.execution_id} is not a {record.kind!r} record that this "
            f"version understands: {error}; use the version that wrote it, or restore the journal from a backup",
            execution_id=record.execution_id,
            sequence=record.sequence,
        ) from error
