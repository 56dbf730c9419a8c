"""Values typed on the command line, text shown on a terminal, and exit codes."""

from __future__ import annotations

from typing import Any

import click
import pytest

from opsconductor.interfaces.cli.output import safe_text
from opsconductor.interfaces.cli.report import exit_code
from opsconductor.interfaces.cli.values import parse_pairs
from opsconductor.model.errors import ErrorInfo
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.outcome import PlanResponse, ResultCounts, StepResult


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["path=/var"], {"path": "/var"}),
        (["a=1", "a=2", "a=3"], {"a": ["1", "2", "3"]}),
        (["text=x=y"], {"text": "x=y"}),
        (["empty="], {"empty": ""}),
        (['list=["a","b"]'], {"list": ["a", "b"]}),
        (["glob=[ab]*"], {"glob": "[ab]*"}),
        (["n:=5", "t:=true", "s:=null"], {"n": 5, "t": True, "s": None}),
    ],
)
def test_pairs(words: list[str], values: dict[str, Any]) -> None:
    assert parse_pairs(words) == values


@pytest.mark.parametrize("word", ["path", "=x", "n:=five"])
def test_words_that_are_no_pair_are_a_usage_error(word: str) -> None:
    with pytest.raises(click.UsageError, match="expected"):
        parse_pairs([word])


@pytest.mark.parametrize("hostile", ["\x1b]0;pwned\x07", "\x1b[2J", "\x9b31m", "a\rb", "\u202etxt", "\x7f"])
def test_text_is_shown_and_not_obeyed(hostile: str) -> None:
    shown = safe_text(f"x{hostile}\ty\n")
    assert all(char.isprintable() or char in "\t\n" for char in shown)
    assert shown.startswith("x")
    assert shown.endswith("\ty\n")


def response(status: ExecutionStatus, *codes: str) -> PlanResponse:
    steps = tuple(
        StepResult(
            step_index=index, id=str(index), tool="x", status=StepStatus.FAILED, error=ErrorInfo(code=code, message="m")
        )
        for index, code in enumerate(codes)
    )
    counts = ResultCounts(total_steps=len(steps), successful_steps=0, failed_steps=len(steps))
    return PlanResponse(
        execution_id="e", status=status, result=counts, step_results=steps, completed_at="2026-01-01T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (response(ExecutionStatus.COMPLETED), 0),
        (response(ExecutionStatus.FAILED, "command_failed"), 1),
        (response(ExecutionStatus.PARTIAL, "command_failed"), 1),
        (response(ExecutionStatus.TIMEOUT, "command_timeout"), 1),
        (response(ExecutionStatus.FAILED, "service_unreachable"), 5),
        (response(ExecutionStatus.FAILED, "service_unreachable", "command_failed"), 1),
        (response(ExecutionStatus.OUTCOME_UNKNOWN), 4),
        (response(ExecutionStatus.CANCELLED), 130),
    ],
)
def test_exit_codes(found: PlanResponse, code: int) -> None:
    assert exit_code(found) == code
