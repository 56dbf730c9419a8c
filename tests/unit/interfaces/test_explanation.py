"""What `explain` prints for people."""

import pytest

from opsconductor.interfaces.cli.explanation import show_explanation

STEP = {
    "id": "disk",
    "tool": "df",
    "operation": "usage",
    "service": "automation-service",
    "route_reason": "metadata",
    "target": "local",
    "effect": "read",
    "depends_on": [],
    "when": None,
    "for_each": None,
    "argv": ["df", "--", "/my files"],
    "error": None,
}


def test_a_step_shows_who_runs_it_where_and_the_command_that_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    show_explanation({"plan": "look", "steps": [STEP]})
    assert capsys.readouterr().out.splitlines() == [
        "look · 1 step",
        "  disk  df usage · automation-service · on local · read",
        "        $ df -- '/my files'",
    ]


def test_conditions_fallbacks_and_what_would_fail_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": "tool_not_found", "message": "no tool 'x'"}
    changed = {"when": "{{ a > 1 }}", "for_each": [1, 2], "route_reason": "fallback:unknown_tool"}
    show_explanation({"plan": None, "steps": [{**STEP, **changed, "depends_on": ["a"], "argv": None, "error": error}]})
    out = capsys.readouterr().out
    assert (
        "automation-service (fallback:unknown_tool) · on local · read · after a · when a > 1 · for each of [1, 2]"
        in out
    )
    assert "would fail: no tool 'x' [tool_not_found]" in out
