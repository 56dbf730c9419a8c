"""What a request must be before anything of it is looked at, and what makes two requests the same. Pure.

Called by `Service.execute_plan`, whether the request came over HTTP or from this process.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from datetime import datetime

import msgspec

from opsconductor.model.clock import from_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import PlanRequest, StepRequest

_EXECUTION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
MAX_KEY_CHARS = 512


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the inbox knows a request by. `durable`: some step must not run twice, so the claim goes to disk first."""

    scope: str
    key: str
    execution_id: str
    epoch: int
    body_sha256: bytes
    durable: bool


def _checked_step(index: int, step: StepRequest) -> StepRequest:
    limit = step.timeout_s
    if limit is not None and not (math.isfinite(limit) and limit > 0):
        raise OpsError(
            "request_invalid",
            f"step {index + 1}: timeout_s is {limit}, expected a number of seconds above 0",
            field=f"steps.{index}.timeout_s",
        )
    return step if step.id else msgspec.structs.replace(step, id=f"step_{index + 1}")


def checked_request(request: PlanRequest, *, max_steps: int) -> PlanRequest:
    """The request with an id in every step (`step_<n>`, n from 1).

    Raises OpsError(`request_invalid`, `plan_empty`, `plan_too_large`): nothing was started and nothing is remembered.
    """
    if not _EXECUTION_ID.fullmatch(request.execution_id):
        raise OpsError(
            "request_invalid",
            f"execution_id: found {request.execution_id[:140]!r}, expected 1 to 128 of A-Z a-z 0-9 . _ -",
            field="execution_id",
        )
    if not request.steps:
        raise OpsError("plan_empty", "the plan has no steps; expected at least one", field="steps")
    if len(request.steps) > max_steps:
        raise OpsError(
            "plan_too_large", f"the plan has {len(request.steps)} steps, at most {max_steps} are taken", field="steps"
        )
    if request.idempotency_key is not None and not 1 <= len(request.idempotency_key) <= MAX_KEY_CHARS:
        raise OpsError(
            "request_invalid",
            f"idempotency_key: found {len(request.idempotency_key)} characters, expected 1 to {MAX_KEY_CHARS}",
            field="idempotency_key",
        )
    return msgspec.structs.replace(
        request, steps=tuple(_checked_step(index, step) for index, step in enumerate(request.steps))
    )


def remaining_s(request: PlanRequest, now: Callable[[], datetime]) -> float:
    """Seconds until the request's deadline, below zero when it is past, infinite without one.

    Raises OpsError(`request_invalid`) for a deadline that is not an RFC 3339 time with an offset.
    """
    if request.deadline_at is None:
        return math.inf
    try:
        return (from_rfc3339(request.deadline_at) - now()).total_seconds()
    except ValueError as error:
        raise OpsError(
            "request_invalid",
            f"deadline_at: found {request.deadline_at[:60]!r}, expected a time such as 2026-01-02T03:04:05Z",
            field="deadline_at",
        ) from error


def claim_for(request: PlanRequest, *, durable: bool) -> Claim:
    """The claim of a checked request.

    The key is the caller's, else the execution and its step ids. Epoch and deadline are not part of the body:
    the same work asked for again later, or by another coordinator, is the same work.

    Raises OpsError(`request_invalid`) for what is not plain JSON.
    """
    body = (request.execution_id, request.tenant_id, request.actor_id, request.plan_name, request.steps)
    try:
        encoded = msgspec.json.encode(body, order="deterministic")
    except (TypeError, ValueError, RecursionError) as error:
        raise OpsError("request_invalid", f"steps: expected plain JSON data in valid UTF-8: {error}") from error
    key = request.idempotency_key or _derived_key(request)
    return Claim(
        scope=request.tenant_id or "",
        key=key,
        execution_id=request.execution_id,
        epoch=request.epoch,
        body_sha256=hashlib.sha256(encoded).digest(),
        durable=durable,
    )


def _derived_key(request: PlanRequest) -> str:
    ids = "\n".join(step.id for step in request.steps)
    return f"{request.execution_id}/{hashlib.sha256(ids.encode('utf-8', 'replace')).hexdigest()}"
