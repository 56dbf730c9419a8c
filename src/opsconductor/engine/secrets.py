"""Which values of a plan are secret, and how they are kept out of what is recorded. Pure; called by the engine.

A value is secret when the plan's input, or the tool's input it is given to, says so. It is then masked wherever it
turns up in the execution's records: a template may have put it into an input that is not secret, and a program may
print it. The masking itself is handed in (`RedactorOf`), because it belongs to a layer above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from opsconductor.engine.resolution import Chosen
from opsconductor.model.names import canonical
from opsconductor.model.outcome import StepResult
from opsconductor.model.plan import Plan

MASK = "***"
Redact = Callable[[Any], Any]
RedactorOf = Callable[[tuple[str, ...]], Redact]
"""Makes a function that masks these texts, and what is secret everywhere, in JSON-like data."""


def nothing_secret(value: Any) -> Any:
    """Masks nothing."""
    return value


def no_redactor(_secrets: tuple[str, ...]) -> Redact:
    """A `RedactorOf` that masks nothing."""
    return nothing_secret


def texts_of(value: Any) -> Iterator[str]:
    """Every text and number in a JSON-like value, as text; keys are not values."""
    match value:
        case str():
            yield value
        case bool() | None:
            return
        case int() | float():
            yield str(value)
        case Mapping():
            for entry in value.values():
                yield from texts_of(entry)
        case list() | tuple():
            for entry in value:
                yield from texts_of(entry)


def secret_inputs(chosen: Chosen | None) -> frozenset[str]:
    """Canonical names and aliases of a tool's secret inputs."""
    if chosen is None:
        return frozenset()
    specs = chosen.definition.inputs.items()
    return frozenset(canonical(name) for key, spec in specs if spec.secret for name in (key, *spec.aliases))


def mask(inputs: Mapping[str, Any], secret: frozenset[str]) -> dict[str, Any]:
    """`inputs` with the values of secret ones replaced, in whatever spelling they are given."""
    if not secret:
        return dict(inputs)
    return {name: MASK if canonical(name) in secret else value for name, value in inputs.items()}


def secret_texts(
    plan: Plan, bound: Mapping[str, Any], choose: Callable[[str, str | None], Chosen | None]
) -> tuple[str, ...]:
    """The secret values of an execution: of the plan's secret inputs, and those written at secret inputs of tools.

    `choose` finds a tool's operation, or None. What a template makes is left out: its parts are secret, or are not.
    """
    found = set(_of_plan(plan, bound))
    for step in plan.steps:
        if step.inputs and (secret := secret_inputs(choose(step.tool, step.operation))):
            given = [value for name, value in step.inputs.items() if canonical(name) in secret]
            found |= {text for text in texts_of(given) if "{{" not in text}
    return tuple(sorted(found))


def _of_plan(plan: Plan, bound: Mapping[str, Any]) -> Iterable[str]:
    for name, declared in plan.inputs.items():
        if declared.secret:
            yield from texts_of(bound.get(name))


def without_secrets(result: StepResult, redact: Redact) -> StepResult:
    """A step's result with the execution's secrets masked in its output and its error."""
    if redact is nothing_secret:
        return result
    error = result.error
    if error is not None:
        error = msgspec.structs.replace(error, message=redact(error.message), context=redact(error.context))
    return msgspec.structs.replace(result, output=redact(result.output), error=error)
