"""Definitions in the older format (`capabilities` → `patterns`) as today's structures. Pure; the loader calls it.

Such a file is taken as it is: unknown keys are kept out and listed as warnings, never an error. What it says about
inputs and policy is used; how to run it is not in it, so its operations say so, unless `adopt` finds that a definition
of the same name knows how.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from opsconductor.catalog.findings import Finding, PathKey
from opsconductor.model.names import canonical
from opsconductor.model.tool import Effect, InputSpec, InputType, Operation, ToolDefinition

NO_WAY_TO_RUN = "this definition is in the older format, which does not say how to run the tool"
_DEFAULT_TIMEOUT_S, _MAX_TIMEOUT_S = 60.0, 86_400.0
_TYPES: dict[str, InputType] = {
    **dict.fromkeys(("int", "integer"), "integer"),
    **dict.fromkeys(("float", "number", "double"), "number"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("list", "array", "set", "tuple"), "array"),
    **dict.fromkeys(("dict", "object", "map", "json"), "object"),
}
_TOOL_KEYS = {
    "tool_name",
    "execution_location",
    "version",
    "description",
    "platform",
    "category",
    "capabilities",
    "tags",
}
_CAPABILITY_KEYS = {"description", "patterns"}
_PATTERN_KEYS = {"description", "required_inputs", "optional_inputs", "policy"}
_INPUT_KEYS = {"name", "type", "description", "validation", "default"}
_POLICY_KEYS = {"requires_approval", "production_safe", "max_execution_time"}
_SECRET = re.compile(r"pass(word|phrase)|secret|token|api_?key|credential|private_key")

Path = tuple[PathKey, ...]


def read_legacy(raw: Mapping[str, Any]) -> tuple[ToolDefinition | None, list[Finding]]:
    """The definition, or None when it has no usable name or tree; findings are warnings wherever one can go on."""
    reader = _Reader()
    name = raw.get("tool_name")
    if not isinstance(name, str) or not canonical(name).strip("_") or len(name) > 100:
        return None, [Finding(("tool_name",), "expected a name of at most 100 characters")]
    if not isinstance(raw.get("capabilities"), Mapping):
        return None, [Finding(("capabilities",), "expected capabilities: {name: {patterns: {name: …}}}")]
    operations = reader.operations(raw["capabilities"])
    reader.unknown(raw, _TOOL_KEYS, ())
    location = raw.get("execution_location")
    definition = ToolDefinition(
        tool_name=name,
        description=_text(raw.get("description")) or f"{name} (no description given)",
        version=str(raw.get("version", "")),
        platform=str(raw.get("platform", "")),
        category=str(raw.get("category", "")),
        execution_location=location if isinstance(location, str) and location.strip() else None,
        tags=tuple(str(tag) for tag in _sequence(raw.get("tags"))),
        inputs=reader.inputs,
        operations=operations,
        default_operation=next(iter(operations), None),
    )
    return definition, reader.findings


def _text(value: Any) -> str:
    return " ".join(value.split())[:4000] if isinstance(value, str) else ""


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def identifier(name: str) -> str:
    """A name as an identifier: `Disk Usage (all)` → `disk_usage_all`."""
    folded = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")[:64].rstrip("_")
    return folded if folded[:1].isalpha() else f"x_{folded}"[:64].rstrip("_")


class _Reader:
    """Collects inputs and findings while the tree is walked."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.inputs: dict[str, InputSpec] = {}

    def warn(self, path: Path, message: str) -> None:
        self.findings.append(Finding(path, message, level="warning"))

    def unknown(self, given: Mapping[str, Any], known: set[str], path: Path) -> None:
        for key in given:
            if key not in known:
                self.warn((*path, key), f"{key!r} is not acted on")

    def operations(self, capabilities: Mapping[str, Any]) -> dict[str, Operation]:
        operations: dict[str, Operation] = {}
        for capability, body in capabilities.items():
            path: Path = ("capabilities", capability)
            if not isinstance(body, Mapping) or not isinstance(body.get("patterns"), Mapping):
                self.warn(path, "expected patterns: {name: …}; the capability is left out")
                continue
            self.unknown(body, _CAPABILITY_KEYS, path)
            for pattern, details in body["patterns"].items():
                self._add(operations, capability, pattern, details, (*path, "patterns", pattern))
        return operations

    def _add(self, operations: dict[str, Operation], capability: str, pattern: str, details: Any, path: Path) -> None:
        if not isinstance(details, Mapping):
            self.warn(path, "expected a mapping; the pattern is left out")
            return
        self.unknown(details, _PATTERN_KEYS, path)
        base, number = identifier(pattern), 2
        name = base if base not in operations else identifier(f"{capability}_{pattern}")
        while name in operations:
            name, number = f"{base[:60]}_{number}", number + 1
        operations[name] = self._operation(details, path)

    def _operation(self, details: Mapping[str, Any], path: Path) -> Operation:
        required = self._inputs(details.get("required_inputs"), (*path, "required_inputs"))
        optional = self._inputs(details.get("optional_inputs"), (*path, "optional_inputs"))
        policy = details.get("policy")
        policy = policy if isinstance(policy, Mapping) else {}
        self.unknown(policy, _POLICY_KEYS, (*path, "policy"))
        approval = policy.get("requires_approval") is not False
        harmless = policy.get("production_safe") is True and not approval
        return Operation(
            effect=Effect.READ if harmless else Effect.CHANGE,
            idempotent=None if harmless else False,
            description=_text(details.get("description")),
            not_executable=NO_WAY_TO_RUN,
            uses=tuple(dict.fromkeys((*required, *optional))),
            required=required,
            approval="always" if policy.get("requires_approval") else "policy",
            timeout_s=self._timeout(policy.get("max_execution_time"), (*path, "policy", "max_execution_time")),
        )

    def _timeout(self, value: Any, path: Path) -> float:
        if value is None:
            return _DEFAULT_TIMEOUT_S
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return min(float(value), _MAX_TIMEOUT_S)
        self.warn(path, f"found {value!r}, expected seconds; {_DEFAULT_TIMEOUT_S:g} s are taken")
        return _DEFAULT_TIMEOUT_S

    def _inputs(self, entries: Any, path: Path) -> tuple[str, ...]:
        names: list[str] = []
        for index, entry in enumerate(_sequence(entries)):
            given = {"name": entry} if isinstance(entry, str) else entry
            if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
                self.warn((*path, index), "expected an input with a name; it is left out")
                continue
            self.unknown(given, _INPUT_KEYS, (*path, index))
            name = identifier(given["name"])
            spec = self._input(given, (*path, index))
            # The same name in several patterns is one input; the first that describes it best stands.
            if name not in self.inputs or len(spec.description) > len(self.inputs[name].description):
                self.inputs[name] = spec
            names.append(name)
        return tuple(names)

    def _input(self, given: Mapping[str, Any], path: Path) -> InputSpec:
        name = given["name"]
        kind = _TYPES.get(str(given.get("type", "string")).casefold(), "string")
        spec = InputSpec(
            type=kind,
            description=_text(given.get("description")) or name,
            pattern=self._pattern(given.get("validation"), kind, (*path, "validation")),
            secret=bool(_SECRET.search(name.casefold())),
            aliases=(name,) if identifier(name) != name else (),
            multiline=kind == "string",
            min_length=0 if kind in ("string", "array") else None,
        )
        return self._with_default(spec, given.get("default"), (*path, "default"))

    def _pattern(self, validation: Any, kind: str, path: Path) -> str | None:
        if not isinstance(validation, str) or kind != "string" or validation in ("", ".*", "^.*$"):
            return None
        try:
            re.compile(validation)
        except (re.error, RecursionError, OverflowError):
            self.warn(path, f"{validation[:80]!r} is not a regular expression and is not checked")
            return None
        return validation

    def _with_default(self, spec: InputSpec, default: Any, path: Path) -> InputSpec:
        from opsconductor.catalog.inputs import check_value
        from opsconductor.model.errors import OpsError

        if default is None or spec.secret:
            return spec
        try:
            return msgspec.structs.replace(spec, default=check_value(default, spec))
        except OpsError as error:
            self.warn(path, f"the default is left out: {error.message}")
            return spec


def adopt(older: ToolDefinition, known: ToolDefinition) -> ToolDefinition:
    """`older`'s own words about the tool and its service, with the ways to run it that `known` has.

    Its inputs are declared beside the known ones. Operations that only read accept them without effect; those that
    change something refuse them, because an ignored word could be the one that limits the change. A definition that
    asks for approval anywhere keeps that for whatever changes something.
    """
    extra = {name: spec for name, spec in older.inputs.items() if name not in known.inputs}
    taken = {*known.inputs, *(alias for spec in known.inputs.values() for alias in spec.aliases)}
    extra = {name: spec for name, spec in extra.items() if name not in taken}
    asks = any(operation.approval == "always" for operation in older.operations.values())
    operations = {
        name: _adopted(operation, known, extra, approval=asks) for name, operation in known.operations.items()
    }
    instead = f"{NO_WAY_TO_RUN}; operations that can run: {', '.join(_runnable(known))}"
    for name, operation in older.operations.items():
        operations.setdefault(name, msgspec.structs.replace(operation, not_executable=instead))
    return msgspec.structs.replace(
        known,
        tool_name=older.tool_name,
        description=older.description,
        version=older.version or known.version,
        platform=older.platform or known.platform,
        category=older.category or known.category,
        execution_location=older.execution_location,
        tags=tuple(dict.fromkeys((*older.tags, *known.tags))),
        inputs={**known.inputs, **extra},
        operations=operations,
    )


def _runnable(known: ToolDefinition) -> Iterable[str]:
    return [name for name, operation in known.operations.items() if operation.not_executable is None]


def _adopted(
    operation: Operation, known: ToolDefinition, extra: Mapping[str, InputSpec], *, approval: bool
) -> Operation:
    reads = operation.effect is Effect.READ
    named = operation.uses or (tuple(known.inputs) if operation.argv is None else ())
    return msgspec.structs.replace(
        operation,
        uses=(*named, *extra) if reads else named,
        approval="always" if approval and not reads else operation.approval,
    )
