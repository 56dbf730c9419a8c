"""What the expressions of a plan refer to, checked while it is read: steps, inputs, receivers and variables.

Used by the plan reader and the step reader.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from opsconductor.engine import dependencies
from opsconductor.engine.expressions import Expression, expressions, texts
from opsconductor.engine.plan_schema import Findings, Path, excerpt, nearest
from opsconductor.engine.templates import Templates
from opsconductor.model.errors import OpsError

LOOP_VARIABLES = frozenset({"item", "index"})
_SYNTAX = Templates()


class References:
    """Finds expressions, and notes those that do not parse or that refer to what does not exist."""

    def __init__(
        self, findings: Findings, *, steps: Collection[str], inputs: Collection[str], receivers: Collection[str]
    ) -> None:
        self._findings = findings
        self._known = {"steps": dict.fromkeys(steps), "inputs": inputs, "receivers": receivers}

    def find(
        self, value: Any, path: Path, *, step: str | None = None, variables: frozenset[str] = frozenset()
    ) -> list[Expression]:
        """All well-formed expressions in `value`. `variables` may be used besides those of older plans."""
        found = list[Expression]()
        for place, text in texts(value):
            if "{{" not in text and "{%" not in text:
                continue
            try:
                here = list(expressions(text))
                for expression in here:
                    _SYNTAX.check(expression)
            except OpsError as error:
                self._findings.add(error.code, error.message, (*path, *place), step=step, found=excerpt(text))
                continue
            found += here
            for expression in here:
                self._check(expression, (*path, *place), step, variables | dependencies.OLDER_VARIABLES)
        return found

    def _check(self, expression: Expression, path: Path, step: str | None, variables: frozenset[str]) -> None:
        for root, names in (
            ("steps", expression.steps),
            ("inputs", expression.inputs),
            ("receivers", expression.receivers),
        ):
            for name in sorted(names):
                if name not in self._known[root]:
                    known = (f"{root}.{one}" for one in self._known[root])
                    self._missing(expression, f"{root}.{name}", known, path, step)
        for name in sorted(expression.names - variables):
            if not 1 <= (dependencies.older_result_step(name) or 0) <= len(self._known["steps"]):
                self._missing(expression, name, variables | self._known.keys(), path, step)

    def _missing(self, expression: Expression, name: str, known: Iterable[str], path: Path, step: str | None) -> None:
        message = f"{{{{ {excerpt(expression.source)} }}}} refers to {name}, which does not exist"
        if self._findings.full:
            self._findings.add("expression_invalid", message, path)
            return
        names = sorted(known)
        near = nearest(name, names)
        hint = "" if near else f"; there is {', '.join(names[:20]) or 'nothing of that kind'}"
        self._findings.add("expression_invalid", message + hint, path, step=step, found=name, suggestion=near)
