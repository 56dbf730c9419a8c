"""What a service answered, checked against the contract before anyone believes it. Pure; used by `http_client`.

An answer that cannot be right is `service_answer_invalid`: whether the work was done is then unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from opsconductor.model.errors import ERRORS, ErrorInfo, OpsError, Problem
from opsconductor.model.execution import SUCCESS, ExecutionStatus, StepStatus, is_terminal
from opsconductor.model.outcome import Event, PlanRequest, PlanResponse, ResultCounts, StepResult

T = TypeVar("T")
_EXCERPT_BYTES = 200


class _LooseStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step result of a service that follows the contract and leaves out what it says nothing about."""

    status: StepStatus
    step_index: int
    id: str = ""
    tool: str = ""
    output: dict[str, Any] | None = None
    error: ErrorInfo | str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_ms: int | float | None = None
    operation: str | None = None
    target: str | None = None


class _LooseResponse(msgspec.Struct, frozen=True, kw_only=True):
    execution_id: str
    status: ExecutionStatus
    step_results: tuple[_LooseStep, ...]
    completed_at: str | None = None
    started_at: str | None = None
    error_message: str | None = None
    error_details: dict[str, Any] | None = None


class _ProblemAnswer(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    detail: str = ""
    problems: tuple[Problem, ...] = ()
    context: dict[str, Any] = {}


class ProblemLine(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of a stream that has no result."""

    problem: _ProblemAnswer


_RESPONSE = msgspec.json.Decoder(PlanResponse)
_LOOSE_RESPONSE = msgspec.json.Decoder(_LooseResponse)
_EVENT = msgspec.json.Decoder(Event)
_PROBLEM_LINE = msgspec.json.Decoder(ProblemLine)


def decode_plan_response(body: bytes, request: PlanRequest, peer: str) -> PlanResponse:
    """The answer to `request`. Raises OpsError(`service_answer_invalid`)."""
    try:
        response = _RESPONSE.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        response = _completed(_decoded(_LOOSE_RESPONSE, body, peer), request)
    check_plan_response(response, request, peer)
    return response


def decode_event(line: bytes, request: PlanRequest, peer: str) -> Event:
    """One line of the stream. Raises OpsError: `service_answer_invalid`, or the code of a `problem` line."""
    event = _decoded(_EVENT, line, peer) if not line.startswith(b'{"event":"problem"') else None
    if event is None or event.event == "problem":
        raise problem_error(_decoded(_PROBLEM_LINE, line, peer).problem, peer)
    if event.execution_id != request.execution_id:
        raise invalid(peer, f"an event of execution {event.execution_id[:128]!r}", line)
    if event.event == "plan.finished":
        if event.response is None:
            raise invalid(peer, "plan.finished without a response", line)
        check_plan_response(event.response, request, peer)
    return event


def check_plan_response(response: PlanResponse, request: PlanRequest, peer: str) -> None:
    """Whether the answer is about this request and every step has exactly one terminal result."""
    if response.execution_id != request.execution_id:
        raise invalid(peer, f"the answer is about execution {response.execution_id[:128]!r}")
    if not is_terminal(response.status):
        raise invalid(peer, f"the execution is {response.status}, which is not an end")
    indices = [step.step_index for step in response.step_results]
    if sorted(indices) != list(range(len(request.steps))):
        raise invalid(peer, f"{len(request.steps)} steps were sent, and the answer has results of steps {indices[:20]}")
    open_steps = [step.step_index for step in response.step_results if not is_terminal(step.status)]
    if open_steps:
        raise invalid(peer, f"steps {open_steps[:20]} have a status that is not an end")


def decode_problem(body: bytes, peer: str) -> OpsError:
    """The error of a problem+json answer; one whose code is not in our table is `service_answer_invalid`."""
    return problem_error(_decoded(msgspec.json.Decoder(_ProblemAnswer), body, peer), peer)


def problem_error(problem: _ProblemAnswer, peer: str) -> OpsError:
    """A peer's problem as our error."""
    if problem.code not in ERRORS:
        return invalid(peer, f"an error with the code {problem.code[:64]!r}, which is not in the contract")
    error = OpsError(problem.code, problem.detail[:4000], problems=problem.problems)
    error.context.update(problem.context, peer=peer)  # its keys are the peer's, so they are no keyword arguments
    return error


def invalid(peer: str, found: str, body: bytes = b"") -> OpsError:
    """`service_answer_invalid` with what was found and a short excerpt."""
    context: dict[str, Any] = {"excerpt": excerpt(body)} if body else {}
    return OpsError(
        "service_answer_invalid",
        f"{peer} answered, but not by the contract: {found}; whether the steps ran is unknown."
        " Check that the URL is an OpsConductor service of a fitting version",
        peer=peer,
        **context,
    )


def excerpt(body: bytes) -> str:
    """The beginning of an answer, in printable ASCII."""
    text = body[:_EXCERPT_BYTES].decode("utf-8", "replace")
    shown = text.encode("unicode_escape").decode("ascii")
    return shown if len(body) <= _EXCERPT_BYTES else f"{shown}… ({len(body)} bytes)"


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, peer: str) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise invalid(peer, str(error), body) from error
    except RecursionError as error:
        raise invalid(peer, "JSON that nests too deep", body) from error


def _completed(loose: _LooseResponse, request: PlanRequest) -> PlanResponse:
    steps = tuple(_completed_step(step, request) for step in loose.step_results)
    return PlanResponse(
        execution_id=loose.execution_id,
        status=loose.status,
        result=_counts(steps),
        step_results=steps,
        started_at=loose.started_at,
        completed_at=loose.completed_at or "",
        error_message=loose.error_message,
        error_details=loose.error_details,
    )


def _completed_step(step: _LooseStep, request: PlanRequest) -> StepResult:
    asked = request.steps[step.step_index] if 0 <= step.step_index < len(request.steps) else None
    error = ErrorInfo(code="command_failed", message=step.error) if isinstance(step.error, str) else step.error
    return StepResult(
        step_index=step.step_index,
        id=step.id or (asked.id if asked else ""),
        tool=step.tool or (asked.tool if asked else ""),
        status=step.status,
        output=step.output or {},
        error=error,
        started_at=step.started_at,
        completed_at=step.completed_at,
        duration_ms=round(step.duration_ms or 0),
        operation=step.operation,
        target=step.target,
    )


def _counts(steps: Sequence[StepResult]) -> ResultCounts:
    good = sum(step.status in SUCCESS for step in steps)
    skipped = sum(step.status is StepStatus.SKIPPED for step in steps)
    return ResultCounts(total_steps=len(steps), successful_steps=good, failed_steps=len(steps) - good - skipped)
