"""What templates see while an execution runs: inputs, results of steps, receivers, and the variables of older plans.

`steps.ID` has `status`, `output`, `error` (`code`, `message`, or null), `target`, `started_at`, `completed_at`,
`duration_ms`; after a `for_each` also `total`, `completed`, `failed`, `items`. In `output`, the fields of a parsed
result (`output.data`) may be named directly: `steps.find.output.assets` is `steps.find.output.data.assets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsconductor.engine.dependencies import OLDER_VARIABLES, older_result_step
from opsconductor.engine.expressions import expressions
from opsconductor.engine.templates import ClosedMapping, closed
from opsconductor.model.names import canonical
from opsconductor.model.outcome import StepResult
from opsconductor.model.plan import Plan

_COUNTS = ("total", "completed", "failed", "items")


class Scope:
    """The variables of one execution. Only results that some template names are kept."""

    def __init__(self, plan: Plan, inputs: Mapping[str, Any], receivers: Mapping[str, Any]) -> None:
        self._steps = ClosedMapping()
        self._variables: dict[str, Any] = {
            "inputs": closed(dict(inputs)),
            "receivers": closed(dict(receivers)),
            "steps": self._steps,
        }
        parts = [(step.inputs, step.target, step.when, step.env, step.for_each) for step in plan.steps]
        used = list(expressions([*parts, plan.outputs]))
        self._named = {name for expression in used for name in expression.steps}
        self._older = {name for expression in used for name in expression.names}
        self._assets_of = -1
        self._numbers = {older_result_step(name) for name in self._older}

    def variables(self, **more: Any) -> dict[str, Any]:
        """All variables; `more` are those of a loop."""
        if not more:
            return self._variables
        return {**self._variables, **{name: closed(value) for name, value in more.items()}}

    def add(self, result: StepResult) -> None:
        """Make a step's result visible."""
        if result.id in self._named:
            dict.__setitem__(self._steps, result.id, closed(_view(result)))
        if result.step_index + 1 in self._numbers:
            self._variables[f"step_{result.step_index + 1}_result"] = closed(_output(result))
        if self._older & OLDER_VARIABLES and canonical(result.tool) == "asset_query":
            self._add_assets(result.step_index, _output(result))

    def _add_assets(self, index: int, output: Mapping[str, Any]) -> None:
        """The last asset query in the plan's order counts, whichever ends last."""
        if index < self._assets_of:
            return
        self._assets_of = index
        assets = [asset for asset in output.get("assets") or [] if isinstance(asset, Mapping)]
        found = {
            "assets": assets,
            "hostnames": [asset["hostname"] for asset in assets if asset.get("hostname")],
            "ip_addresses": [asset["ip_address"] for asset in assets if asset.get("ip_address")],
            "asset_count": len(assets),
        }
        self._variables |= {name: closed(value) for name, value in found.items()}


def _output(result: StepResult) -> dict[str, Any]:
    data = result.output.get("data")
    return {**data, **result.output} if isinstance(data, dict) else result.output


def _view(result: StepResult) -> dict[str, Any]:
    error = None if result.error is None else {"code": result.error.code, "message": result.error.message}
    counts = (
        {name: result.output[name] for name in _COUNTS if name in result.output} if "items" in result.output else {}
    )
    return {
        **counts,
        "status": str(result.status),
        "output": _output(result),
        "error": error,
        "target": result.target,
        "started_at": result.started_at,
        "completed_at": result.completed_at,
        "duration_ms": result.duration_ms,
    }
