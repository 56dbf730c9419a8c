"""Answers in the words that clients know which do not send `OpsConductor-Version`. Pure.

They know completed, failed, skipped, cancelled and timeout of a step. What they do not know is sent as the nearest word
that is not a success, and the error's code tells the truth.
"""

from __future__ import annotations

from typing import Any

import msgspec

from opsconductor.model.errors import ErrorInfo, Retry
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.outcome import Event, PlanResponse, StepResult

_STEP_WORDS = {
    StepStatus.OUTCOME_UNKNOWN: (StepStatus.TIMEOUT, "outcome_unknown"),
    StepStatus.UNREACHABLE: (StepStatus.FAILED, "target_unreachable"),
}


def for_older_client(response: PlanResponse) -> PlanResponse:
    """The same answer without `outcome_unknown` and `unreachable`."""
    if response.status is ExecutionStatus.OUTCOME_UNKNOWN:
        details = _truthful(response.error_details or {})
        response = msgspec.structs.replace(response, status=ExecutionStatus.TIMEOUT, error_details=details)
    if any(step.status in _STEP_WORDS for step in response.step_results):
        results = tuple(map(_older_step, response.step_results))
        response = msgspec.structs.replace(response, step_results=results)
    return response


def event_for_older_client(event: Event) -> Event:
    """The same event without the newer statuses."""
    if event.result is not None and event.result.status in _STEP_WORDS:
        return msgspec.structs.replace(event, result=_older_step(event.result))
    if event.response is not None:
        return msgspec.structs.replace(event, response=for_older_client(event.response))
    return event


def _truthful(details: dict[str, Any]) -> dict[str, Any]:
    cause = details.get("code")
    more = {} if cause in (None, "outcome_unknown") else {"cause": cause}
    return {**details, "code": "outcome_unknown", **more}


def _older_step(step: StepResult) -> StepResult:
    if step.status not in _STEP_WORDS:
        return step
    word, code = _STEP_WORDS[step.status]
    error = step.error or ErrorInfo(code=code, message=f"the step is {step.status.value}", retry=Retry.UNKNOWN)
    error = msgspec.structs.replace(error, context={**error.context, "status": step.status.value})
    return msgspec.structs.replace(step, status=word, error=error)
