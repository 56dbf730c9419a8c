"""Makes a repeated `POST /execute-plan` safe at the gateway, with the inbox that every service has.

The key is the caller's `Idempotency-Key`, else the execution id it names. The same key and body again gives the
recorded answer, or `execution_in_progress` while it runs; another body is refused. Nothing is remembered without a key.
"""

from __future__ import annotations

import hashlib

import msgspec

from opsconductor.engine.ports import NewId, Now
from opsconductor.interfaces.ports import Conductor, EventSink, Submission
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.execution import ExecutionStatus
from opsconductor.model.outcome import PlanResponse, ResultCounts
from opsconductor.services.kit.inbox import Inbox
from opsconductor.services.kit.requests import Claim


class Once:
    """Executes submissions, each at most once for its key."""

    def __init__(self, inbox: Inbox, conductor: Conductor, *, now: Now, new_id: NewId) -> None:
        self._inbox, self._conductor, self._now, self._new_id = inbox, conductor, now, new_id

    async def execute(self, submission: Submission, on_event: EventSink | None = None) -> PlanResponse:
        """Execute, or answer as before. Raises OpsError: `execution_in_progress`, `idempotency_key_reused`."""
        key = submission.idempotency_key or submission.execution_id
        if key is None:
            return await self._conductor.execute(submission, on_event=on_event)
        # A plan that is not acceptable does not use up its key.
        await self._conductor.check(submission)
        execution_id = submission.execution_id or self._new_id()
        claim = Claim(
            scope=submission.tenant_id or "",
            key=key,
            execution_id=execution_id,
            epoch=0,
            body_sha256=_digest(submission),
            durable=True,
        )
        recorded = await self._inbox.admit(claim, lost=lambda: self._lost(execution_id))
        if recorded is not None:
            return recorded
        try:
            named = msgspec.structs.replace(submission, execution_id=execution_id)
            response = await self._conductor.execute(named, on_event=on_event)
            await self._inbox.finish(claim, response)
        finally:
            self._inbox.abandon(claim)
        return response

    async def close(self) -> None:
        """Close the inbox."""
        await self._inbox.close()

    def _lost(self, execution_id: str) -> PlanResponse:
        message = (
            "the server ended while it ran this plan, and nothing of it is run again; "
            "`opsconductor executions list` shows how far it came"
        )
        return PlanResponse(
            execution_id=execution_id,
            status=ExecutionStatus.OUTCOME_UNKNOWN,
            result=ResultCounts(total_steps=0, successful_steps=0, failed_steps=0),
            step_results=(),
            completed_at=to_rfc3339(self._now()),
            error_message=message,
            error_details={"code": "outcome_unknown", "retry": "no"},
        )


def _digest(submission: Submission) -> bytes:
    """What makes two requests the same: everything but the key."""
    body = msgspec.structs.replace(submission, idempotency_key=None)
    return hashlib.sha256(msgspec.json.encode(body, order="sorted")).digest()
