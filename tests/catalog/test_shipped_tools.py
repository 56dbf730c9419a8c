"""The shipped catalog as a whole: complete, sound, bound to handlers and parsers, honest about what it cannot do."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsconductor.bootstrap.clock import IdSource
from opsconductor.bootstrap.services import SERVICE_NAMES, ServiceFactory
from opsconductor.model.execution import StepStatus
from opsconductor.model.tool import Effect, Operation, Placement, ToolDefinition
from opsconductor.services.kit.parsing import known_parser
from opsconductor.settings import load
from tests.harness import Bench, service, shipped_catalog

ROOT = Path(__file__).parent.parent.parent
EXPECTED_FILE = Path(__file__).parent / "expected_tools.tsv"

# What can run code, end work or lose data is never a harmless read (reviewed tool by tool).
DANGEROUS = {
    "kill": {"terminate", "signal", "kill"},
    "psql": {"execute"},
    "docker_exec": set(),
    "kubectl_exec": set(),
    "invoke_command": set(),
    "asset_delete": {"delete"},
}


def definitions() -> Iterator[ToolDefinition]:
    return (entry.definition for entry in shipped_catalog().entries())


def operations() -> Iterator[tuple[ToolDefinition, str, Operation]]:
    for definition in definitions():
        for name, operation in definition.operations.items():
            yield definition, name, operation


def factory(home: Path) -> ServiceFactory:
    return ServiceFactory(load({"OPSCONDUCTOR_HOME": str(home)}), shipped_catalog, IdSource())


def test_every_expected_tool_is_there_under_its_name_and_location() -> None:
    found = {
        (entry.category, entry.id, entry.tool_name, entry.execution_location) for entry in shipped_catalog().entries()
    }
    rows = csv.DictReader(EXPECTED_FILE.read_text(encoding="utf-8").splitlines(), delimiter="\t")
    expected = {(row["category"], row["id"], row["tool_name"], row["execution_location"]) for row in rows}
    assert len(expected) == 191
    assert found == expected


def test_lint_finds_nothing() -> None:
    assert [problem.render() for problem in shipped_catalog().lint()] == []


def test_every_handler_is_registered_by_the_service_that_owns_the_tool(tmp_path: Path) -> None:
    made = factory(tmp_path)
    known = {name: made.handlers(name).keys() for name in SERVICE_NAMES}
    missing = [
        f"{definition.id}.{name}: {operation.handler}"
        for definition, name, operation in operations()
        if operation.handler and operation.handler not in known[definition.execution_location or ""]
    ]
    assert missing == []


def test_every_parser_is_known_to_the_service_that_owns_the_tool(tmp_path: Path) -> None:
    made = factory(tmp_path)
    unknown = [
        f"{definition.id}.{name}: {operation.parse}"
        for definition, name, operation in operations()
        if operation.parse
        and not operation.not_executable
        and not known_parser(operation.parse, made.parsers(definition.execution_location or ""))
    ]
    assert unknown == []


def test_at_least_forty_linux_tools_can_be_executed_whole() -> None:
    done = [
        entry.id for entry in shipped_catalog().entries() if entry.category == "linux" and entry.executable == "yes"
    ]
    assert len(done) >= 40, done


def test_what_is_said_to_be_proven_is_named_in_the_test_that_proves_it() -> None:
    unproven = []
    for entry in shipped_catalog().entries():
        rules = entry.quality or {}
        proof = rules.get("proven_by_test")
        if isinstance(proof, dict) and proof.get("status") == "done":
            path = ROOT / proof["by"]
            names = {entry.tool_name, entry.id}
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            if not any(re.search(rf"[\"']{re.escape(name)}[\"']", text) for name in names):
                unproven.append(f"{entry.id}: {proof['by']}")
        elif entry.executable != "no":
            unproven.append(f"{entry.id}: executable, and nothing proves it")
    assert unproven == []


@pytest.mark.parametrize("tool", ["ping", "dig", "host", "nslookup", "traceroute", "curl", "nmap", "psql", "aws"])
def test_what_only_talks_over_the_network_runs_from_its_service(tool: str) -> None:
    definition = shipped_catalog().get(tool).definition
    assert {definition.placement(operation) for operation in definition.operations.values()} == {Placement.SERVICE}


def test_inputs_are_designed() -> None:
    poor = []
    for definition in definitions():
        for name, spec in definition.inputs.items():
            words = spec.description.strip(".").split()
            if len(words) < 3 or spec.pattern in (".*", ".+") or "TODO" in spec.description:
                poor.append(f"{definition.id}.{name}: {spec.description!r}")
    assert poor == []


def test_descriptions_are_not_copied_between_tools() -> None:
    seen: dict[str, str] = {}
    repeated = []
    for definition in definitions():
        if definition.description in seen:
            repeated.append(f"{definition.id} and {seen[definition.description]}")
        seen[definition.description] = definition.id
    assert repeated == []


@pytest.mark.parametrize("tool", DANGEROUS)
def test_dangerous_tools_are_never_harmless(tool: str) -> None:
    definition = shipped_catalog().get(tool).definition
    named = DANGEROUS[tool] & definition.operations.keys()
    looked_at = named or {
        name for name, operation in definition.operations.items() if operation.effect is not Effect.READ
    }
    assert looked_at, f"{tool} has no operation that is more than a read"
    assert all(definition.operations[name].effect is not Effect.READ for name in looked_at)
    default = definition.default_operation
    if tool in ("docker_exec", "kubectl_exec", "invoke_command"):
        assert default is None or definition.operations[default].effect is not Effect.READ


async def test_what_cannot_be_executed_says_what_is_missing() -> None:
    """Every operation that is not executable is really asked for, at the service that owns it."""
    answered = []
    for name in SERVICE_NAMES:
        async with service(name) as bench:
            answered += [
                (f"{definition.id}.{operation_name}", await _code(bench, definition, operation_name), operation)
                for definition, operation_name, operation in operations()
                if definition.execution_location == name and operation.not_executable
            ]
    wrong = [label for label, (code, message), operation in answered if code != "tool_not_executable"]
    silent = [label for label, (_, message), operation in answered if (operation.not_executable or "") not in message]
    assert (wrong, silent) == ([], [])
    assert len(answered) > 100


async def _code(bench: Bench, definition: ToolDefinition, operation: str) -> tuple[str, str]:
    result = await bench.run(definition.tool_name, operation)
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    return result.error.code, result.error.message
