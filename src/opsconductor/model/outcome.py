"""Requests to a service and the results it answers with: the `/execute-plan` contract as data.

JSON names are the contract's; see docs/reference/execute-plan.md. The same structures travel in-process and over HTTP.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from opsconductor.model.errors import ErrorInfo, Problem
from opsconductor.model.execution import ExecutionStatus, StepStatus


class StepRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One step as a service receives it: rendered, without templates. `timeout_s` bounds this step alone."""

    tool: str
    id: str = ""
    operation: str | None = None
    inputs: dict[str, Any] = {}
    target: str | None = None
    timeout_s: float | None = None
    env: dict[str, str] = {}
    description: str = ""
    dry_run: bool = False


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a service is asked to do. `deadline_at` is RFC 3339 UTC; `epoch` fences late coordinators."""

    execution_id: str
    steps: tuple[StepRequest, ...]
    tenant_id: str | None = None
    actor_id: str | int | None = None
    idempotency_key: str | None = None
    deadline_at: str | None = None
    epoch: int = 0
    plan_name: str = ""


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """A stored output file."""

    id: str
    name: str
    media_type: str
    size: int
    sha256: str


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one step. `output` always has `stdout`, `stderr` and `exit_code` where a command ran."""

    step_index: int
    id: str
    tool: str
    status: StepStatus
    output: dict[str, Any] = {}
    error: ErrorInfo | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_ms: int = 0
    operation: str | None = None
    target: str | None = None
    service: str | None = None
    route_reason: str | None = None


class ResultCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps there were and how they ended; skipped ones count in the total only."""

    total_steps: int
    successful_steps: int
    failed_steps: int


class PlanResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `/execute-plan`. `status` is terminal; `error_message` names the first step that did not succeed.

    `outputs` (the plan's declared ones; those that have no value are in `output_errors`) and `received` (by the plan's
    receivers) are there when the plan asks for them, and `warnings` when something in it was not acted on.
    """

    execution_id: str
    status: ExecutionStatus
    result: ResultCounts
    step_results: tuple[StepResult, ...]
    completed_at: str
    started_at: str | None = None
    error_message: str | None = None
    error_details: dict[str, Any] | None = None
    plan: str | None = None
    outputs: dict[str, Any] | None = None
    output_errors: dict[str, str] | UnsetType = UNSET
    received: dict[str, Any] | UnsetType = UNSET
    warnings: tuple[Problem, ...] | UnsetType = UNSET


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the event stream: `step.started`, `step.output`, `step.finished`, `plan.finished`.

    `stream` and `text` belong to step.output; `result` to step.finished; `response` to plan.finished.
    """

    event: str
    at: str
    execution_id: str
    step_index: int | None = None
    id: str | None = None
    tool: str | None = None
    stream: str | None = None
    text: str | None = None
    offset: int | None = None
    result: StepResult | None = None
    response: PlanResponse | None = None
