"""One step of a plan document, field by field; what does not fit is noted. Called by the plan reader alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from opsconductor.engine import older_targets
from opsconductor.engine.expressions import Expression, whole
from opsconductor.engine.plan_schema import (
    NAME,
    STEP_ID,
    STEP_KEYS,
    Fields,
    Findings,
    Path,
    PlanLimits,
    check_keys,
    excerpt,
)
from opsconductor.engine.references import LOOP_VARIABLES, References
from opsconductor.model.plan import OnFailure, Step


class Draft(msgspec.Struct):
    """A step whose fields were read; what it waits for is not known before all ids are."""

    step: Step
    path: Path
    stated: list[str] | None
    used: list[Expression]


class StepReader:
    """Reads the steps of one document. `uses` says how often each id is there; `unacted` takes what is only kept."""

    def __init__(
        self,
        findings: Findings,
        limits: PlanLimits,
        references: References,
        uses: Counter[str],
        unacted: dict[str, Any],
    ) -> None:
        self._findings, self._limits, self._references = findings, limits, references
        self._uses, self._unacted = uses, unacted

    def read(self, raw: Mapping[str, Any], step_id: str, path: Path) -> Draft:
        """The step with that id; what is wrong with it is noted."""
        fields = Fields(raw, path, self._findings, step_id)
        check_keys(fields, STEP_KEYS, self._unacted)
        self._check_id(fields, step_id)
        on_failure, for_each, inputs = self._on_failure(fields), self._for_each(fields), self._step_inputs(fields)
        if for_each is None and older_targets.KEY in inputs:
            for_each, inputs = older_targets.expand(inputs)
        step = Step(
            id=step_id,
            tool=self._tool(fields),
            operation=fields.text("operation", max_chars=64),
            description=fields.text("description") or fields.text("name", max_chars=200) or "",
            inputs=inputs,
            target=fields.text("target", max_chars=1000),
            when=self._when(fields),
            for_each=for_each,
            max_parallel=fields.count("max_parallel", self._limits.max_parallel),
            timeout_s=fields.seconds("timeout_s", self._limits.max_timeout_s),
            on_failure=on_failure,
            env=self._env(fields),
        )
        if step.max_parallel is not None and for_each is None:
            fields.wrong("max_parallel", "for_each beside it")
        used = self._used(fields, step)
        return Draft(step, path, self._stated(fields), used)

    def _check_id(self, fields: Fields, step_id: str) -> None:
        key = "id" if fields.raw.get("id") is not None else "step_id"
        given = fields.raw.get(key)
        if given is not None and (
            isinstance(given, bool) or not isinstance(given, str | int) or not STEP_ID.fullmatch(step_id)
        ):
            fields.wrong(key, "letters, digits, '-' and '_', beginning with a letter or digit, at most 64")
        elif self._uses[step_id] > 1:
            message = f"the id {step_id!r} is used by {self._uses[step_id]} steps, expected one"
            self._findings.add("step_invalid", message, (*fields.path, key), step=step_id, found=step_id)

    def _tool(self, fields: Fields) -> str:
        tool = fields.text("tool", max_chars=200)
        if fields.raw.get("tool") is None or (tool is not None and not tool.strip()):
            fields.wrong("tool", "the name of a tool")
        return tool or ""

    def _step_inputs(self, fields: Fields) -> dict[str, Any]:
        if fields.raw.get("inputs") is not None and fields.raw.get("parameters") is not None:
            fields.wrong("parameters", "nothing: `inputs` is there too, and both mean the same")
        key = "parameters" if fields.raw.get("inputs") is None else "inputs"
        return fields.mapping(key, "an object (name: value)")

    def _on_failure(self, fields: Fields) -> OnFailure:
        value = fields.raw.get("on_failure")
        if value in (None, "stop", "continue"):
            return OnFailure(value or "stop")
        if value == "rollback":
            fields.wrong(
                "on_failure", "stop or continue; this version does not roll back", code="plan_feature_unsupported"
            )
        else:
            fields.wrong("on_failure", "stop or continue")
        return OnFailure.STOP

    def _when(self, fields: Fields) -> str | None:
        value = fields.raw.get("when")
        if value is None or value is True:
            return None
        if value is False:
            return "{{ false }}"
        if not isinstance(value, str) or "{{" not in value:
            fields.wrong("when", "one expression in braces: \"{{ steps.ID.status == 'completed' }}\"")
            return None
        return value

    def _for_each(self, fields: Fields) -> str | list[Any] | None:
        value = fields.raw.get("for_each")
        if isinstance(value, list) and len(value) > self._limits.max_items:
            fields.wrong("for_each", f"at most {self._limits.max_items} items", code="plan_too_large")
        elif value is not None and not isinstance(value, list) and not (isinstance(value, str) and "{{" in value):
            fields.wrong("for_each", 'a list, or one expression that gives one: "{{ steps.ID.output.assets }}"')
        return value if isinstance(value, str | list) else None

    def _env(self, fields: Fields) -> dict[str, str]:
        env = fields.mapping("env", "an object (NAME: text)")
        for name, value in env.items():
            if not isinstance(value, str) or "\0" in value or not NAME.fullmatch(name):
                message = f"found {excerpt(value)!r}, expected a name of letters, digits and _ with a text"
                self._findings.add("step_invalid", message, (*fields.path, "env", name), step=fields.step)
        return {name: value for name, value in env.items() if isinstance(value, str)}

    def _stated(self, fields: Fields) -> list[str] | None:
        value = fields.raw.get("depends_on")
        if value is None:
            return None
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str | int) and not isinstance(entry, bool) for entry in entries):
            fields.wrong("depends_on", "a list of step ids")
            return []
        return [str(entry) for entry in entries]

    def _used(self, fields: Fields, step: Step) -> list[Expression]:
        """Every expression of the step, with what it refers to checked."""
        inputs_key = "parameters" if fields.raw.get("inputs") is None else "inputs"
        loop = LOOP_VARIABLES if step.for_each is not None else frozenset[str]()
        parts: tuple[tuple[str, Any, frozenset[str]], ...] = (
            (inputs_key, step.inputs, loop),
            ("target", step.target, loop),
            ("env", step.env, loop),
            ("when", step.when, frozenset()),
            ("for_each", step.for_each, frozenset()),
        )
        used = list[Expression]()
        for key, value, variables in parts:
            here = self._references.find(value, (*fields.path, key), step=step.id, variables=variables)
            used += here
            if key in ("when", "for_each") and isinstance(value, str) and here and whole(value) is None:
                fields.wrong(key, "exactly one expression in braces and nothing around it")
        return used
