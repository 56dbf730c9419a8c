"""What a plan would do, step by step, and nothing is run: routes, targets, commands, effects, approvals.

The result is plain data (JSON): `opsconductor explain --json` prints it as it is. What only a result can tell is marked
`⟨known when step X is done⟩` and never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsconductor.catalog.inputs import check_inputs
from opsconductor.catalog.render import render_command
from opsconductor.engine.expressions import Expression, expressions, parse
from opsconductor.engine.resolution import (
    Catalog,
    Chosen,
    Router,
    choose,
    split_target,
    target_name,
    without_credentials,
)
from opsconductor.engine.templates import Templates, closed, to_text
from opsconductor.engine.validation import Rules, is_static
from opsconductor.model.errors import OpsError
from opsconductor.model.plan import Plan, Step
from opsconductor.model.target import LOCAL
from opsconductor.model.tool import Effect


def explain(
    plan: Plan,
    inputs: Mapping[str, Any],
    *,
    catalog: Catalog,
    router: Router,
    rules: Rules = Rules(),  # noqa: B008 - frozen
    templates: Templates | None = None,
) -> dict[str, Any]:
    """`{"plan", "inputs", "steps": [...], "receivers", "outputs"}` for a plan and its bound inputs.

    A step has `id, tool, operation, description, service, url, route_reason, target, runs_on, effect, idempotent,
    approval, inputs, argv, stdin, timeout_s, depends_on, when, for_each, on_failure, env, error`. `argv` is None where
    the operation has none (handlers) or an input is not known yet; `error` says what would make the step fail.
    """
    explainer = _Explainer(catalog, router, rules, templates or Templates(), {"inputs": closed(dict(inputs))})
    secret = {name for name, declared in plan.inputs.items() if declared.secret}
    return {
        "plan": plan.name,
        "description": plan.description,
        "inputs": {name: "***" if name in secret else value for name, value in inputs.items()},
        "timeout_s": plan.timeout_s,
        "receivers": {name: receiver.kind for name, receiver in plan.receivers.items()},
        "steps": [explainer.step(step, secret) for step in plan.steps],
        "outputs": dict(plan.outputs),
    }


class _Explainer:
    def __init__(
        self, catalog: Catalog, router: Router, rules: Rules, templates: Templates, scope: Mapping[str, Any]
    ) -> None:
        self._catalog, self._router, self._rules = catalog, router, rules
        self._templates, self._scope = templates, scope

    def step(self, step: Step, secret: set[str]) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": step.id,
            "tool": step.tool,
            "description": step.description,
            **dict.fromkeys(("service", "url", "route_reason")),
            "depends_on": list(step.depends_on),
            "when": step.when,
            "for_each": step.for_each,
            "max_parallel": step.max_parallel,
            "on_failure": str(step.on_failure),
            "timeout_s": step.timeout_s,
            "env": dict(step.env),
            **dict.fromkeys(("operation", "effect", "idempotent", "approval", "target", "runs_on")),
            **dict.fromkeys(("argv", "stdin", "error")),
        }
        try:
            decision = self._router.resolve(step.tool)
            shown |= {"service": decision.service, "route_reason": decision.reason}
            shown["url"] = without_credentials(decision.url)
            hidden = any(expression.inputs & secret for expression in expressions([step.inputs, step.target]))
            self._add_inputs(shown, step, hidden)
        except OpsError as error:
            shown["error"] = {"code": error.code, "message": error.message}
        return shown

    def _add_inputs(self, shown: dict[str, Any], step: Step, hidden: bool) -> None:
        shown["inputs"] = step.inputs if hidden else self.known(step.inputs)
        chosen = choose(self._catalog.get(step.tool).definition, step.operation)
        naming, own = split_target(chosen, shown["inputs"])
        secrets = {name for name, spec in chosen.definition.inputs.items() if spec.secret}
        shown["inputs"] = {name: "***" if name in secrets else value for name, value in shown["inputs"].items()}
        self._add_operation(shown, step, chosen)
        if chosen.runs_on_target:
            shown["target"] = target_name(
                naming, self._rules.default_target, None if step.target is None else self.known(step.target)
            )
            if shown["target"] is None:
                raise OpsError("target_missing", "the step runs on a target and names none")
        else:
            shown["target"] = LOCAL.name
        self._add_command(shown, step, chosen, own, bool(secrets) or hidden)

    def _add_operation(self, shown: dict[str, Any], step: Step, chosen: Chosen) -> None:
        shown["runs_on"] = "target" if chosen.runs_on_target else "service"
        operation = chosen.operation
        if operation is None:
            raise OpsError("tool_not_executable", f"{step.tool}: its definition does not say how to run it")
        shown["operation"] = chosen.operation_name
        shown["effect"] = str(operation.effect)
        shown["idempotent"] = operation.is_idempotent
        shown["timeout_s"] = min(step.timeout_s or operation.timeout_s, operation.timeout_s)
        shown["approval"] = approval_hint(operation.effect, operation.approval)
        if operation.not_executable is not None:
            raise OpsError("tool_not_executable", f"{step.tool}: {operation.not_executable}")

    def _add_command(
        self, shown: dict[str, Any], step: Step, chosen: Chosen, own: Mapping[str, Any], hidden: bool
    ) -> None:
        """The exact command, where it is one, nothing in it is secret and every input is known."""
        if chosen.operation is None or chosen.operation_name is None or chosen.operation.argv is None or hidden:
            return
        if not all(map(is_static, expressions(step.inputs))):
            shown["argv"] = None
            shown["argv_waits_for"] = sorted({name for one in expressions(step.inputs) for name in waits_for(one)})
            return
        values = check_inputs(chosen.definition, chosen.operation_name, own, self._rules.inputs)
        command = render_command(chosen.definition, chosen.operation_name, values, self._rules.inputs)
        shown["argv"] = list(command.argv)
        shown["stdin"] = None if command.stdin is None else command.stdin.decode("utf-8", "replace")

    def known(self, value: Any) -> Any:
        """`value` with what is known evaluated and the rest marked."""
        if isinstance(value, str):
            parts = parse(value)
            if all(isinstance(part, str) or is_static(part) for part in parts):
                return self._templates.text(value, self._scope)
            return "".join(self._piece(part) for part in parts)
        if isinstance(value, dict):
            return {key: self.known(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [self.known(entry) for entry in value]
        return value

    def _piece(self, part: str | Expression) -> str:
        if isinstance(part, str):
            return part
        if is_static(part):
            return to_text(self._templates.evaluate(part, self._scope))
        return f"⟨known when {' and '.join(waits_for(part))}⟩"


def waits_for(expression: Expression) -> list[str]:
    """What must happen before an expression has a value, in words."""
    waits = [f"step {name} is done" for name in sorted(expression.steps)]
    waits += [f"receiver {name} is started" for name in sorted(expression.receivers)]
    loop = expression.names & {"item", "index"}
    waits += ["for_each is at its item"] if loop else []
    return waits + [f"{name} is known" for name in sorted(expression.names - loop)]


def approval_hint(effect: Effect, approval: str) -> str:
    """Whether a person has to agree, as far as the definition says it."""
    if approval == "always":
        return "always"
    return {Effect.READ: "none", Effect.CHANGE: "by policy", Effect.DESTRUCTIVE: "by policy"}[effect]
