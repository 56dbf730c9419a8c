"""The older format: taken as it is, honest about what it cannot do, and run where a known way exists."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.catalog.inputs import check_inputs
from opsconductor.catalog.legacy import adopt, identifier, read_legacy
from opsconductor.catalog.lint import check_definition
from opsconductor.model.errors import OpsError
from opsconductor.model.tool import Effect, ToolDefinition
from tests.unit.catalog.test_lint import definition


def older(*patterns: tuple[str, dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"tool_name": "Probe", "capabilities": {"watch": {"patterns": dict(patterns)}}, **fields}


def read(raw: dict[str, Any]) -> tuple[ToolDefinition, list[str]]:
    made, findings = read_legacy(raw)
    assert made is not None
    assert {finding.level for finding in findings} <= {"warning"}
    return made, [".".join(map(str, finding.path)) for finding in findings]


def test_each_pattern_becomes_an_operation_with_its_inputs_and_policy() -> None:
    made, _ = read(
        older(
            (
                "Check Disk",
                {
                    "description": "look",
                    "required_inputs": [
                        {"name": "path", "type": "string", "description": "where", "validation": "^/.*"},
                        {"name": "maxDepth", "type": "int", "default": "3"},
                    ],
                    "optional_inputs": [{"name": "password", "type": "string"}],
                    "policy": {"requires_approval": False, "production_safe": True, "max_execution_time": 30},
                },
            ),
            ("clean", {"policy": {"requires_approval": True, "production_safe": True}}),
            ("other", {"policy": {"production_safe": True}}),
        )
    )
    check, clean, other = made.operations.values()
    assert list(made.operations) == ["check_disk", "clean", "other"]
    assert made.default_operation == "check_disk"
    assert (check.effect, check.approval, check.timeout_s) == (Effect.READ, "policy", 30.0)
    assert (clean.effect, clean.approval, clean.idempotent) == (Effect.CHANGE, "always", False)
    assert (other.effect, other.approval) == (Effect.CHANGE, "policy")
    assert check.required == ("path", "maxdepth")
    assert made.inputs["path"].pattern == "^/.*"
    assert made.inputs["maxdepth"].default == 3
    assert made.inputs["maxdepth"].aliases == ("maxDepth",)
    assert made.inputs["password"].secret
    assert all(operation.not_executable for operation in made.operations.values())
    assert check_definition(made) == []


def test_inputs_are_checked_by_what_the_file_says() -> None:
    made, _ = read(older(("go", {"required_inputs": [{"name": "path", "type": "string", "validation": "^/.*"}]})))
    assert check_inputs(made, "go", {"path": "/var"}) == {"path": "/var"}
    with pytest.raises(OpsError) as caught:
        check_inputs(made, "go", {"path": "var"})
    assert caught.value.code == "input_invalid"
    with pytest.raises(OpsError) as caught:
        check_inputs(made, "go", {})
    assert caught.value.code == "input_missing"


def test_patterns_whose_names_fold_together_keep_apart() -> None:
    raw = {
        "tool_name": "x",
        "capabilities": {
            "a": {"patterns": {"Go!": {}, "go": {}}},
            "b": {"patterns": {"go": {}, "9 lives": {}}},
        },
    }
    made, _ = read(raw)
    assert list(made.operations) == ["go", "a_go", "b_go", "x_9_lives"]


def test_what_is_not_acted_on_is_named() -> None:
    _, places = read(
        older(
            ("go", {"policy": {"max_cost": 3}, "required_inputs": [7, {"name": "p", "validation": "("}], "tests": []}),
            ("odd", 3),  # type: ignore[arg-type]
            defaults={"a": 1},
        )
    )
    tree = "capabilities.watch.patterns."
    assert set(places) == {
        tree + "go.policy.max_cost",
        tree + "go.tests",
        tree + "go.required_inputs.0",
        tree + "go.required_inputs.1.validation",
        tree + "odd",
        "defaults",
    }


@pytest.mark.parametrize("raw", [{"capabilities": {}}, {"tool_name": "x", "capabilities": []}, {"tool_name": " - "}])
def test_without_a_name_or_a_tree_it_is_an_error(raw: dict[str, Any]) -> None:
    made, findings = read_legacy(raw)
    assert made is None
    assert [finding.level for finding in findings] == ["error"]


@pytest.mark.parametrize(("name", "folded"), [("Disk Usage (all)", "disk_usage_all"), ("2fa", "x_2fa"), ("é", "x")])
def test_names_are_folded_to_identifiers(name: str, folded: str) -> None:
    assert identifier(name) == folded


def test_a_known_way_to_run_is_adopted_under_the_older_files_own_words() -> None:
    made, _ = read(
        older(
            (
                "inspect",
                {
                    "required_inputs": [{"name": "name"}, {"name": "depth", "type": "integer"}],
                    "policy": {"requires_approval": True},
                },
            ),
            execution_location="asset-service",
            description="Ours",
        )
    )
    joined = adopt(made, definition())
    assert (joined.tool_name, joined.description, joined.execution_location) == ("Probe", "Ours", "asset-service")
    assert joined.operations["look"].argv == definition().operations["look"].argv
    assert "look, change" in (joined.operations["inspect"].not_executable or "")
    assert joined.default_operation == "look"
    assert check_definition(joined) == []
    assert check_inputs(joined, "look", {"name": "x", "depth": 3})["depth"] == 3
    assert joined.operations["look"].approval == "policy"
    assert joined.operations["change"].approval == "always"


def test_a_change_never_takes_a_word_that_it_would_ignore() -> None:
    made, _ = read(older(("inspect", {"required_inputs": [{"name": "only_if_idle", "type": "boolean"}]})))
    joined = adopt(made, definition())
    with pytest.raises(OpsError) as caught:
        check_inputs(joined, "change", {"name": "x", "only_if_idle": True})
    assert caught.value.code == "input_unknown"
