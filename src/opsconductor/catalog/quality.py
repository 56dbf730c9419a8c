"""The quality scale: what is done, to do, or does not apply for each tool, and whether that is the truth.

Each definition has `<id>.quality.yaml` beside it. `check_quality` holds it against the definition; `audit` reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from opsconductor.catalog.document import Document, read_document
from opsconductor.catalog.findings import Finding
from opsconductor.catalog.records import QUALITY_SUFFIX, executable_summary
from opsconductor.model.errors import OpsError
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.tool import Effect, Operation, ToolDefinition

RULES: dict[str, str] = {
    "inputs_designed": "Inputs are what people do with the tool, typed and limited.",
    "effects_reviewed": "Effect, idempotence and approval of every operation were thought through.",
    "executable": "Every operation can be executed by its service.",
    "proven_by_test": "A test runs the real program or server through the definition.",
    "typed_output": "Output is parsed into data; the raw text is kept.",
    "examples": "Every operation has an example that a test checks.",
    "probe_and_undo": "Changes name the operation that tells whether they happened, and the one that takes them back.",
    "dry_run": "Changes name an operation that shows what they would do.",
}
_STATUSES = ("done", "todo", "exempt")
_TESTS = "tests/"


class Rule(msgspec.Struct, frozen=True):
    """Where a tool stands with one rule. `reason` explains an exemption, `by` is the test that proves."""

    status: str
    reason: str = ""
    by: str = ""


class Quality(msgspec.Struct, frozen=True):
    """A quality file: its readable rules, and what is wrong with the others. `document` knows the lines."""

    path: Path
    rules: dict[str, Rule]
    findings: tuple[Finding, ...]
    document: Document

    def as_rules(self) -> dict[str, Any]:
        """Plain data: rule → status, with reason or test where there is one."""
        return {
            name: {key: value for key, value in msgspec.to_builtins(rule).items() if value}
            for name, rule in self.rules.items()
        }


def quality_path(definition_path: Path) -> Path:
    """The quality file that belongs to a definition file."""
    return definition_path.with_name(definition_path.stem + QUALITY_SUFFIX)


def find_quality(definition_path: Path, limits: DocumentLimits) -> Quality | None:
    """The quality file of a definition; None without one or when it is no YAML (`read_quality` says why)."""
    path = quality_path(definition_path)
    try:
        return read_quality(path.read_bytes(), path, limits)
    except (OSError, OpsError):
        return None


def read_quality(data: bytes, path: Path, limits: DocumentLimits) -> Quality:
    """Read a quality file. Raises OpsError(`yaml_invalid` | `document_too_large`)."""
    document = read_document(data, file=str(path), limits=limits)
    value = document.value
    raw = value.get("rules") if isinstance(value, Mapping) else None
    if not isinstance(raw, Mapping):
        return Quality(path, {}, (Finding(("rules",), "expected rules: {name: done | todo | …}"),), document)
    rules: dict[str, Rule] = {}
    findings = [
        Finding((key,), f"there is no key {key!r} here; expected rules alone") for key in value if key != "rules"
    ]
    for name, given in raw.items():
        rule = _read_rule(given)
        if name not in RULES:
            near = next(iter(get_close_matches(name, RULES, n=1)), None)
            findings.append(Finding(("rules", name), f"there is no rule {name!r}", suggestion=near))
        elif rule is None:
            expected = "done, todo, or {status: exempt, reason: …} / {status: done, by: tests/…}"
            findings.append(Finding(("rules", name), f"found {given!r}, expected {expected}", expected=expected))
        else:
            rules[name] = rule
    return Quality(path, rules, tuple(findings), document)


def _read_rule(given: Any) -> Rule | None:
    if isinstance(given, str):
        given = {"status": given}
    if not isinstance(given, Mapping) or given.get("status") not in _STATUSES:
        return None
    fits = set(given) <= {"status", "reason", "by"} and all(isinstance(value, str) for value in given.values())
    return Rule(**given) if fits else None


def check_quality(quality: Quality, definition: ToolDefinition) -> list[Finding]:
    """Everything in which the quality file is incomplete or says more than the definition bears out."""
    findings = list(quality.findings)
    named = {finding.path[1] for finding in findings if len(finding.path) > 1}
    for name, meaning in RULES.items():
        if name not in quality.rules and name not in named:
            findings.append(Finding(("rules",), f"the rule {name} is missing: {meaning}", suggestion=name))
    for name, rule in quality.rules.items():
        if rule.status == "exempt" and not rule.reason.strip():
            findings.append(Finding(("rules", name), "an exemption needs a reason"))
    for name, message in _contradictions(quality.rules, definition):
        findings.append(Finding(("rules", name), message))
    return findings


def _contradictions(rules: Mapping[str, Rule], definition: ToolDefinition) -> Iterator[tuple[str, str]]:
    """(rule, why it cannot be so)."""
    status = {name: rule.status for name, rule in rules.items()}
    runs = executable_summary(definition)
    if status.get("executable") == "done" and runs != "yes":
        waiting = [name for name, operation in definition.operations.items() if operation.not_executable is not None]
        yield "executable", f"cannot be done: not executable is {', '.join(waiting) or 'everything'}"
    if status.get("executable") == "todo" and runs == "yes":
        yield "executable", "every operation is executable, so this is done"
    if status.get("proven_by_test") == "done":
        if runs == "no":
            yield "proven_by_test", "cannot be done while no operation is executable"
        if not rules["proven_by_test"].by.startswith(_TESTS):
            yield "proven_by_test", "done names the test: {status: done, by: tests/…}"
    operations = definition.operations.values()
    if status.get("examples") == "done" and (bare := [n for n, o in definition.operations.items() if not o.examples]):
        yield "examples", f"cannot be done: no example of {', '.join(bare)}"
    if status.get("typed_output") == "done" and (
        raw := [n for n, o in definition.operations.items() if _is_untyped(o)]
    ):
        yield "typed_output", f"cannot be done: no parser for {', '.join(raw)}"
    changes = [operation for operation in operations if operation.effect is not Effect.READ]
    if status.get("probe_and_undo") == "done" and not any(operation.probe or operation.undo for operation in changes):
        yield "probe_and_undo", "cannot be done: no operation has a probe or an undo"
    if status.get("dry_run") == "done" and not any(operation.dry_run for operation in changes):
        yield "dry_run", "cannot be done: no operation has a dry_run"


def _is_untyped(operation: Operation) -> bool:
    """A read whose text nobody parses; handlers return data."""
    return operation.effect is Effect.READ and operation.argv is not None and operation.parse is None
