"""A plan held against the catalog and the routes before anything runs: all errors at once, each with its place.

What depends on the results of steps is judged again when it is known, by the service that executes the step.
Called by the interfaces after `read_plan`, and by `explain`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from opsconductor.catalog.inputs import check_inputs
from opsconductor.catalog.render import render_command
from opsconductor.engine.expressions import Expression, expressions
from opsconductor.engine.plan_schema import Places, nearest
from opsconductor.engine.resolution import Catalog, Chosen, Router, choose, split_target, target_name
from opsconductor.engine.secrets import secret_inputs
from opsconductor.engine.templates import Templates, closed
from opsconductor.model.errors import OpsError, Problem, from_problems
from opsconductor.model.limits import InputLimits
from opsconductor.model.names import canonical
from opsconductor.model.plan import Plan, Step

LOCAL_NAMES = frozenset({"local", "localhost"})
Nearest = Callable[[str], Sequence[str]]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the site allows. `default_target` "" means that a step which runs on a target must name it."""

    deny_fallback: bool = False
    allowed_env: Collection[str] = ("LANG", "LC_ALL", "TZ")
    default_target: str = ""
    inputs: InputLimits = InputLimits()


class Validator:
    """Holds plans against one catalog and its routes; may be shared."""

    def __init__(
        self,
        catalog: Catalog,
        router: Router,
        *,
        rules: Rules = Rules(),  # noqa: B008 - frozen
        nearest_tools: Nearest = lambda _name: (),
        templates: Templates | None = None,
    ) -> None:
        self._catalog, self._router, self._rules = catalog, router, rules
        self._nearest_tools = nearest_tools
        self._templates = templates or Templates()

    def problems(
        self, plan: Plan, inputs: Mapping[str, Any] | None = None, *, places: Places | None = None
    ) -> tuple[Problem, ...]:
        """Errors and warnings (`level`) of every step, the plan's own warnings first.

        With the plan's bound `inputs`, values made of them alone are checked too; `places` gives exact lines.
        """
        scope = None if inputs is None else {"inputs": closed(dict(inputs))}
        found = list(plan.warnings)
        secret = frozenset(name for name, declared in plan.inputs.items() if declared.secret)
        for step in plan.steps:
            for problem in self._step(step, scope, secret):
                line, column = (places.of(step.id, problem.field) if places else None) or (step.line or None, None)
                found.append(msgspec.structs.replace(problem, file=plan.source, line=line, column=column, step=step.id))
        return tuple(found)

    def check(
        self, plan: Plan, inputs: Mapping[str, Any] | None = None, *, places: Places | None = None
    ) -> tuple[Problem, ...]:
        """The warnings. Raises OpsError with all errors; its code is theirs if they share one, else `plan_invalid`."""
        found = self.problems(plan, inputs, places=places)
        errors = [problem for problem in found if problem.level == "error"]
        if errors:
            codes = {problem.code for problem in errors}
            raise from_problems(codes.pop() if len(codes) == 1 else "plan_invalid", [*errors, *_vain(found, errors)])
        return found

    def _step(self, step: Step, scope: Mapping[str, Any] | None, secret: frozenset[str]) -> list[Problem]:
        problems = [*self._routing(step), *self._env(step)]
        try:
            entry = self._catalog.get(step.tool)
        except OpsError as error:
            return [*problems, self._unknown_tool(step, error)]
        try:
            chosen = choose(entry.definition, step.operation)
        except OpsError as error:
            hint = error.context.get("suggestion")
            return [*problems, Problem(code=error.code, message=error.message, field="operation", suggestion=hint)]
        problems += _exposed(step, chosen, secret)
        return [*problems, *self._executable(chosen), *self._inputs(step, chosen, scope)]

    def _routing(self, step: Step) -> list[Problem]:
        try:
            decision = self._router.resolve(step.tool)
        except OpsError as error:
            return [Problem(code=error.code, message=error.message, field="tool", found=step.tool[:80])]
        if not decision.reason.startswith("fallback:") or not self._rules.deny_fallback:
            return []
        message = (
            f"{step.tool!r} would go to {decision.service} ({decision.reason}), and routing.fallback is deny; "
            "name a tool of the catalog, or give its definition an execution_location that has a URL"
        )
        return [Problem(code="routing_denied", message=message, field="tool", found=step.tool)]

    def _env(self, step: Step) -> list[Problem]:
        allowed = ", ".join(sorted(self._rules.allowed_env)) or "none"
        return [
            Problem(
                code="env_name_not_allowed",
                message=f"{name} may not be set by a step; allowed are {allowed} (setting allowed_env)",
                field=f"env.{name}",
                found=name,
            )
            for name in step.env
            if name not in self._rules.allowed_env
        ]

    def _unknown_tool(self, step: Step, error: OpsError) -> Problem:
        near = [*error.context.get("suggestions", ()), *self._nearest_tools(step.tool)]
        return Problem(
            code=error.code,
            message=f"{error.message}; the step will fail",
            field="tool",
            found=step.tool[:80],
            suggestion=near[0] if near else None,
            level="warning",
        )

    def _executable(self, chosen: Chosen) -> list[Problem]:
        if chosen.operation is not None and chosen.operation.not_executable is None:
            return []
        name = chosen.definition.tool_name
        if chosen.operation is None:
            message = f"{name} has no operations; the step will fail unless a service of your own knows how to run it"
        else:
            message = f"{name} cannot be executed: {chosen.operation.not_executable}; the step will fail"
        return [Problem(code="tool_not_executable", message=message, field="tool", level="warning")]

    def _inputs(self, step: Step, chosen: Chosen, scope: Mapping[str, Any] | None) -> list[Problem]:
        naming, own = split_target(chosen, step.inputs)
        problems: list[Problem] = []
        if chosen.runs_on_target and target_name(naming, self._rules.default_target, step.target) is None:
            message = (
                f"{chosen.definition.tool_name} runs on a target and the step names none; "
                "say target: local for this machine, or the name of an asset"
            )
            problems.append(Problem(code="target_missing", message=message, field="target"))
        if step.target and not chosen.runs_on_target and step.target.strip().casefold() not in LOCAL_NAMES:
            message = (
                f"{chosen.definition.tool_name} runs from its service and takes no target, found {step.target[:80]!r}; "
                "name what it should reach in its inputs"
            )
            problems.append(Problem(code="step_invalid", message=message, field="target"))
        # A condition may be there to keep just such a value away: `when: "{{ inputs.url != '' }}"`.
        certain = scope if scope is not None and self._always_runs(step, scope) else None
        known, open_names = self._known(own, certain, problems)
        if chosen.operation_name is None:
            return [*problems, *_older_inputs(chosen, own)]
        try:
            checked = check_inputs(chosen.definition, chosen.operation_name, known, self._rules.inputs)
            if not open_names and chosen.operation is not None and chosen.operation.argv is not None:
                render_command(chosen.definition, chosen.operation_name, checked, self._rules.inputs)
        except OpsError as error:
            judged_later = {f"inputs.{name}" for name in _canonical_names(chosen, open_names)}
            noted = error.problems or (Problem(code=error.code, message=error.message, field="inputs"),)
            problems += [
                problem
                for problem in noted
                if problem.code in ("input_unknown", "input_missing") or problem.field not in judged_later
            ]
        return problems

    def _always_runs(self, step: Step, scope: Mapping[str, Any]) -> bool:
        if step.when is None:
            return True
        if not all(map(is_static, expressions(step.when))):
            return False
        try:
            return self._templates.condition(step.when, scope)
        except OpsError:  # told when the step is reached; nothing is certain then
            return False

    def _known(
        self, inputs: Mapping[str, Any], scope: Mapping[str, Any] | None, problems: list[Problem]
    ) -> tuple[dict[str, Any], set[str]]:
        """Inputs with what can be evaluated evaluated, and the names of those that cannot be yet."""
        known, later = dict[str, Any](), set[str]()
        for name, value in inputs.items():
            known[name] = value
            if scope is None or not all(map(is_static, expressions(value))):
                if any(True for _ in expressions(value)):
                    later.add(name)
                continue
            try:
                known[name] = self._templates.render(value, scope)
            except OpsError as error:
                problems.append(Problem(code=error.code, message=error.message, field=f"inputs.{name}"))
                later.add(name)
        return known, later


def _vain(found: Iterable[Problem], errors: Iterable[Problem]) -> list[Problem]:
    """What keeps steps with errors from running all the same: who mends their inputs shall know."""
    steps = {problem.step for problem in errors}
    return [problem for problem in found if problem.code == "tool_not_executable" and problem.step in steps]


def is_static(expression: Expression) -> bool:
    """Whether an expression reads nothing but the plan's inputs."""
    return not (expression.steps or expression.receivers or expression.names)


def _canonical_names(chosen: Chosen, names: Collection[str]) -> set[str]:
    aliases = {alias: key for key, spec in chosen.definition.inputs.items() for alias in spec.aliases}
    return {aliases.get(name) or aliases.get(canonical(name)) or canonical(name) for name in names}


def _older_inputs(chosen: Chosen, given: Mapping[str, Any]) -> list[Problem]:
    """Names of a definition that has inputs and no operations. One without inputs says nothing about them."""
    declared = chosen.definition.inputs
    if not declared:
        return []
    unknown = [
        Problem(
            code="input_unknown",
            message=f"{chosen.definition.tool_name} has no input {name!r}",
            field=f"inputs.{name}",
            suggestion=nearest(canonical(name), declared),
        )
        for name in given
        if canonical(name) not in declared
    ]
    present = {canonical(name) for name in given}
    missing = [
        Problem(
            code="input_missing",
            message=f"{chosen.definition.tool_name} needs {name!r}: {spec.description}",
            field=f"inputs.{name}",
        )
        for name, spec in declared.items()
        if spec.required and name not in present and spec.default is msgspec.UNSET
    ]
    return [*unknown, *missing]


def _exposed(step: Step, chosen: Chosen, secret: frozenset[str]) -> list[Problem]:
    """Secret inputs of the plan that a template would put where every user of the machine can read them."""
    if chosen.operation is None or chosen.operation.argv is None or not secret:
        return []
    hidden, tool = secret_inputs(chosen), chosen.definition.tool_name
    return [
        Problem(
            code="input_invalid",
            field=f"inputs.{name}",
            message=f"takes the secret {', '.join(sorted(used))}, and {name!r} of {tool} is not secret: "
            "it would stand in the command line; give it to an input that is",
        )
        for name, value in step.inputs.items()
        if canonical(name) not in hidden
        and (used := secret & {one for expression in expressions(value) for one in expression.inputs})
    ]
