"""From a document to a `Plan`, or to all of its errors at once, each with file, line, column, step and field.

`read_plan` is called by the interfaces (run, explain, the API) before anything else happens to a plan. It knows the
format alone; whether tools, operations and inputs exist is `engine.validation`'s business.

Older plans are read as they are: steps without ids (they become `step_1`, `step_2`, … by their place), `parameters` for
`inputs`, `execution_order`, `step_id`, `name`, a `plan: {steps: …}` around it all. Keys that are kept and not acted on
become warnings. How steps wait for each other: `engine.dependencies`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from opsconductor.engine import dependencies
from opsconductor.engine.expressions import Expression, expressions, texts, whole
from opsconductor.engine.plan_schema import (
    NAME,
    PLAN_KEYS,
    STEP_ID,
    STEP_KEYS,
    UNACTED_KEYS,
    UNSUPPORTED_KEYS,
    Fields,
    Findings,
    Path,
    Places,
    PlanLimits,
    Position,
    excerpt,
    nearest,
)
from opsconductor.engine.templates import Templates
from opsconductor.model.errors import OpsError
from opsconductor.model.plan import OnFailure, Plan, PlanInput, Receiver, Step

_SYNTAX = Templates()
DEFAULT_LIMITS = PlanLimits()


def read_plan(
    source: bytes | Mapping[str, Any], *, file: str | None = None, limits: PlanLimits = DEFAULT_LIMITS
) -> Plan:
    """Read a plan from YAML or JSON bytes, or from parsed JSON (then without lines).

    Raises OpsError with every problem: `plan_invalid`, `plan_empty`, `plan_too_large`, `plan_cycle`,
    `plan_feature_unsupported`, `step_invalid`, `expression_invalid`; or those of the document itself
    (`yaml_invalid`, `document_too_large`).
    """
    return read_placed(source, file=file, limits=limits)[0]


def read_placed(
    source: bytes | Mapping[str, Any], *, file: str | None = None, limits: PlanLimits = DEFAULT_LIMITS
) -> tuple[Plan, Places]:
    """Like `read_plan`, and with where things stand in the document, for `Validator.check`."""
    raw, position = _parse(source, file, limits)
    findings = Findings(file, position)
    if not isinstance(raw, Mapping):
        found = excerpt(raw)
        findings.add("plan_invalid", f"found {found!r}, expected a plan: an object with `steps`", (), found=found)
        findings.raise_if_any()
    wrapped = "steps" not in raw and isinstance(raw.get("plan"), Mapping)
    reader = _Reader(findings, limits, file)
    plan = reader.read(raw["plan"] if wrapped else raw, ("plan",) if wrapped else ())
    return plan, Places(position, reader.paths)


def _parse(source: bytes | Mapping[str, Any], file: str | None, limits: PlanLimits) -> tuple[Any, Position]:
    if not isinstance(source, bytes):
        return source, lambda _path: None
    from opsconductor.catalog.document import read_document

    document = read_document(source, file=file or "plan", limits=limits.document)
    return document.value, document.position


class _Draft(msgspec.Struct):
    """A step whose fields were read; what it waits for is not known before all ids are."""

    step: Step
    path: Path
    stated: list[str] | None
    used: list[Expression]


class _Reader:
    """Reads one document; one use."""

    def __init__(self, findings: Findings, limits: PlanLimits, file: str | None) -> None:
        self._findings, self._limits, self._file = findings, limits, file
        self._unacted: dict[str, Any] = {}
        self._inputs: dict[str, PlanInput] = {}
        self._receivers: dict[str, Receiver] = {}
        self._ids: list[str] = []
        self._uses = Counter[str]()
        self.paths: dict[str, Path] = {}

    def read(self, raw: Mapping[str, Any], path: Path) -> Plan:
        fields = Fields(raw, path, self._findings)
        entries = self._entries(raw, path)
        self._check_keys(raw, PLAN_KEYS, path, None)
        self._inputs = self._read_inputs(fields)
        self._receivers = self._read_receivers(fields)
        drafts = self._drafts(entries, (*path, "steps"))
        steps = self._connect(drafts)
        plan = Plan(
            name=fields.text("name", max_chars=200) or "",
            description=fields.text("description") or "",
            inputs=self._inputs,
            timeout_s=fields.seconds("timeout_s", self._limits.max_timeout_s),
            receivers=self._receivers,
            outputs=self._read_outputs(fields),
            steps=steps,
            unacted=self._unacted,
            source=self._file,
            warnings=tuple(self._findings.warnings),
        )
        self._findings.raise_if_any()
        return plan

    def _entries(self, raw: Mapping[str, Any], path: Path) -> list[Any]:
        """The list of steps. Its size is judged before anything else is read."""
        entries = raw.get("steps")
        if not isinstance(entries, list) or not entries:
            found = "nothing" if entries is None else "an empty list" if entries == [] else repr(excerpt(entries))
            code = "plan_empty" if not entries else "plan_invalid"
            message = f"found {found}, expected a list with at least one step"
            self._findings.add(code, message, (*path, "steps"), expected="a list with at least one step")
        elif len(entries) > self._limits.max_steps:
            message = (
                f"found {len(entries)} steps, expected at most {self._limits.max_steps}; use for_each or split the plan"
            )
            self._findings.add("plan_too_large", message, (*path, "steps"), found=len(entries))
        self._findings.raise_if_any()
        assert isinstance(entries, list)  # noqa: S101 - anything else was raised above
        return entries

    def _check_keys(self, raw: Mapping[str, Any], known: frozenset[str], path: Path, step: str | None) -> None:
        for key, value in raw.items():
            place = (*path, key)
            if key in known:
                continue
            if key in UNACTED_KEYS:
                self._unacted[".".join(map(str, place))] = value
                message = f"{key} is kept and not acted on"
                self._findings.add("plan_feature_unsupported", message, place, step=step, warning=True)
            elif key in UNSUPPORTED_KEYS:
                if value not in (None, False):
                    message = f"this version does not act on {key!r}; without it the plan would do something else"
                    self._findings.add("plan_feature_unsupported", message, place, step=step, found=key)
            else:
                self._findings.unknown_key(str(key), known | UNSUPPORTED_KEYS | UNACTED_KEYS, place, step=step)

    def _read_inputs(self, fields: Fields) -> dict[str, PlanInput]:
        declared = {}
        for name, raw in fields.mapping("inputs", "an object (name: declaration)").items():
            path = (*fields.path, "inputs", name)
            if not NAME.fullmatch(name):
                message = f"found {name!r}; a name begins with a letter and has letters, digits and _"
                self._findings.add("plan_invalid", message, path)
            elif isinstance(raw, Mapping):
                declared[name] = self._convert(raw, PlanInput, path) or PlanInput()
                for key in raw.keys() - set(PlanInput.__struct_fields__):
                    self._findings.unknown_key(str(key), PlanInput.__struct_fields__, (*path, str(key)))
            else:
                message = f"found {excerpt(raw)!r}, expected a declaration: {{type: string, default: …}}"
                self._findings.add("plan_invalid", message, path, found=excerpt(raw))
        return declared

    def _read_receivers(self, fields: Fields) -> dict[str, Receiver]:
        raw = fields.mapping("receivers", "an object (name: {kind: webhook | mail})")
        pairs = {name: self._convert(value, Receiver, (*fields.path, "receivers", name)) for name, value in raw.items()}
        return {name: receiver for name, receiver in pairs.items() if receiver is not None}

    def _convert(self, raw: Any, kind: type[Any], path: Path) -> Any:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            self._findings.add("plan_invalid", str(error), path, found=excerpt(raw))
            return None

    def _read_outputs(self, fields: Fields) -> dict[str, str]:
        outputs = fields.mapping("outputs", "an object (name: template)")
        for name, value in outputs.items():
            path = (*fields.path, "outputs", name)
            if not isinstance(value, str):
                self._findings.add("plan_invalid", f"found {excerpt(value)!r}, expected a template", path)
                continue
            for place, expression in self._expressions(value, path, None):
                self._check_references(expression, place, None, dependencies.OLDER_VARIABLES)
        return outputs

    def _drafts(self, entries: list[Any], path: Path) -> list[_Draft]:
        places = [index for _, index in sorted((self._order(entry, i, path), i) for i, entry in enumerate(entries))]
        self._ids = _ids([entries[index] for index in places])
        self._uses = Counter(self._ids)
        self.paths = {step_id: (*path, place) for step_id, place in zip(self._ids, places, strict=True)}
        return [
            self._draft(entries[place], self._ids[index], (*path, place))
            for index, place in enumerate(places)
            if self._is_step(entries[place], self._ids[index], (*path, place))
        ]

    def _order(self, entry: Any, index: int, path: Path) -> float:
        order = entry.get("execution_order") if isinstance(entry, Mapping) else None
        if order is None:
            return index + 1
        if isinstance(order, int | float) and not isinstance(order, bool):
            return order
        message = f"found {excerpt(order)!r}, expected a number"
        self._findings.add("step_invalid", message, (*path, index, "execution_order"), found=excerpt(order))
        return index + 1

    def _is_step(self, entry: Any, step_id: str, path: Path) -> bool:
        if isinstance(entry, Mapping):
            return True
        message = f"found {excerpt(entry)!r}, expected a step: an object with `tool`"
        self._findings.add("step_invalid", message, path, step=step_id, found=excerpt(entry))
        return False

    def _draft(self, raw: Mapping[str, Any], step_id: str, path: Path) -> _Draft:
        fields = Fields(raw, path, self._findings, step_id)
        self._check_keys(raw, STEP_KEYS, path, step_id)
        self._check_id(fields, step_id)
        on_failure, for_each = self._on_failure(fields), self._for_each(fields)
        step = Step(
            id=step_id,
            tool=self._tool(fields),
            operation=fields.text("operation", max_chars=64),
            description=fields.text("description") or fields.text("name", max_chars=200) or "",
            inputs=self._step_inputs(fields),
            when=self._when(fields),
            for_each=for_each,
            max_parallel=fields.count("max_parallel", self._limits.max_parallel),
            timeout_s=fields.seconds("timeout_s", self._limits.max_timeout_s),
            on_failure=on_failure,
            env=self._env(fields),
            line=(self._findings.place(path) or (0, 0))[0],
        )
        if step.max_parallel is not None and for_each is None:
            fields.wrong("max_parallel", "for_each beside it")
        used = self._used(fields, step)
        return _Draft(step, path, self._stated(fields), used)

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

    def _expressions(self, value: Any, path: Path, step: str | None) -> list[tuple[Path, Expression]]:
        """All expressions in `value` with their places, their grammar checked."""
        found = list[tuple[Path, Expression]]()
        for place, text in texts(value):
            if "{{" not in text and "{%" not in text:
                continue
            try:
                here = list(expressions(text))
                for expression in here:
                    _SYNTAX.check(expression)
                found += [((*path, *place), expression) for expression in here]
            except OpsError as error:
                self._findings.add(error.code, error.message, (*path, *place), step=step, found=excerpt(text))
        return found

    def _used(self, fields: Fields, step: Step) -> list[Expression]:
        """Every expression of the step, with what it refers to checked."""
        inputs_key = "parameters" if fields.raw.get("inputs") is None else "inputs"
        parts: list[tuple[str, Any]] = [(inputs_key, step.inputs), ("when", step.when), ("env", step.env)]
        parts.append(("for_each", step.for_each))
        loop = frozenset({"item", "index"}) if step.for_each is not None else frozenset[str]()
        used = list[Expression]()
        for key, value in parts:
            path = (*fields.path, key)
            here = self._expressions(value, path, step.id)
            names = dependencies.OLDER_VARIABLES | (frozenset() if key == "for_each" else loop)
            for place, expression in here:
                self._check_references(expression, place, step.id, names)
                used.append(expression)
            if key in ("when", "for_each") and isinstance(value, str) and here and whole(value) is None:
                fields.wrong(key, "exactly one expression in braces and nothing around it")
        return used

    def _check_references(self, expression: Expression, path: Path, step: str | None, names: frozenset[str]) -> None:
        """Note references to steps, inputs, receivers and variables that do not exist."""
        kinds = (
            ("steps", expression.steps, self._ids),
            ("inputs", expression.inputs, self._inputs),
            ("receivers", expression.receivers, self._receivers),
        )
        missing = [
            (f"{root}.{name}", [f"{root}.{one}" for one in known])
            for root, used, known in kinds
            for name in sorted(used)
            if name not in known
        ]
        missing += [
            (name, sorted(names | {"steps", "inputs", "receivers"}))
            for name in sorted(expression.names - names)
            if not 1 <= (dependencies.older_result_step(name) or 0) <= len(self._ids)
        ]
        for name, known in missing:
            near = nearest(name, known)
            hint = "" if near else f"; there is {', '.join(known[:20]) or 'nothing of that kind'}"
            message = f"{{{{ {excerpt(expression.source)} }}}} refers to {name}, which does not exist{hint}"
            self._findings.add("expression_invalid", message, path, step=step, found=name, suggestion=near)

    def _connect(self, drafts: list[_Draft]) -> tuple[Step, ...]:
        """The steps with everything they wait for. Notes unknown names, waiting for oneself, and circles."""
        if len(drafts) != len(self._ids):
            return ()
        tools, known = [draft.step.tool for draft in drafts], set(self._ids)
        steps = []
        for index, draft in enumerate(drafts):
            if draft.stated is not None:
                self._check_stated(draft, known)
            waits = dependencies.complete(index, self._ids, tools, draft.stated, draft.used)
            steps.append(msgspec.structs.replace(draft.step, depends_on=tuple(name for name in waits if name in known)))
        circle = dependencies.find_cycle({step.id: step.depends_on for step in steps})
        if circle is not None and (circle[0] != circle[1] or not self._findings.errors):
            draft = drafts[self._ids.index(circle[0])]
            route = " → ".join(circle)
            message = f"{route}: each waits for the next; take one `depends_on` or reference away"
            self._findings.add("plan_cycle", message, draft.path, step=circle[0], found=route)
        return tuple(steps)

    def _check_stated(self, draft: _Draft, known: set[str]) -> None:
        for name in draft.stated or ():
            path = (*draft.path, "depends_on")
            if name == draft.step.id:
                message = f"{name} → {name}: a step cannot wait for itself"
                self._findings.add("plan_cycle", message, path, step=name, found=name)
            elif name not in known:
                near = nearest(name, known)
                message = f"depends_on names {excerpt(name)!r}, and no step has that id"
                self._findings.add("step_invalid", message, path, step=draft.step.id, found=name, suggestion=near)


def _ids(entries: list[Any]) -> list[str]:
    """The id of each step: its own, else `step_<n>` by its place from 1 (with an ending where that is taken)."""
    given = [_given_id(entry) for entry in entries]
    taken, ids = set(given), list[str]()
    for number, own in enumerate(given, start=1):
        made, ending = f"step_{number}", 2
        while own is None and made in taken:
            made, ending = f"step_{number}_{ending}", ending + 1
        taken.add(own or made)
        ids.append(own or made)
    return ids


def _given_id(entry: Any) -> str | None:
    if not isinstance(entry, Mapping):
        return None
    given = entry.get("id") if entry.get("id") is not None else entry.get("step_id")
    return str(given)[:200] if given not in (None, "") else None
