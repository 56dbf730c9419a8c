"""What a person reads after a plan or a tool, and from the record of one; and the exit code that goes with it."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import msgspec

from opsconductor.interfaces.cli.output import print_json, safe_text, say, show
from opsconductor.model.errors import (
    ERRORS,
    EXIT_APPROVAL,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_UNKNOWN,
    EXIT_UNREACHABLE,
)
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.outcome import PlanResponse, StepResult

MARKS = {
    StepStatus.COMPLETED: ("✓", "green"),
    StepStatus.SKIPPED: ("–", "dim"),
    StepStatus.OUTCOME_UNKNOWN: ("?", "magenta"),
    StepStatus.CANCELLED: ("■", "yellow"),
}
_BAD = ("✗", "red")
_NOT_NEEDED = "not needed: its condition is false"


def exit_code(response: PlanResponse) -> int:
    """The command line's exit code for a result (docs/reference/errors.md)."""
    fixed = {
        ExecutionStatus.COMPLETED: EXIT_OK,
        ExecutionStatus.OUTCOME_UNKNOWN: EXIT_UNKNOWN,
        ExecutionStatus.CANCELLED: EXIT_INTERRUPTED,
        ExecutionStatus.PENDING_APPROVAL: EXIT_APPROVAL,
    }
    if response.status in fixed:
        return fixed[response.status]
    errors = [step.error for step in response.step_results if step.error and step.status is not StepStatus.SKIPPED]
    if errors and all(error.code in ERRORS and ERRORS[error.code].exit_code == EXIT_UNREACHABLE for error in errors):
        return EXIT_UNREACHABLE
    return EXIT_FAILED


def step_line(step: StepResult) -> tuple[str, str]:
    """One line about a finished step, and its colour."""
    if step.status is StepStatus.SKIPPED:
        why = step.error.message if step.error else _NOT_NEEDED
    else:
        why = f"{step.error.message} [{step.error.code}]" if step.error else ""
    return _line(step.status, step, why)


def recorded_step_line(step: dict[str, Any]) -> tuple[str, str]:
    """The same line from a step of an execution's record, which may not have ended."""
    fields = ("id", "tool", "target", "service", "route_reason", "duration_ms")
    found = SimpleNamespace(**{name: step.get(name) for name in fields})
    error = step.get("error")
    if step["status"] == StepStatus.SKIPPED:
        return _line(step["status"], found, error["message"] if error else _NOT_NEEDED)
    return _line(step["status"], found, f"{error['message']} [{error['code']}]" if error else "")


def _line(status: str, step: Any, why: str) -> tuple[str, str]:
    mark, colour = MARKS.get(StepStatus(status), _BAD)
    if status == StepStatus.SKIPPED:
        return safe_text(f"{mark} {step.id:<14} {step.tool} · {why}"), colour
    where = f" on {step.target}" if step.target else ""
    fallback = f" [{step.route_reason}]" if step.route_reason and step.route_reason != "metadata" else ""
    took = f" · {step.duration_ms} ms" if step.duration_ms is not None else ""
    text = f"{mark} {step.id:<14} {step.tool}{where} · {step.service or '?'}{fallback}{took}"
    return safe_text(text + (f"\n    {status}: {why}" if why else "")), colour


def show_response(response: PlanResponse) -> None:
    """The result of a plan on stdout: its outputs, then one line that says how it ended."""
    outputs = response.outputs or {}
    if outputs:
        width = max(len(name) for name in outputs)
        show("\nFindings", "bold")
        for name, value in outputs.items():
            shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            shown = "not known" if value is None else shown
            lines = shown.rstrip("\n").split("\n")
            show(f"  {name.replace('_', ' '):<{width}}  {lines[0]}", indent=width + 4)
            for line in lines[1:]:
                show(f"  {'':<{width}}  {line}", indent=width + 4)
    counts = response.result
    style = "bold green" if response.status is ExecutionStatus.COMPLETED else "bold red"
    skipped = counts.total_steps - counts.successful_steps - counts.failed_steps
    rest = f", {counts.failed_steps} failed" if counts.failed_steps else ""
    rest += f", {skipped} not run" if skipped else ""
    name = f"{response.plan}: " if response.plan else ""
    ended = f"{response.status} — {counts.successful_steps} of {counts.total_steps} steps completed{rest}"
    show(f"\n{name}{ended}", style)
    if response.error_message:
        show(f"  {response.error_message}", indent=2)
    show(f"  opsconductor executions show {response.execution_id}", "dim")


def show_tool_result(response: PlanResponse) -> None:
    """What `exec` shows: the program's own output where it is one, else its data; errors on stderr."""
    many = len(response.step_results) > 1
    for step in response.step_results:
        if many:
            say(step_line(step)[0])
        _write(sys.stdout, step.output.get("stdout"))
        _write(sys.stderr, step.output.get("stderr"))
        if "stdout" not in step.output and step.output.get("data") is not None:
            print_json(step.output["data"])
        if step.output.get("truncated"):
            say(_about_the_cut(step.output))
        if step.error and not many:
            say(f"{step.status}: {step.error.message} [{step.error.code}]")
    told = {step.error.message for step in response.step_results if step.error}
    if response.error_message and not any(message in response.error_message for message in told):
        say(f"{response.status}: {response.error_message}")


def _about_the_cut(output: dict[str, Any]) -> str:
    """How much there was, and what became of the part that is not shown."""
    total = " and ".join(f"{output[f'{name}_bytes']} bytes of {name}" for name in ("stdout", "stderr"))
    if lost := output.get("artifact_error"):
        return f"output was cut: {total} in all, and the whole could not be kept: {lost}"
    return f"output was cut: {total} in all; the whole is an artifact of this execution"


def _write(stream: Any, text: str | None) -> None:
    if not text:
        return
    shown = safe_text(text) if stream.isatty() else text
    stream.write(shown if shown.endswith("\n") else shown + "\n")
    stream.flush()
