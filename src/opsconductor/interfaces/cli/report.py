"""What a person reads after a plan, a tool or an explanation; and the exit code that goes with it."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from opsconductor.interfaces.cli.output import print_json, safe_text, say, show, table
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
    mark, colour = MARKS.get(step.status, _BAD)
    if step.status is StepStatus.SKIPPED:
        why = f"not run: {step.error.message}" if step.error else "not needed: its condition is false"
        return safe_text(f"{mark} {step.id:<14} {step.tool} · {why}"), colour
    where = f" on {step.target}" if step.target else ""
    fallback = f" [{step.route_reason}]" if step.route_reason and step.route_reason != "metadata" else ""
    text = f"{mark} {step.id:<14} {step.tool}{where} · {step.service or '?'}{fallback} · {step.duration_ms} ms"
    if step.error:
        text += f"\n    {step.status}: {step.error.message} [{step.error.code}]"
    return safe_text(text), colour


def show_response(response: PlanResponse) -> None:
    """The result of a plan on stdout: its outputs, then one line that says how it ended."""
    outputs = response.outputs or {}
    if outputs:
        width = max(len(name) for name in outputs)
        show("\nFindings", "bold")
        for name, value in outputs.items():
            shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            lines = safe_text(shown).rstrip("\n").split("\n")
            show(f"  {name.replace('_', ' '):<{width}}  {lines[0]}")
            for line in lines[1:]:
                show(f"  {'':<{width}}  {line}")
    counts = response.result
    style = "bold green" if response.status is ExecutionStatus.COMPLETED else "bold red"
    skipped = counts.total_steps - counts.successful_steps - counts.failed_steps
    rest = f", {counts.failed_steps} failed" if counts.failed_steps else ""
    rest += f", {skipped} not run" if skipped else ""
    name = f"{response.plan}: " if response.plan else ""
    ended = f"{response.status} — {counts.successful_steps} of {counts.total_steps} steps completed{rest}"
    show(f"\n{safe_text(name)}{ended}", style)
    if response.error_message:
        show(f"  {safe_text(response.error_message)}")
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


def show_explanation(explanation: dict[str, Any]) -> None:
    """What a plan would do, one row a step."""
    click.echo(safe_text(f"{explanation['plan']}"))
    rows = []
    for step in explanation["steps"]:
        command = step.get("argv")
        rows.append(
            [
                step["id"],
                step["tool"] + (f" {step['operation']}" if step.get("operation") else ""),
                f"{step['service']} ({step['route_reason']})"
                if step["route_reason"] != "metadata"
                else step["service"],
                step.get("target") or "",
                step.get("effect") or "",
                ", ".join(step.get("depends_on") or []),
                " ".join(command) if command else "",
            ]
        )
    table(None, ["step", "tool", "service", "target", "effect", "after", "command"], rows)
