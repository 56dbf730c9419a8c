"""What the engine needs from others. Adapters live in store, security, telemetry and services; bootstrap wires them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from opsconductor.model.outcome import Event, PlanRequest, PlanResponse
from opsconductor.model.plan import Receiver

EventSink = Callable[[Event], None]
Now = Callable[[], datetime]
NewId = Callable[[], str]


class ServiceClient(Protocol):
    """A service that executes steps: in this process or over HTTP, the same contract and the same conformance suite."""

    async def execute_plan(self, request: PlanRequest, *, on_event: EventSink | None = None) -> PlanResponse:
        """Execute and wait for the result; events arrive while it runs.

        Raises OpsError: `service_unreachable` (nothing was started), `service_connection_lost` (unknown),
        `service_answer_invalid`, or the code of the service's problem+json answer.
        """
        ...

    async def cancel(self, execution_id: str) -> bool:
        """Ask for cancellation; True when the service knew the execution as running."""
        ...

    async def tools(self) -> list[dict[str, Any]]:
        """What the service can execute, and for what it cannot the reason (`GET /tools`)."""
        ...

    async def ready(self) -> dict[str, Any]:
        """`{"ready": bool, "missing": [...]}` (`GET /ready`). Raises OpsError(`service_unreachable`)."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


ClientFor = Callable[[str, str | None], ServiceClient]
"""(service name, URL or None for in-process) → its client; the same client every time."""


class JournalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. `sequence` starts at 1 for each execution; `hash` chains it to the record before."""

    execution_id: str
    sequence: int
    at: str
    kind: str
    body: dict[str, Any]
    hash: str = ""


Entry = tuple[str, Mapping[str, Any]]
"""Kind and body of a record to append."""


class Journal(Protocol):
    """The append-only truth. An append that returned is on disk (fsync); one that raised left nothing."""

    async def append(
        self, execution_id: str, kind: str, body: Mapping[str, Any], *, after: int | None = None
    ) -> JournalRecord:
        """Append one record durably. Kinds and bodies: `engine.records`.

        `after` is the sequence that must be the last one (0: a new execution); None goes on from the last this journal
        object wrote or found. Raises OpsError: `journal_unavailable` (nothing was written), `epoch_stale` (another
        writer was there first), `transition_illegal` (nothing follows `finished`; only `accepted` comes first, once).
        """
        ...

    async def append_all(
        self, execution_id: str, entries: Sequence[Entry], *, after: int | None = None
    ) -> Sequence[JournalRecord]:
        """Append several records of one execution in their order with one commit: all of them, or none.

        `after` and errors: see `append`; an error of one entry refuses all. At least one entry.
        """
        ...

    async def read(self, execution_id: str) -> Sequence[JournalRecord]:
        """All records of one execution in order, chain verified. Raises OpsError(`not_found`, `journal_corrupt`)."""
        ...

    async def unfinished(self) -> Sequence[str]:
        """Ids of executions that were accepted and have no `finished` record, oldest first."""
        ...

    async def close(self) -> None:
        """Write what is queued and close."""
        ...


class Telemetry(Protocol):
    """Logs and counters the engine emits."""

    def routed(self, tool: str, service: str, reason: str) -> None:
        """A step was routed; a reason that starts with `fallback:` is a warning and a counter."""
        ...

    def step_finished(self, service: str, tool: str, status: str, duration_s: float) -> None:
        """A step reached a terminal state."""
        ...


class ReceiverHost(Protocol):
    """Receivers on loopback that a plan may ask for (embedded mode only); one host for one execution."""

    async def start(self, receivers: Mapping[str, Receiver]) -> dict[str, dict[str, Any]]:
        """Start them; what templates see as `receivers.<name>` (`url`, or `host` and `port`). Raises OpsError."""
        ...

    async def stop(self) -> dict[str, Any]:
        """Stop them, also when `start` failed half-way; what each received, by name, as plain JSON."""
        ...
