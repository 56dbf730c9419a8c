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
from opsconductor.engine.plan_schema import (
    NAME,
    PLAN_KEYS,
    Fields,
    Findings,
    Path,
    Places,
    PlanLimits,
    Position,
    check_keys,
    excerpt,
    nearest,
)
from opsconductor.engine.references import References
from opsconductor.engine.step_reader import Draft, StepReader
from opsconductor.model.plan import Plan, PlanInput, Receiver, Step

DEFAULT_LIMITS = PlanLimits()


def read_plan(
    source: bytes | Mapping[str, Any], *, file: str | None = None, limits: PlanLimits = DEFAULT_LIMITS
) -> Plan:
    """Read a plan from YAML or JSON bytes, or from parsed JSON (then without lines).

    Raises OpsError with every problem: `plan_invalid`, `plan_empty`, `plan_too_large`, `plan_cycle`,
    `plan_feature_unsupported`, `step_invalid`, `expression_invalid`; or those of the document itself
    (`yaml_invalid`, `document_too_large`).
    """
    plan, places = read_placed(source, file=file, limits=limits)
    steps = [msgspec.structs.replace(step, line=(places.of(step.id, None) or (0, 0))[0]) for step in plan.steps]
    return msgspec.structs.replace(plan, steps=tuple(steps))


def read_placed(
    source: bytes | Mapping[str, Any], *, file: str | None = None, limits: PlanLimits = DEFAULT_LIMITS
) -> tuple[Plan, Places]:
    """Like `read_plan`, and with where things stand in the document, for `Validator.check`.

    Steps do not tell their lines then: finding places takes another parser, which only a problem is worth.
    """
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


class _Reader:
    """Reads one document; one use."""

    def __init__(self, findings: Findings, limits: PlanLimits, file: str | None) -> None:
        self._findings, self._limits, self._file = findings, limits, file
        self._unacted: dict[str, Any] = {}
        self._ids: list[str] = []
        self.paths: dict[str, Path] = {}

    def read(self, raw: Mapping[str, Any], path: Path) -> Plan:
        fields = Fields(raw, path, self._findings)
        entries = self._entries(fields)
        check_keys(fields, PLAN_KEYS, self._unacted)
        inputs, receivers = self._read_inputs(fields), self._read_receivers(fields)
        places = self._order((*path, "steps"), entries)
        references = References(self._findings, steps=self._ids, inputs=inputs, receivers=receivers)
        reader = StepReader(self._findings, self._limits, references, Counter(self._ids), self._unacted)
        drafts = [
            reader.read(entries[place], step_id, (*path, "steps", place))
            for step_id, place in zip(self._ids, places, strict=True)
            if self._is_step(entries[place], step_id, (*path, "steps", place))
        ]
        plan = Plan(
            name=fields.text("name", max_chars=200) or "",
            description=fields.text("description") or "",
            inputs=inputs,
            timeout_s=fields.seconds("timeout_s", self._limits.max_timeout_s),
            receivers=receivers,
            outputs=self._read_outputs(fields, references),
            steps=self._connect(drafts),
            unacted=self._unacted,
            source=self._file,
            warnings=tuple(self._findings.warnings),
        )
        self._findings.raise_if_any()
        return plan

    def _entries(self, fields: Fields) -> list[Any]:
        """The list of steps. Its size is judged before anything else is read."""
        path, entries = fields.path, fields.raw.get("steps")
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
        if self._findings.errors:  # a misspelt `steps` is the reason why there are none
            check_keys(fields, PLAN_KEYS, self._unacted)
        self._findings.raise_if_any()
        assert isinstance(entries, list)  # noqa: S101 - anything else was raised above
        return entries

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

    def _read_outputs(self, fields: Fields, references: References) -> dict[str, str]:
        outputs = fields.mapping("outputs", "an object (name: template)")
        for name, value in outputs.items():
            path = (*fields.path, "outputs", name)
            if not isinstance(value, str):
                self._findings.add("plan_invalid", f"found {excerpt(value)!r}, expected a template", path)
            references.find(value, path)
        return outputs

    def _order(self, path: Path, entries: list[Any]) -> list[int]:
        """The places of the entries in the order of the plan: by `execution_order` where given. Sets the ids."""
        places = [index for _, index in sorted((self._rank(entry, i, path), i) for i, entry in enumerate(entries))]
        self._ids = _ids([entries[place] for place in places])
        self.paths = {step_id: (*path, place) for step_id, place in zip(self._ids, places, strict=True)}
        return places

    def _rank(self, entry: Any, index: int, path: Path) -> float:
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

    def _connect(self, drafts: list[Draft]) -> tuple[Step, ...]:
        """The steps with everything they wait for. Notes unknown names, waiting for oneself, and circles."""
        if len(drafts) != len(self._ids):
            return ()
        queries = dependencies.asset_queries(self._ids, [draft.step.tool for draft in drafts])
        known, steps = set(self._ids), []
        for index, draft in enumerate(drafts):
            if draft.stated is not None:
                self._check_stated(draft, known)
            if queries[index] is None:
                self._check_older(draft)
            waits = dependencies.complete(index, self._ids, queries[index], draft.stated, draft.used)
            steps.append(msgspec.structs.replace(draft.step, depends_on=tuple(name for name in waits if name in known)))
        circle = dependencies.find_cycle({step.id: step.depends_on for step in steps})
        if circle is not None and (circle[0] != circle[1] or not self._findings.errors):
            draft = drafts[self._ids.index(circle[0])]
            route = " → ".join(circle)
            message = f"{route}: each waits for the next; take one `depends_on` or reference away"
            self._findings.add("plan_cycle", message, draft.path, step=circle[0], found=route)
        return tuple(steps)

    def _check_older(self, draft: Draft) -> None:
        """Variables of older plans need an asset query before the step."""
        for name in sorted({name for one in draft.used for name in one.names & dependencies.OLDER_VARIABLES}):
            message = f"{name} is what an asset-query found, and there is none before this step"
            self._findings.add("expression_invalid", message, draft.path, step=draft.step.id, found=name)

    def _check_stated(self, draft: Draft, known: set[str]) -> None:
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
