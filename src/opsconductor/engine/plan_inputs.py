"""Values for a plan's declared inputs: named, typed, complete. Pure; called before a plan is accepted or explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from opsconductor.catalog.inputs import check_value
from opsconductor.engine.plan_schema import nearest
from opsconductor.model.errors import OpsError, Problem, from_problems
from opsconductor.model.plan import Plan, PlanInput
from opsconductor.model.tool import InputSpec


def bind_inputs(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every declared input with its value: given, or by default.

    Texts that spell a number or boolean are taken as such. Raises OpsError with all problems (`input_unknown`,
    `input_missing`, `input_invalid`, `input_too_large`).
    """
    problems = [_unknown(plan, name) for name in given if name not in plan.inputs]
    bound: dict[str, Any] = {}
    for name, declared in plan.inputs.items():
        field = f"inputs.{name}"
        value = given.get(name)
        if value is None:
            value = declared.default
        if value is UNSET:
            said = f": {declared.description}" if declared.description else ""
            message = f"the plan needs a value for its input {name!r} ({declared.type}){said}; give it with -i {name}=…"
            problems.append(Problem(code="input_missing", field=field, message=message, file=plan.source))
        elif value is None:
            bound[name] = None
        else:
            try:
                bound[name] = check_value(value, _spec(name, declared))
            except OpsError as error:
                problems.append(Problem(code=error.code, field=field, message=error.message, file=plan.source))
    if problems:
        raise from_problems(problems[0].code, problems)
    return bound


def _unknown(plan: Plan, name: str) -> Problem:
    listed = ", ".join(sorted(plan.inputs)) or "none"
    return Problem(
        code="input_unknown",
        field=f"inputs.{name}",
        message=f"the plan has no input {name[:80]!r}; it declares {listed}",
        suggestion=nearest(name, plan.inputs),
        file=plan.source,
    )


def _spec(name: str, declared: PlanInput) -> InputSpec:
    return InputSpec(
        type=declared.type,
        description=declared.description or name,
        enum=declared.enum,
        minimum=declared.minimum,
        maximum=declared.maximum,
        pattern=declared.pattern,
        secret=declared.secret,
        min_length=0,
        multiline=True,
    )
