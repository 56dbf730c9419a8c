"""Bad plans get all of their errors at once, each with file, line, step, field and the nearest name; and quickly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from opsconductor.bootstrap.runtime import LocalRuntime
from opsconductor.catalog.catalog import Catalog, load_catalog
from opsconductor.engine.plan_inputs import bind_inputs
from opsconductor.engine.plan_reader import read_placed, read_plan
from opsconductor.engine.validation import Rules, Validator
from opsconductor.model.errors import OpsError, Problem
from opsconductor.routing.router import Router
from opsconductor.routing.services import Services

LOOK = """
tool_name: look
execution_location: automation-service
version: "1.0"
description: Look at a file.
platform: linux
category: linux
runs_on: target
inputs:
  path: {type: string, format: path, description: What to look at., examples: [/etc/hostname]}
  lines: {type: integer, minimum: 1, maximum: 100, unit: lines, description: How many lines.}
operations:
  head: {description: The first lines., effect: read, argv: [head, ["--lines={lines}"], --, "{path}"]}
  wipe: {description: Take it away., effect: destructive, idempotent: true, argv: [rm, --, "{path}"]}
default_operation: head
"""
LATER = """
tool_name: later
execution_location: automation-service
version: "1.0"
description: Not there yet.
platform: linux
category: linux
operations:
  do: {description: Does it., effect: read, not_executable: needs a driver that this version does not have}
"""

ROBOT = """
tool_name: robot
execution_location: lab-service
version: "1.0"
description: Known to its own service alone.
platform: any
category: lab
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder: Path = tmp_path_factory.mktemp("tools") / "linux"
    folder.mkdir()
    (folder / "look.yaml").write_text(LOOK)
    (folder / "later.yaml").write_text(LATER)
    (folder / "robot.yaml").write_text(ROBOT)
    return load_catalog([folder.parent], cache_dir=None)


def validator(catalog: Catalog, *, deny: bool = False, **rules: Any) -> Validator:
    router = Router(catalog.location_of, Services({}, embedded=True), "deny" if deny else "allow")
    return Validator(catalog, router, rules=Rules(**{"default_target": "local", **rules}))


def refusal(document: bytes) -> OpsError:
    with pytest.raises(OpsError) as caught:
        read_plan(document, file="plan.yaml")
    return caught.value


def told(problems: tuple[Problem, ...]) -> list[tuple[str, int | None, str | None, str | None, str | None]]:
    return [(one.code, one.line, one.step, one.field, one.suggestion) for one in problems]


def test_all_errors_of_a_document_are_told_at_once_with_their_places() -> None:
    error = refusal(
        b"""name: wrong
nam: x
steps:
  - id: find
    tol: asset-query
    inputs: {tags: ["{{ inputs.role }}"]}
  - id: disk
    tool: df
    depends_on: [fnd]
    timeout_s: -1
    inputs: {host: "{{ steps.finde.output }}"}
  - id: disk
    tool: df
    retry: {attempts: 3}
    on_failure: rollback
  - id: tell
    tool: slack-cli
    when: steps.disk.failed
    inputs: {message: "{{ steps.disk.output | uper }}"}
"""
    )
    assert error.code == "plan_invalid"
    assert all(problem.file == "plan.yaml" and problem.column for problem in error.problems)
    assert sorted(told(error.problems), key=lambda entry: (entry[1] or 0, entry[3] or "")) == [
        ("plan_invalid", 2, None, "nam", "name"),
        ("step_invalid", 4, "find", "tool", None),
        ("step_invalid", 5, "find", "tol", "tool"),
        ("expression_invalid", 6, "find", "inputs.tags.0", None),
        ("step_invalid", 7, "disk", "id", None),
        ("step_invalid", 9, "disk", "depends_on", "find"),
        ("step_invalid", 10, "disk", "timeout_s", None),
        ("expression_invalid", 11, "disk", "inputs.host", "steps.find"),
        ("step_invalid", 12, "disk", "id", None),
        ("plan_feature_unsupported", 14, "disk", "retry", None),
        ("plan_feature_unsupported", 15, "disk", "on_failure", None),
        ("step_invalid", 18, "tell", "when", None),
        ("expression_invalid", 19, "tell", "inputs.message", None),
    ]
    assert "'upper'" in error.problems[-1].message or any("'upper'" in one.message for one in error.problems)


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        (b"", "plan_invalid", "expected a plan"),
        (b"- tool: df", "plan_invalid", "expected a plan"),
        (b"name: x", "plan_empty", "at least one step"),
        (b"steps: []", "plan_empty", "at least one step"),
        (b"steps: {a: {tool: df}}", "plan_invalid", "expected a list"),
        (b"steps: [df]", "step_invalid", "expected a step"),
        (b"steps: [{id: a}]", "step_invalid", "the name of a tool"),
        (b"steps: [{tool: 5}]", "step_invalid", "expected a text"),
        (b"steps: [{tool: df, id: 'a b'}]", "step_invalid", "letters, digits"),
        (b"steps: [{tool: df, id: -x}]", "step_invalid", "letters, digits"),
        (b"steps: [{tool: df, id: " + b"x" * 65 + b"}]", "step_invalid", "at most 64"),
        (b"steps: [{tool: df, inputs: [1]}]", "step_invalid", "an object"),
        (b"steps: [{tool: df, inputs: {}, parameters: {}}]", "step_invalid", "both mean the same"),
        (b"steps: [{tool: df, depends_on: {a: 1}}]", "step_invalid", "list of step ids"),
        (b"steps: [{tool: df, env: {A: 1}}]", "step_invalid", "with a text"),
        (b"steps: [{tool: df, max_parallel: 3}]", "step_invalid", "for_each"),
        (b"steps: [{tool: df, for_each: 5}]", "step_invalid", "a list"),
        (b"steps: [{tool: df, for_each: 'a {{ inputs.x }}'}]", "plan_invalid", "exactly one expression"),
        (b"steps: [{tool: df, timeout_s: .inf}]", "yaml_invalid", ""),
        (b"steps: [{tool: df, timeout_s: 1e9}]", "step_invalid", "at most 86400"),
        (b"steps: [{tool: df, timeout_s: true}]", "step_invalid", "seconds"),
        (b"steps: [{tool: df, on_failure: ignore}]", "step_invalid", "stop or continue"),
        (b"steps: [{tool: df, approval: always}]", "plan_feature_unsupported", "'approval'"),
        (b"steps: [{tool: df, max_failed: 10%}]", "plan_feature_unsupported", "'max_failed'"),
        (b"steps: [{plan: other.yaml, tool: df}]", "plan_feature_unsupported", "'plan'"),
        (b"steps: [{tool: df, inputs: {a: '{{ x'}}]", "expression_invalid", "not closed"),
        (b"steps: [{tool: docker, inputs: {format: '{{.Names}}'}}]", "expression_invalid", "a literal {{ is written"),
        (b"steps: [{tool: df, inputs: {a: '{{ env.HOME }}'}}]", "expression_invalid", "env, which does not exist"),
        (b"steps: [{tool: df, inputs: {a: '{{ item }}'}}]", "expression_invalid", "item, which does not exist"),
        (b"steps: [{tool: df, inputs: {a: '{{ receivers.x.url }}'}}]", "expression_invalid", "receivers.x"),
        (b"steps: [{tool: df, inputs: {a: '{{ step_2_result.x }}'}}]", "expression_invalid", "step_2_result"),
        (b"steps: [{tool: df, inputs: {a: '{% if x %}'}}]", "expression_invalid", "statements are not offered"),
        (b"steps: [{tool: df, inputs: {a: '{{ hostnames }}'}}]", "expression_invalid", "asset-query"),
        (b"{steps: [{tool: df}], inputs: {x: 5}}", "plan_invalid", "declaration"),
        (b"{steps: [{tool: df}], inputs: {x: {type: text}}}", "plan_invalid", "text"),
        (b"{steps: [{tool: df}], receivers: {x: {kind: ftp}}}", "plan_invalid", "ftp"),
        (b"{steps: [{tool: df}], outputs: {x: 5}}", "plan_invalid", "a template"),
        (b"{steps: [{tool: df}], timeout_s: 0}", "plan_invalid", "above 0"),
    ],
)
def test_each_mistake_has_its_own_error(document: bytes, code: str, words: str) -> None:
    error = refusal(document)
    assert error.code == code
    assert words in " ".join(problem.render() for problem in error.problems)


@pytest.mark.parametrize(
    ("steps", "route"),
    [
        ("[{id: a, tool: t, depends_on: [b]}, {id: b, tool: t}]", "a → b → a"),
        ("[{id: a, tool: t, depends_on: [a]}]", "a → a"),
        ("[{id: a, tool: t, inputs: {x: '{{ steps.a.output }}'}}]", "a → a"),
        ("[{id: a, tool: t, inputs: {x: '{{ steps.b.output }}'}}, {id: b, tool: t}]", "a → b → a"),
        (
            "[{id: a, tool: t, depends_on: [c]}, {id: b, tool: t, depends_on: [a]}, {id: c, tool: t, depends_on: [b]}]",
            "a → c → b → a",
        ),
    ],
)
def test_a_circle_is_told_as_a_path(steps: str, route: str) -> None:
    error = refusal(f"steps: {steps}".encode())
    assert error.code == "plan_cycle"
    assert route in error.message


@pytest.mark.parametrize("form", ["yaml", "json", "data"])
def test_ten_thousand_and_one_steps_are_refused_quickly(form: str) -> None:
    document: Any = {"steps": [{"tool": "df"}] * 10_001}
    if form == "yaml":
        document = b"steps:\n" + b"  - tool: df\n    inputs: {path: /}\n" * 10_001
    elif form == "json":
        document = b'{"steps": [' + b", ".join([b'{"tool": "df"}'] * 10_001) + b"]}"
    began = time.monotonic()
    with pytest.raises(OpsError) as caught:
        read_plan(document)
    assert time.monotonic() - began < 2
    assert caught.value.code == "plan_too_large"
    assert "10001 steps" in caught.value.message


@pytest.mark.parametrize("value", ["{{ steps.gone.x }}", "{{ inputs.gone }}", "{{ hostnames }}", "{{ steps.s9999.x }}"])
def test_large_plans_with_doubtful_references_are_judged_in_little_time(value: str) -> None:
    names = [f"s{number}" for number in range(10_000)]
    raw = {"steps": [{"id": name, "tool": "df", "depends_on": [], "inputs": {"path": value}} for name in names]}
    raw["steps"][0]["tool"] = "asset-query"
    raw["steps"][-1]["inputs"] = {}
    began = time.monotonic()
    try:
        read_plan(raw)
    except OpsError as error:
        assert len(error.problems) <= 200
    assert time.monotonic() - began < 3


def test_many_errors_stay_readable() -> None:
    error = refusal(b"steps:\n" + b"  - tol: df\n" * 5000)
    assert len(error.problems) == 200
    assert "further errors" in error.message


def test_a_plan_is_held_against_the_catalog_with_all_errors_at_once(catalog: Catalog) -> None:
    document = b"""steps:
  - id: a
    tool: look
    inputs: {pth: /etc/hostname}
  - id: b
    tool: Look
    operation: heads
    inputs: {path: /etc/hostname}
  - id: c
    tool: look
    env: {LD_PRELOAD: x}
    inputs:
      path: -rf
      lines: 1000
  - id: d
    tool: look
    inputs: {path: "{{ steps.c.output.stdout }}", lines: "{{ steps.c.output.n }}", extra: "{{ 1 }}"}
"""
    plan, places = read_placed(document, file="plan.yaml")
    with pytest.raises(OpsError) as caught:
        validator(catalog).check(plan, {}, places=places)
    assert caught.value.code == "plan_invalid"
    assert [(one.code, one.line, one.step, one.field) for one in caught.value.problems] == [
        ("input_unknown", 4, "a", "inputs.pth"),
        ("input_missing", 4, "a", "inputs.path"),
        ("operation_unknown", 7, "b", "operation"),
        ("env_name_not_allowed", 11, "c", "env.LD_PRELOAD"),
        ("input_invalid", 14, "c", "inputs.lines"),
        ("input_unknown", 17, "d", "inputs.extra"),
    ]
    assert [one.suggestion for one in caught.value.problems[:3]] == ["path", None, "head"]


def test_an_option_in_place_of_a_value_is_refused_before_anything_runs(catalog: Catalog) -> None:
    plan = read_plan({"steps": [{"tool": "look", "inputs": {"path": "-rf"}}]})
    with pytest.raises(OpsError) as caught:
        validator(catalog).check(plan, {})
    assert caught.value.code == "option_like_argument"


def test_values_made_of_the_plans_inputs_are_checked_when_these_are_known(catalog: Catalog) -> None:
    raw = {
        "inputs": {"n": {"type": "integer"}},
        "steps": [{"tool": "look", "inputs": {"path": "/x", "lines": "{{ inputs.n }}"}}],
    }
    plan = read_plan(raw)
    assert validator(catalog).problems(plan) == ()
    assert validator(catalog).problems(plan, bind_inputs(plan, {"n": 5})) == ()
    (problem,) = validator(catalog).problems(plan, bind_inputs(plan, {"n": 500}))
    assert (problem.code, problem.field) == ("input_invalid", "inputs.lines")


@pytest.mark.parametrize(
    ("when", "judged"),
    [
        ("{{ inputs.n < 100 }}", False),
        ("{{ inputs.n > 100 }}", True),
        ("{{ steps.a.output.x and inputs.n > 100 }}", False),
        ("{{ 5 }}", False),
    ],
)
def test_values_that_a_condition_may_keep_away_are_not_judged_before(catalog: Catalog, when: str, judged: bool) -> None:
    raw = {
        "inputs": {"n": {"type": "integer"}},
        "steps": [
            {"id": "a", "tool": "look", "inputs": {"path": "/x"}},
            {"tool": "look", "when": when, "inputs": {"path": "/x", "lines": "{{ inputs.n }}"}},
            {"tool": "look", "when": when, "inputs": {"path": "/x", "lines": 1000}},
        ],
    }
    plan = read_plan(raw)
    found = validator(catalog).problems(plan, bind_inputs(plan, {"n": 500}))
    assert [problem.step for problem in found] == (["step_2", "step_3"] if judged else ["step_3"])


def test_unknown_tools_are_warned_about_with_the_nearest_name_and_denied_where_the_site_says_so(
    catalog: Catalog,
) -> None:
    plan = read_plan({"steps": [{"tool": "lok"}]})
    (warning,) = validator(catalog).check(plan, {})
    assert (warning.level, warning.code, warning.suggestion) == ("warning", "tool_not_found", "look")
    with pytest.raises(OpsError) as caught:
        validator(catalog, deny=True).check(plan, {})
    assert caught.value.code == "routing_denied"


def test_a_tool_that_cannot_run_here_is_warned_about_with_what_is_missing(catalog: Catalog) -> None:
    (warning,) = validator(catalog).check(read_plan({"steps": [{"tool": "later"}]}), {})
    assert (warning.level, warning.code) == ("warning", "tool_not_executable")
    assert "needs a driver" in warning.message


def test_wrong_inputs_of_a_tool_that_cannot_run_are_told_together_with_that(catalog: Catalog) -> None:
    with pytest.raises(OpsError) as caught:
        validator(catalog).check(read_plan(b"steps: [{tool: later, inputs: {x: 1}}]"))
    assert caught.value.code == "input_unknown"
    assert [problem.code for problem in caught.value.problems] == ["input_unknown", "tool_not_executable"]


def test_a_definition_that_declares_no_inputs_leaves_them_to_its_service(catalog: Catalog) -> None:
    plan = read_plan(b"steps: [{tool: robot, inputs: {angle: 4}}]")
    (warning,) = validator(catalog).check(plan)
    assert (warning.code, warning.level) == ("tool_not_executable", "warning")
    assert "service of your own" in warning.message


def test_a_missing_target_is_an_error_unless_the_site_has_a_default(catalog: Catalog) -> None:
    raw = {"steps": [{"tool": "look", "inputs": {"path": "/x"}}]}
    assert validator(catalog).check(read_plan(raw), {}) == ()
    with pytest.raises(OpsError) as caught:
        validator(catalog, default_target="").check(read_plan(raw), {})
    assert caught.value.code == "target_missing"
    for named in ({"target": "web-1"}, {"inputs": {"path": "/x", "host": "web-1"}}):
        plan = read_plan({"steps": [{**raw["steps"][0], **named}]})
        assert validator(catalog, default_target="").check(plan, {}) == ()


def test_a_tool_that_runs_from_its_service_takes_no_target(catalog: Catalog) -> None:
    local, other = (read_plan({"steps": [{"tool": "later", "target": name}]}) for name in ("local", "web-1"))
    assert [one.level for one in validator(catalog).check(local, {})] == ["warning"]
    with pytest.raises(OpsError, match="takes no target"):
        validator(catalog).check(other, {})


def test_a_plans_own_inputs_are_bound_with_all_errors_at_once() -> None:
    plan = read_plan(
        {
            "inputs": {"role": {}, "n": {"type": "integer", "maximum": 5}, "d": {"default": 1}},
            "steps": [{"tool": "look"}],
        }
    )
    with pytest.raises(OpsError) as caught:
        bind_inputs(plan, {"rol": "web", "n": "9"})
    found = {(one.code, one.field, one.suggestion) for one in caught.value.problems}
    assert found == {
        ("input_unknown", "inputs.rol", "role"),
        ("input_missing", "inputs.role", None),
        ("input_invalid", "inputs.n", None),
    }
    assert bind_inputs(plan, {"role": "", "n": "4"}) == {"role": "", "n": 4, "d": "1"}


def test_a_secret_may_not_be_put_into_a_command_line() -> None:
    text = b"""
name: leak
inputs: {password: {type: string, secret: true}}
steps:
  - {id: look, tool: grep, inputs: {host: local, pattern: "x{{ inputs.password }}", paths: [/etc/hosts]}}
"""
    runtime = LocalRuntime()
    plan = read_plan(text, file="leak.yaml")
    with pytest.raises(OpsError) as caught:
        Validator(runtime.catalog(), runtime.router()).check(plan, {"password": "hunter2"})
    (problem,) = caught.value.problems
    assert (problem.code, problem.field, problem.line) == ("input_invalid", "inputs.pattern", 5)
    assert "hunter2" not in str(caught.value)
