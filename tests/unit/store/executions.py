"""Executions as the coordinator records them, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opsconductor.engine.ports import Journal
from opsconductor.engine.records import (
    Accepted,
    Dispatched,
    Finished,
    Owner,
    PlannedStep,
    Started,
    StepFinished,
    write,
)
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.outcome import ResultCounts, StepResult

OWNER = Owner(pid=4711, start_ticks=99, boot_id="boot", host="here", pid_namespace="pid:[1]")
AT = "2026-01-02T03:04:05.000000Z"


def accepted(*tools: str, name: str = "disk check", owner: Owner | None = OWNER, **more: Any) -> Accepted:
    """An accepted plan with one step for each tool; the steps' ids are s0, s1, …"""
    steps = tuple(PlannedStep(id=f"s{index}", tool=tool) for index, tool in enumerate(tools))
    plan = {"name": name, "steps": [{"tool": tool} for tool in tools]}
    return Accepted(**{"plan": plan, "plan_name": name, "steps": steps, "owner": owner, **more})


def dispatched(index: int, tool: str) -> Dispatched:
    """A dispatch of step `index`."""
    return Dispatched(
        step_index=index,
        id=f"s{index}",
        tool=tool,
        service="automation-service",
        route_reason="metadata",
        dispatch_id=f"d{index}",
        request_sha256="00",
        operation="run",
        target="local",
        effect="read",
    )


def result(index: int, tool: str, status: StepStatus, **output: Any) -> StepFinished:
    """A result of step `index`."""
    return StepFinished(
        result=StepResult(step_index=index, id=f"s{index}", tool=tool, status=status, output=output, completed_at=AT)
    )


def finished(status: ExecutionStatus, total: int, good: int, bad: int, message: str | None = None) -> Finished:
    """The end of an execution."""
    counts = ResultCounts(total_steps=total, successful_steps=good, failed_steps=bad)
    return Finished(status=status, counts=counts, completed_at=AT, error_message=message)


async def run(
    journal: Journal, execution_id: str, tools: Sequence[str], statuses: Sequence[StepStatus], **more: Any
) -> None:
    """Record a whole execution whose steps end with `statuses`."""
    await write(journal, execution_id, accepted(*tools, **more))
    await write(journal, execution_id, Started(owner=OWNER))
    for index, (tool, status) in enumerate(zip(tools, statuses, strict=True)):
        await write(journal, execution_id, dispatched(index, tool))
        await write(
            journal, execution_id, result(index, tool, status, stdout=f"out of {tool}\n", stderr="", exit_code=0)
        )
    good = sum(status is StepStatus.COMPLETED for status in statuses)
    bad = len(statuses) - good
    end = ExecutionStatus.FAILED if bad else ExecutionStatus.COMPLETED
    await write(journal, execution_id, finished(end, len(tools), good, bad, "step failed: disk full" if bad else None))
