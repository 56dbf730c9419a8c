"""What the tests of the Linux tools say about a step's result."""

from __future__ import annotations

from typing import Any

from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult


def data(result: StepResult) -> Any:
    """The data of a step that succeeded."""
    assert result.status is StepStatus.COMPLETED, result
    assert "parse_error" not in result.output, result.output["parse_error"]
    return result.output["data"]


def says(result: StepResult, words: str) -> None:
    """The step failed and shows the program's own words."""
    assert (result.status, result.error and result.error.code) == (StepStatus.FAILED, "command_failed"), result
    assert words in result.output["stderr"]
    assert result.error is not None
    assert result.output["stderr"].splitlines()[-1].strip() in result.error.message


def refused(result: StepResult, code: str = "option_like_argument") -> None:
    """The step failed before anything was started."""
    assert (result.status, result.error and result.error.code) == (StepStatus.FAILED, code), result
    assert "stdout" not in result.output
