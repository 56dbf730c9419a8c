"""The quality file: complete, readable, and no better than the definition bears out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from opsconductor.catalog.audit import audit_entry
from opsconductor.catalog.catalog import load_catalog
from opsconductor.catalog.quality import RULES, check_quality, find_quality, read_quality
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.tool import ToolDefinition
from tests.unit.catalog.test_lint import definition
from tests.unit.catalog.trees import good, write

LIMITS = DocumentLimits()
EXEMPT = {"status": "exempt", "reason": "it only reads"}
HONEST: dict[str, Any] = {
    **dict.fromkeys(RULES, "todo"),
    "inputs_designed": "done",
    "effects_reviewed": "done",
    "executable": "done",
    "dry_run": EXEMPT,
}
MISSING = ("operations/look/not_executable", "no test yet"), ("operations/change/not_executable", "no test yet")


def messages(rules: Any, tool: ToolDefinition | None = None) -> list[str]:
    data = msgspec.json.encode({"rules": rules})
    quality = read_quality(data, Path("x.quality.yaml"), LIMITS)
    return [
        f"{'.'.join(map(str, finding.path))}: {finding.message}"
        for finding in check_quality(quality, tool or definition())
    ]


def test_an_honest_file_has_no_findings() -> None:
    assert messages(HONEST) == []


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        ("executable", "finished", "rules.executable: found 'finished', expected done, todo"),
        ("executable", {"status": "done", "since": "1"}, "rules.executable: found"),
        ("dry_run", {"status": "exempt"}, "rules.dry_run: an exemption needs a reason"),
        ("dry_run", "done", "no operation has a dry_run"),
        ("executable", "todo", "so this is done"),
        ("proven_by_test", "done", "done names the test"),
        ("proven_by_test", {"status": "done", "by": "docs/x.md"}, "done names the test"),
        ("examples", "done", "no example of look, change"),
        ("typed_output", "done", "no parser for look"),
        ("exampels", "done", "there is no rule 'exampels'"),
    ],
)
def test_what_is_not_so_is_found(rule: str, value: Any, words: str) -> None:
    (message,) = messages({**HONEST, rule: value})
    assert words in message


def test_every_rule_must_be_there() -> None:
    assert len(messages({})) == len(RULES)
    assert messages("done") == ["rules: expected rules: {name: done | todo | …}"] + [
        f"rules: the rule {name} is missing: {meaning}" for name, meaning in RULES.items()
    ]


def test_what_cannot_run_is_neither_executable_nor_proven() -> None:
    tool = definition(*MISSING)
    proven = {"status": "done", "by": "tests/x.py"}
    found = messages({**HONEST, "proven_by_test": proven}, tool)
    assert ["executable: cannot be done: not executable is look, change" in m for m in found] == [True, False]
    assert "while no operation is executable" in found[1]
    assert messages({**HONEST, "executable": "todo"}, tool) == []
    assert "not executable is look" in messages(HONEST, definition(MISSING[0]))[0]


def test_a_shipped_tool_must_have_a_quality_file_and_a_sites_may(tmp_path: Path) -> None:
    entry = load_catalog([write(tmp_path, du=good())], cache_dir=None).get("du")
    assert audit_entry(entry, LIMITS, shipped=False) == []
    (problem,) = audit_entry(entry, LIMITS, shipped=True)
    assert "there is no du.quality.yaml beside it" in problem.message
    assert entry.quality is None


def test_findings_have_the_lines_of_the_quality_file(tmp_path: Path) -> None:
    entry = load_catalog([write(tmp_path, du=good())], cache_dir=None).get("du")
    path = tmp_path / "linux" / "du.quality.yaml"
    lines = [f"  {name}: todo" for name in RULES if name != "executable"]
    path.write_text("\n".join(["rules:", *lines, "  executable: todo", ""]))
    (problem,) = audit_entry(entry, LIMITS, shipped=True)
    assert (problem.file, problem.line) == (str(path), len(RULES) + 1)
    assert entry.quality is not None
    assert entry.quality["executable"] == {"status": "todo"}
    path.write_text("rules: [")
    (problem,) = audit_entry(entry, LIMITS, shipped=True)
    assert problem.code == "yaml_invalid"
    assert find_quality(entry.path, LIMITS) is None
