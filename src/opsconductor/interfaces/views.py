"""Executions as the plain data that `--json` and the HTTP API show. Names here are stable (docs/reference)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from opsconductor.engine.replay import ExecutionState, StepState
from opsconductor.store.history import StepLog
from opsconductor.store.history_queries import ExecutionSummary


def execution_row(summary: ExecutionSummary) -> dict[str, Any]:
    """One line of `executions list`."""
    return {
        "execution_id": summary.id,
        "plan": summary.plan_name,
        "status": summary.status,
        "accepted_at": summary.accepted_at,
        "started_at": summary.started_at,
        "completed_at": summary.completed_at,
        "total_steps": summary.steps_total,
        "successful_steps": summary.steps_succeeded,
        "failed_steps": summary.steps_failed,
        "tools": summary.tools,
        "tenant_id": summary.tenant_id,
        "actor_id": summary.actor_id,
        "error_message": summary.error_message,
    }


def execution_view(state: ExecutionState) -> dict[str, Any]:
    """`executions show`: the plan as accepted, every step with its dispatch and result, and the timeline."""
    finished = state.finished
    return {
        "execution_id": state.execution_id,
        "plan": state.accepted.plan_name,
        "status": state.status,
        "accepted_at": state.accepted_at,
        "started_at": state.started_at,
        "completed_at": finished.completed_at if finished else None,
        "error_message": finished.error_message if finished else None,
        "inputs": state.accepted.inputs,
        "tenant_id": state.accepted.tenant_id,
        "actor_id": state.accepted.actor_id,
        "steps": [_step(step) for step in state.steps],
        "timeline": msgspec.to_builtins(state.timeline),
        "document": state.accepted.plan,
    }


def _step(step: StepState) -> dict[str, Any]:
    sent = step.dispatch
    shown: dict[str, Any] = {
        "step_index": step.step_index,
        "id": step.id,
        "tool": step.tool,
        "status": step.status,
        "dispatched_at": step.dispatched_at,
    }
    if sent is not None:
        shown |= {
            "service": sent.service,
            "route_reason": sent.route_reason,
            "dispatch_id": sent.dispatch_id,
            "operation": sent.operation,
            "target": sent.target,
        }
    if step.result is not None:
        shown |= {key: value for key, value in msgspec.to_builtins(step.result).items() if value is not None}
    return shown


def log_entry(log: StepLog) -> Iterator[dict[str, Any]]:
    """What one step printed, one entry for each stream that has something."""
    for stream, text in (("stdout", log.stdout), ("stderr", log.stderr)):
        if text:
            yield {"id": log.id, "tool": log.tool, "stream": stream, "text": text, "truncated": log.truncated}
