"""What a plan would do: told without doing it."""

from __future__ import annotations

import json
from typing import Any

from opsconductor.engine.explain import explain
from opsconductor.engine.plan_inputs import bind_inputs
from opsconductor.engine.plan_reader import read_plan
from opsconductor.engine.validation import Rules
from tests.unit.engine.fakes import CHANGE, READ, FakeCatalog, FakeRouter

ON_TARGET = {
    **READ,
    "tool_name": "peek",
    "runs_on": "target",
    "operations": {
        "peek": {"effect": "read", "argv": ["peek", ["--", "{value}"]]},
        "wipe": {"effect": "destructive", "argv": ["wipe", "{value}"], "approval": "always"},
        "later": {"effect": "read", "not_executable": "no driver"},
    },
    "default_operation": "peek",
}


def told(plan: dict[str, Any], inputs: dict[str, Any] | None = None, default_target: str = "") -> dict[str, Any]:
    read = read_plan(plan)
    explanation = explain(
        read,
        bind_inputs(read, inputs or {}),
        catalog=FakeCatalog(READ, CHANGE, ON_TARGET),
        router=FakeRouter(look="automation-service", peek="automation-service"),
        rules=Rules(default_target=default_target),
    )
    json.dumps(explanation)
    return explanation


def test_a_known_command_is_shown_exactly() -> None:
    plan = {"inputs": {"v": {}}, "steps": [{"tool": "look", "inputs": {"value": "a {{ inputs.v }}"}}]}
    (step,) = told(plan, {"v": "b c"})["steps"]
    assert step["argv"] == ["look", "--", "a b c"]
    assert (step["service"], step["route_reason"]) == ("automation-service", "metadata")
    assert step["url"] == "http://automation-service:3003"
    assert (step["operation"], step["effect"], step["approval"], step["runs_on"]) == ("look", "read", "none", "service")
    assert step["error"] is None


def test_what_a_result_decides_is_marked_and_not_guessed() -> None:
    plan = {
        "inputs": {"v": {"default": "x"}},
        "steps": [
            {"id": "a", "tool": "look"},
            {"id": "b", "tool": "look", "inputs": {"value": "{{ inputs.v }} {{ steps.a.output.y }}"}},
        ],
    }
    step = told(plan)["steps"][1]
    assert step["inputs"] == {"value": "x ⟨known when step a is done⟩"}
    assert step["argv"] is None
    assert step["argv_waits_for"] == ["step a is done"]
    assert step["depends_on"] == ["a"]
    assert step["error"] is None


def test_the_target_is_always_shown() -> None:
    plan = {"steps": [{"tool": "peek", "inputs": {"host": "web-1", "value": "x"}}, {"tool": "peek"}]}
    named, unnamed = told(plan, default_target="local")["steps"]
    assert (named["target"], unnamed["target"]) == ("web-1", "local")
    assert named["argv"] == ["peek", "--", "x"]
    assert told(plan)["steps"][1]["error"]["code"] == "target_missing"
    assert told({"steps": [{"tool": "look"}]})["steps"][0]["target"] == "local"


def test_approval_and_what_is_missing_are_shown() -> None:
    plan = {
        "steps": [
            {"tool": "peek", "operation": "wipe", "inputs": {"value": "x"}},
            {"tool": "peek", "operation": "later"},
            {"tool": "nobody"},
            {"tool": "peek", "operation": "nope"},
        ]
    }
    wipe, later, nobody, nope = told(plan, default_target="local")["steps"]
    assert (wipe["effect"], wipe["approval"], wipe["argv"]) == ("destructive", "always", ["wipe", "x"])
    assert later["error"] == {"code": "tool_not_executable", "message": "peek: no driver"}
    assert nobody["error"]["code"] == "tool_not_found"
    assert nobody["route_reason"] == "fallback:unknown_tool"
    assert nope["error"]["code"] == "operation_unknown"


def test_secrets_are_not_shown() -> None:
    plan = {
        "inputs": {"key": {"secret": True}},
        "steps": [
            {"tool": "change", "inputs": {"value": "v", "password": "hunter2"}},
            {"tool": "look", "inputs": {"value": "{{ inputs.key }}"}},
        ],
    }
    explanation = told(plan, {"key": "hunter3"})
    assert "hunter" not in json.dumps(explanation)
    assert explanation["inputs"] == {"key": "***"}
