"""What plan documents become, older ones included. What is refused: tests/acceptance/test_plan_validation.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsconductor.engine.plan_reader import read_placed, read_plan
from opsconductor.engine.plan_schema import PLAN_KEYS, STEP_KEYS, UNACTED_KEYS, UNSUPPORTED_KEYS
from opsconductor.model.errors import OpsError
from opsconductor.model.plan import OnFailure, Plan


def waits(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {step.id: step.depends_on for step in plan.steps}


def steps(*raw: dict[str, Any]) -> dict[str, Any]:
    return {"steps": [{"tool": "df", **step} for step in raw]}


def test_a_plan_keeps_all_that_it_says() -> None:
    plan = read_plan(
        b"""
name: check
description: Looks around.
timeout_s: 60
inputs: {role: {type: string, default: web, enum: [web, api]}}
receivers: {hook: {kind: webhook}}
steps:
  - id: disk
    tool: df
    operation: usage
    description: How full.
    inputs: {path: "{{ inputs.role }}", to: "{{ receivers.hook.url }}"}
    when: "{{ inputs.role == 'web' }}"
    timeout_s: 5
    on_failure: continue
    env: {TZ: UTC}
outputs: {full: "{{ steps.disk.output.data }}"}
""",
        file="check.yaml",
    )
    (step,) = plan.steps
    assert (plan.name, plan.description, plan.timeout_s, plan.source) == ("check", "Looks around.", 60, "check.yaml")
    assert plan.inputs["role"].default == "web"
    assert plan.receivers["hook"].kind == "webhook"
    assert plan.outputs == {"full": "{{ steps.disk.output.data }}"}
    assert (step.id, step.tool, step.operation, step.line) == ("disk", "df", "usage", 8)
    assert (step.when, step.timeout_s, step.on_failure, step.env) == (
        "{{ inputs.role == 'web' }}",
        5,
        OnFailure.CONTINUE,
        {"TZ": "UTC"},
    )


def test_the_example_of_the_reference_page_is_a_plan() -> None:
    page = Path("docs/reference/plan-format.md")
    text = (Path(__file__).parents[3] / page).read_text().split("```yaml")[1].split("```")[0]
    plan = read_plan(text.encode(), file=str(page))
    assert len(plan.steps) > 1
    assert plan.warnings == ()


def test_the_reference_page_names_every_key() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/plan-format.md").read_text()
    for key in (PLAN_KEYS | STEP_KEYS | UNACTED_KEYS | UNSUPPORTED_KEYS) - {"item"}:
        assert f"`{key}`" in page, key


def test_a_plan_is_a_sequence_unless_it_says_otherwise() -> None:
    plan = read_plan(steps({"id": "a"}, {"id": "b"}, {"id": "c", "depends_on": []}, {"id": "d", "depends_on": ["a"]}))
    assert waits(plan) == {"a": (), "b": ("a",), "c": (), "d": ("a",)}


def test_references_are_waited_for_by_themselves() -> None:
    plan = read_plan(
        steps(
            {"id": "a", "depends_on": []},
            {"id": "b", "depends_on": []},
            {"id": "c", "depends_on": ["b"], "inputs": {"path": ["x {{ steps.a.output.x }}"]}},
            {"id": "d", "depends_on": [], "when": "{{ steps.b.status == 'completed' }}"},
            {"id": "e", "depends_on": [], "for_each": "{{ steps['c'].output.l }}", "env": {"TZ": "{{ steps.d.x }}"}},
        )
    )
    assert waits(plan) == {"a": (), "b": (), "c": ("b", "a"), "d": ("b",), "e": ("d", "c")}


def test_an_older_plan_is_read_as_it_is() -> None:
    plan = read_plan(
        {
            "plan": {
                "name": "old",
                "steps": [
                    {"tool": "df", "parameters": {"path": "/{{ asset_count }}"}, "execution_order": 2, "name": "Disk"},
                    {"step_id": 1, "tool": "asset-query", "execution_order": 1, "estimated_duration": 5},
                    {"tool": "ps", "inputs": {"x": "{{ step_2_result.y }}"}, "execution_order": 3, "approval": False},
                ],
                "rollback_plan": {"steps": []},
                "observability": {},
            }
        }
    )
    assert [(step.id, step.tool) for step in plan.steps] == [("1", "asset-query"), ("step_2", "df"), ("step_3", "ps")]
    assert plan.steps[1].description == "Disk"
    assert waits(plan) == {"1": (), "step_2": ("1",), "step_3": ("step_2",)}
    assert plan.unacted == {
        "plan.rollback_plan": {"steps": []},
        "plan.observability": {},
        "plan.steps.1.estimated_duration": 5,
    }
    assert [warning.level for warning in plan.warnings] == ["warning"] * 3
    assert {word for warning in plan.warnings for word in warning.message.split()} >= {"rollback_plan", "observability"}


def test_made_ids_avoid_those_that_are_taken() -> None:
    plan = read_plan(steps({"id": "step_2"}, {}, {}))
    assert [step.id for step in plan.steps] == ["step_2", "step_2_2", "step_3"]


def test_places_are_told_by_step_and_field() -> None:
    _, places = read_placed(b"steps:\n  - tool: df\n    inputs:\n      types: [ext4,\n        xfs]\n")
    assert places.of("step_1") == (2, 5)
    assert places.of("step_1", "inputs.types.1") == (5, 9)
    assert places.of("step_1", "inputs.gone") == (3, 5)
    assert places.of("nobody") is None


@pytest.mark.parametrize("value", [True, None])
def test_a_condition_that_is_always_true_is_none(value: object) -> None:
    assert read_plan(steps({"when": value})).steps[0].when is None


_scalars = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "b", "{{ steps.a.x }}", "{{", "", "\0"])
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
_KEYS = (
    "id step_id name tool operation inputs parameters depends_on when for_each max_parallel timeout_s on_failure env "
    "execution_order retry approval observability x"
)
_keys = st.sampled_from(_KEYS.split())
_steps = st.lists(st.dictionaries(_keys, _values, max_size=6) | _values, max_size=4)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["name", "inputs", "receivers", "outputs", "timeout_s", "plan", "y"]), _values, max_size=3
    ),
    _steps | _values,
)
def test_any_document_is_read_or_refused_with_problems(raw: dict[str, Any], listed: Any) -> None:
    try:
        plan = read_plan({**raw, "steps": listed})
    except OpsError as error:
        assert error.problems
        assert error.kind.family == "plan"
        assert all(problem.level == "error" and problem.render() for problem in error.problems)
    else:
        assert len({step.id for step in plan.steps}) == len(plan.steps) == len(listed)
        assert all(set(step.depends_on) <= {other.id for other in plan.steps} for step in plan.steps)
