"""From a journal record to the rows of the derived tables: pure, called when a record is appended and by `rebuild`.

The derived tables answer "which executions were there" quickly; what happened in one is always read from its records.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from opsconductor.engine.records import Accepted, Finished, RecordKind
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import SUCCESS, ExecutionStatus, StepStatus
from opsconductor.model.names import canonical

Change = tuple[str, tuple[Any, ...]]
"""One statement and its parameters."""

INSERT_EXECUTION = """INSERT OR REPLACE INTO executions (id, plan_name, status, accepted_at, steps_total, tools,
 tenant_id, actor_id, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_TOOL = "INSERT OR IGNORE INTO execution_tools (tool, accepted_at, execution_id) VALUES (?, ?, ?)"
START_EXECUTION = "UPDATE executions SET status = ?, started_at = coalesce(started_at, ?) WHERE id = ?"
COUNT_STEP = "UPDATE executions SET steps_succeeded = steps_succeeded + ?, steps_failed = steps_failed + ? WHERE id = ?"
FINISH_EXECUTION = """UPDATE executions SET status = ?, completed_at = ?, error_message = ?,
 steps_succeeded = ?, steps_failed = ? WHERE id = ?"""

STATEMENTS = (INSERT_EXECUTION, INSERT_TOOL, START_EXECUTION, COUNT_STEP, FINISH_EXECUTION)
"""In the order in which they must run within one batch: an execution is there before it is changed."""

_MAX_TOOLS_TEXT = 8


def changes(execution_id: str, kind: str, at: str, body: Mapping[str, Any]) -> Sequence[Change]:
    """What a record changes in the derived tables. Raises OpsError(`internal_error`) for a body of another shape."""
    derive = _DERIVE.get(kind)
    if derive is None:
        return ()
    try:
        return [(statement, tuple(map(_bindable, values))) for statement, values in derive(execution_id, at, body)]
    except (KeyError, TypeError, ValueError) as error:
        raise OpsError(
            "internal_error",
            f"a {kind!r} record of execution {execution_id} does not have the shape of engine.records: {error!r}",
            execution_id=execution_id,
        ) from error


def tools_text(tools: Sequence[str]) -> str:
    """The tools of a plan for a list: `df ×3, ping`; beyond eight different ones only how many more."""
    counted = Counter(tools)
    shown = [tool if count == 1 else f"{tool} ×{count}" for tool, count in list(counted.items())[:_MAX_TOOLS_TEXT]]
    more = len(counted) - _MAX_TOOLS_TEXT
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")


def _bindable(value: Any) -> Any:
    """SQLite refuses text that UTF-8 cannot hold, and would fail the whole batch; the body keeps '?' there too."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _accepted(execution_id: str, at: str, body: Mapping[str, Any]) -> list[Change]:
    record = msgspec.convert(body, Accepted)
    tools = [step.tool for step in record.steps]
    row = (
        execution_id,
        record.plan_name,
        ExecutionStatus.QUEUED.value,
        at,
        len(tools),
        tools_text(tools),
        record.tenant_id,
        None if record.actor_id is None else json.dumps(record.actor_id, ensure_ascii=False),
        record.source,
    )
    names = dict.fromkeys(canonical(tool) for tool in tools)
    return [(INSERT_EXECUTION, row), *((INSERT_TOOL, (name, at, execution_id)) for name in names)]


def _started(execution_id: str, at: str, body: Mapping[str, Any]) -> list[Change]:
    return [(START_EXECUTION, (ExecutionStatus.RUNNING.value, at, execution_id))]


def _step_finished(execution_id: str, at: str, body: Mapping[str, Any]) -> list[Change]:
    status = StepStatus(body["result"]["status"])
    if status is StepStatus.SKIPPED:
        return []
    succeeded = status in SUCCESS
    return [(COUNT_STEP, (int(succeeded), int(not succeeded), execution_id))]


def _finished(execution_id: str, at: str, body: Mapping[str, Any]) -> list[Change]:
    record = msgspec.convert(body, Finished)
    row = (
        record.status.value,
        record.completed_at,
        record.error_message,
        record.counts.successful_steps,
        record.counts.failed_steps,
        execution_id,
    )
    return [(FINISH_EXECUTION, row)]


_DERIVE: dict[str, Callable[[str, str, Mapping[str, Any]], list[Change]]] = {
    RecordKind.ACCEPTED: _accepted,
    RecordKind.STARTED: _started,
    RecordKind.STEP_FINISHED: _step_finished,
    RecordKind.FINISHED: _finished,
}
