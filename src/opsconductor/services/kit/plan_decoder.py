"""The body of `POST /execute-plan` as a `PlanRequest`: every error at once, each with its field. Pure.

A service takes plain plans: what a step's key asks for it must do or refuse. Used by the application factory and,
for single tools, by the orchestrating server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from opsconductor.engine.plan_schema import UNACTED_KEYS
from opsconductor.model.errors import OpsError, Problem, from_problems
from opsconductor.model.outcome import PlanRequest, StepRequest
from opsconductor.services.kit.request_reader import CallHeaders

TOP_LEVEL_KEYS = ("execution_id", "plan", "tenant_id", "actor_id")
STEP_KEYS = tuple(StepRequest.__struct_fields__)
DESCRIPTIVE_STEP_KEYS = frozenset({"name", "execution_order", "rationale", "purpose", "comment"})
"""Keys that only tell people something, so leaving them out changes nothing (`description` is a field)."""
DESCRIPTIVE_PLAN_KEYS = frozenset(
    {"name", "description", "metadata", "id", "plan_id", "version", "created_at", "tags", "rationale"}
)
_KNOWN_STEP_KEYS = DESCRIPTIVE_STEP_KEYS | UNACTED_KEYS | {*STEP_KEYS, "parameters"}
_EXECUTION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MSGSPEC_PATH = re.compile(r" - at `(?:key in )?\$(.*)`$")
_MAX_NAME = 200
_MAX_PROBLEMS = 100


class _Top(msgspec.Struct, frozen=True, kw_only=True):
    tenant_id: str | None = None
    actor_id: str | int | None = None


def decode_plan_request(document: Mapping[str, Any], headers: CallHeaders, *, max_steps: int) -> PlanRequest:
    """Check a request body and join it with its headers.

    Raises OpsError: `request_invalid` (unknown or wrong top-level keys, steps that do not follow the format),
    `plan_feature_unsupported` (keys that a service cannot act on), `plan_empty`, `plan_too_large`; `problems` has each.
    """
    problems = [*_top_problems(document), *_plan_problems(document.get("plan"))]
    if problems:
        raise _error(problems)
    plan = document["plan"]
    raw_steps = plan["steps"]
    _check_count(len(raw_steps), max_steps)
    steps, problems = _decode_steps(raw_steps)
    if problems:
        raise _error(problems)
    top = msgspec.convert({key: document.get(key) for key in ("tenant_id", "actor_id")}, _Top)
    return PlanRequest(
        execution_id=document["execution_id"],
        steps=tuple(steps),
        tenant_id=top.tenant_id,
        actor_id=top.actor_id,
        idempotency_key=headers.idempotency_key,
        deadline_at=headers.deadline_at,
        epoch=headers.epoch,
        plan_name=str(plan.get("name") or "")[:_MAX_NAME],
    )


def unacted_keys(plan: Mapping[str, Any]) -> tuple[Problem, ...]:
    """A warning for each key of an older plan that was taken and changes nothing. `plan` is one that was decoded."""
    places = [("plan", plan), *((f"plan.steps[{index}]", step) for index, step in enumerate(plan["steps"]))]
    found = [(where, key) for where, entry in places for key in entry if key in UNACTED_KEYS]
    return tuple(
        Problem(
            code="plan_feature_unsupported",
            field=f"{where}.{key}",
            message=f"{key!r} is not acted on",
            level="warning",
        )
        for where, key in found[:_MAX_PROBLEMS]
    )


def _top_problems(document: Mapping[str, Any]) -> Iterable[Problem]:
    for key in document:
        if key not in TOP_LEVEL_KEYS:
            yield _unknown(key, key, TOP_LEVEL_KEYS)
    execution_id = document.get("execution_id")
    if not (isinstance(execution_id, str) and _EXECUTION_ID.fullmatch(execution_id)):
        expected = "1 to 128 characters of A-Z a-z 0-9 . _ - (a UUID)"
        found = "nothing" if execution_id is None else _shown(execution_id)
        yield _problem("request_invalid", "execution_id", f"found {found}, expected {expected}", expected=expected)
    for key in ("tenant_id", "actor_id"):
        try:
            msgspec.convert({key: document.get(key)}, _Top)
        except msgspec.ValidationError as error:
            yield _problem("request_invalid", key, _MSGSPEC_PATH.sub("", str(error)))


def _plan_problems(plan: Any) -> Iterable[Problem]:
    if not isinstance(plan, dict):
        yield _problem("request_invalid", "plan", f"found {_shown(plan)}, expected an object with `steps`")
        return
    if not isinstance(plan.get("steps"), list):
        found = _shown(plan.get("steps"))
        yield _problem("request_invalid", "plan.steps", f"found {found}, expected an array of steps")
    for key in plan:
        if key != "steps" and key not in DESCRIPTIVE_PLAN_KEYS and key not in UNACTED_KEYS:
            yield _unsupported(f"plan.{_clipped(key)}", key, ("steps", *DESCRIPTIVE_PLAN_KEYS))


def _check_count(count: int, max_steps: int) -> None:
    if count == 0:
        raise OpsError("plan_empty", "plan.steps has no steps; send at least one", field="plan.steps")
    if count > max_steps:
        raise OpsError(
            "plan_too_large", f"plan.steps has {count} steps, at most {max_steps} are taken", field="plan.steps"
        )


def _decode_steps(raw_steps: list[Any]) -> tuple[list[StepRequest], list[Problem]]:
    steps: list[StepRequest] = []
    problems: list[Problem] = []
    first_use: dict[str, int] = {}
    for index, raw in enumerate(raw_steps):
        field = f"plan.steps[{index}]"
        found = list(_step_problems(raw, field))
        if not found:
            step, found = _convert(raw, field)
            steps.append(step)
            if step.id and first_use.setdefault(step.id, index) != index:
                message = f"step {first_use[step.id]} has the id {_clipped(step.id)!r} too"
                found = [_problem("request_invalid", f"{field}.id", message)]
        problems += found
        if len(problems) >= _MAX_PROBLEMS:
            break
    return steps, problems


def _step_problems(raw: Any, field: str) -> Iterable[Problem]:
    if not isinstance(raw, dict):
        yield _problem("request_invalid", field, f"found {_shown(raw)}, expected an object with `tool` and `inputs`")
        return
    for key in raw:
        if key not in _KNOWN_STEP_KEYS:
            yield _unsupported(f"{field}.{_clipped(key)}", key, STEP_KEYS)
    if "inputs" in raw and "parameters" in raw:
        yield _problem("request_invalid", f"{field}.parameters", "`inputs` is there too and means the same; keep one")


def _convert(raw: Mapping[str, Any], field: str) -> tuple[StepRequest, list[Problem]]:
    values = {key: value for key, value in raw.items() if key in STEP_KEYS}
    if "parameters" in raw:
        values["inputs"] = raw["parameters"]
    for key in ("inputs", "env", "id", "description"):
        if values.get(key, "") is None:  # older clients write null for what they leave out
            del values[key]
    try:
        step = msgspec.convert(values, StepRequest)
    except msgspec.ValidationError as error:
        place = _MSGSPEC_PATH.search(str(error))
        where = f"{field}{place[1]}" if place else field
        if "parameters" in raw:
            where = where.replace(".inputs", ".parameters", 1)
        return _NOTHING, [_problem("request_invalid", where, _MSGSPEC_PATH.sub("", str(error)))]
    return step, list(_value_problems(step, field))


_NOTHING = StepRequest(tool="")


def _value_problems(step: StepRequest, field: str) -> Iterable[Problem]:
    for key, text, least in (("tool", step.tool, 1), ("id", step.id, 0)):
        if not least <= len(text) <= _MAX_NAME:
            message = f"found {len(text)} characters, expected {least} to {_MAX_NAME}"
            yield _problem("request_invalid", f"{field}.{key}", message)
    if step.timeout_s is not None and step.timeout_s <= 0:
        message = f"found {step.timeout_s:g}, expected more than 0 seconds"
        yield _problem("request_invalid", f"{field}.timeout_s", message)


def _unknown(field: str, key: str, known: Iterable[str]) -> Problem:
    message = f"unknown key {_clipped(key)!r}; known are {', '.join(known)}"
    return _problem("request_invalid", _clipped(field), message, key=key, known=known)


def _unsupported(field: str, key: str, known: Iterable[str]) -> Problem:
    message = f"a service does not act on {_clipped(key)!r}; send such a plan to the gateway, or leave the key out"
    return _problem("plan_feature_unsupported", field, message, key=key, known=known)


def _problem(
    code: str, field: str, message: str, *, expected: str | None = None, key: str = "", known: Iterable[str] = ()
) -> Problem:
    near = get_close_matches(key[:64], sorted(known), n=1) if key else []
    return Problem(code=code, field=field, message=message, expected=expected, suggestion=near[0] if near else None)


def _error(problems: list[Problem]) -> OpsError:
    """The error of the request's shape comes first; a plan that is only too rich is named so."""
    codes = {problem.code for problem in problems}
    error = from_problems("request_invalid" if "request_invalid" in codes else codes.pop(), problems[:_MAX_PROBLEMS])
    error.context["field"] = problems[0].field
    return error


def _shown(value: Any) -> str:
    """A value's kind, or a short text: bodies may carry secrets, so inputs are never shown."""
    match value:
        case None:
            return "nothing"
        case str():
            return repr(_clipped(value))
        case _:
            return f"a value of type {type(value).__name__}"


def _clipped(text: str) -> str:
    return text if len(text) <= 64 else f"{text[:64]}…"
