"""Reading asset-service's answer about a target."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.model.errors import ErrorInfo, OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from opsconductor.services.asset.targets import target_of_answer


def answer(**fields: Any) -> StepResult:
    """A step result of `resolve`."""
    return StepResult(**{"step_index": 0, "id": "r", "tool": "asset-query", "status": StepStatus.FAILED, **fields})


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("target_unknown", "target_unknown"),
        ("input_invalid", "target_unknown"),
        ("database_unavailable", "database_unavailable"),
        ("a_code_of_tomorrow", "service_answer_invalid"),
    ],
)
def test_an_error_keeps_its_meaning(given: str, code: str) -> None:
    error = ErrorInfo(code=given, message="why", context={"nearest": ["web-1"], "problems": [], "target": "x"})
    with pytest.raises(OpsError, match="why") as caught:
        target_of_answer("web-9", answer(error=error))
    assert (caught.value.code, caught.value.context["target"]) == (code, "web-9")


@pytest.mark.parametrize(
    "output", [{}, {"data": None}, {"data": {}}, {"data": {"target": {"kind": "moon", "name": "x"}}}]
)
def test_an_answer_without_a_target_is_not_a_target(output: dict[str, Any]) -> None:
    with pytest.raises(OpsError) as caught:
        target_of_answer("web-9", answer(status=StepStatus.COMPLETED, output=output))
    assert caught.value.code == "service_answer_invalid"
