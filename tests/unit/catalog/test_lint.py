"""What a definition must say beyond its structure, and what its examples must prove."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from opsconductor.catalog.lint import check_definition, check_examples
from opsconductor.model.tool import ToolDefinition

BASE: dict[str, Any] = {
    "tool_name": "probe",
    "description": "Test.",
    "version": "1",
    "platform": "linux",
    "category": "linux",
    "inputs": {
        "name": {"type": "string", "description": "A name."},
        "count": {"type": "integer", "description": "A count.", "default": 3, "minimum": 1, "maximum": 9},
        "all": {"type": "boolean", "description": "Everything.", "default": False},
        "password": {"type": "string", "description": "A password.", "secret": True},
        "files": {"type": "array", "items": "string", "description": "Files."},
    },
    "operations": {
        "look": {"effect": "read", "argv": ["probe", ["{all}", "--all"], "--count={count}", "--", "{name}"]},
        "change": {"effect": "change", "idempotent": False, "argv": ["probe", "-w", "{name}"], "probe": "look"},
    },
    "default_operation": "look",
}


def definition(*changes: tuple[str, Any]) -> ToolDefinition:
    """BASE with values set at dotted paths; None removes."""
    raw = msgspec.json.decode(msgspec.json.encode(BASE))
    for path, value in changes:
        *parents, last = path.split("/")
        place = raw
        for part in parents:
            place = place.setdefault(part, {})
        if value is None:
            place.pop(last)
        else:
            place[last] = value
    return msgspec.convert(raw, ToolDefinition)


def test_a_good_definition_has_no_findings() -> None:
    assert check_definition(definition()) == []


ARGV = "operations/look/argv"


@pytest.mark.parametrize(
    ("path", "value", "place", "words"),
    [
        ("default_operation", "lok", "default_operation", "no operation 'lok'"),
        (ARGV, ["probe", "{nmae}"], ARGV + "/1", "no input 'nmae'"),
        (ARGV, ["probe", ["-n", "{nmae}"]], ARGV + "/1/1", "no input 'nmae'"),
        (ARGV, ["probe", "{password}"], ARGV + "/1", "process list"),
        (ARGV, ["probe", ["--password={password}"]], ARGV + "/1/0", "process list"),
        (ARGV, ["probe", "--all={all}"], ARGV + "/1", "switch"),
        (ARGV, ["probe", ["--all={all}"]], ARGV + "/1/0", "switch"),
        (ARGV, ["{name}"], ARGV, "the program itself"),
        (ARGV, [["probe", "{name}"]], ARGV, "the program itself"),
        (ARGV, [], ARGV, "the program itself"),
        (ARGV, ["probe", ["-x"]], ARGV + "/1", "names no input"),
        ("operations/look/stdin", "{nobody}", "operations/look/stdin", "no input 'nobody'"),
        ("operations/look/env", {"A": "{nobody}"}, "operations/look/env/A", "no input 'nobody'"),
        ("operations/look/env", {"1A": "x"}, "operations/look/env/1A", "environment variable"),
        ("operations/look/handler", "a.b", "operations/look", "both argv and handler"),
        (ARGV, None, "operations/look", "neither argv nor handler"),
        ("operations/look/uses", ["nobody"], "operations/look/uses/0", "no input 'nobody'"),
        ("operations/look/required", ["nobody"], "operations/look/required/0", "no input 'nobody'"),
        ("operations/change/idempotent", None, "operations/change/idempotent", "idempotent"),
        ("operations/change/effect", "destructive", None, ""),
        ("operations/change/probe", "change", "operations/change/probe", "only reads"),
        ("operations/change/probe", "loo", "operations/change/probe", "no operation 'loo'"),
        ("operations/change/dry_run", "change", "operations/change/dry_run", "only reads"),
        ("operations/change/undo", {"operation": "back"}, "operations/change/undo/operation", "no operation 'back'"),
        (
            "operations/change/undo",
            {"operation": "look", "inputs": {"nobody": 1}},
            "operations/change/undo/inputs/nobody",
            "no input",
        ),
        ("inputs/name/aliases", ["count"], "inputs/name/aliases/0", "already the name"),
        ("inputs/name/aliases", ["n", "n"], "inputs/name/aliases/1", "already the name"),
        ("inputs/name/minimum", 1, "inputs/name/minimum", "for numbers"),
        ("inputs/count/minimum", 10, "inputs/count/minimum", "more than maximum"),
        ("inputs/count/max_length", 10, "inputs/count/max_length", "text and lists"),
        ("inputs/name/max_length", -1, "inputs/name/max_length", "no length"),
        ("inputs/count/pattern", "[0-9]", "inputs/count/pattern", "for text"),
        ("inputs/name/pattern", "(", "inputs/name/pattern", "regular expression"),
        ("inputs/name/format", "hots", "inputs/name/format", "no format 'hots'"),
        ("inputs/count/format", "host", "inputs/count/format", "for text"),
        ("inputs/name/items", "string", "inputs/name/items", "for lists"),
        ("inputs/name/enum", ["a", 1], "inputs/name/enum/1", "of type string"),
        ("inputs/name/enum", ["a", "a"], "inputs/name/enum", "twice"),
        ("inputs/all/enum", ["a"], "inputs/all/enum", "text and numbers"),
        ("inputs/count/default", 10, "inputs/count/default", "at most 9"),
        ("inputs/count/default", "3", "inputs/count/default", "expected 3"),
        ("inputs/count/required", True, "inputs/count/required", "never missing"),
        ("inputs/password/default", "x", "inputs/password/default", "no default"),
    ],
)
def test_what_would_be_unusable_or_unsafe_is_found_at_its_place(
    path: str, value: Any, place: str | None, words: str
) -> None:
    findings = check_definition(definition((path, value)))
    if place is None:
        assert findings == []
        return
    assert [("/".join(map(str, finding.path)), words in finding.message) for finding in findings] == [(place, True)]


def test_a_tool_without_operations_is_of_no_use() -> None:
    findings = check_definition(definition(("operations", {}), ("default_operation", None)))
    assert [finding.path for finding in findings] == [("operations",)]


def test_braces_that_name_nothing_are_literal() -> None:
    argv = ["probe", "{{json .}}", "{print $1}", "{}", "{A}", "--", "{name}"]
    assert check_definition(definition((ARGV, argv))) == []


def test_an_operation_that_says_what_is_missing_needs_no_way_to_run() -> None:
    assert check_definition(definition((ARGV, None), ("operations/look/not_executable", "no test yet"))) == []


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ({"inputs": {"name": "x"}, "argv": ["probe", "--count=3", "--", "x"]}, None),
        ({"inputs": {"name": "x"}, "argv": ["probe", "--", "x"]}, "become ['probe', '--count=3', '--', 'x']"),
        ({"inputs": {"name": "x"}}, "shows the command"),
        ({"inputs": {"nmae": "x"}, "argv": ["probe"]}, "refused"),
        ({"inputs": {"name": "x", "count": 99}, "argv": ["probe"]}, "at most 9"),
        ({"inputs": {"name": "x"}, "argv": ["probe", "--count=3", "--", "x"], "stdin": "y"}, "become None"),
    ],
)
def test_examples_must_become_exactly_the_command_they_show(example: dict[str, Any], words: str | None) -> None:
    findings = check_examples(definition(("operations/look/examples", [example])))
    assert [words in finding.message for finding in findings if words] == ([True] if words else [])
    assert bool(findings) == bool(words)


def test_examples_of_inputs_must_fit_their_input() -> None:
    (finding,) = check_examples(definition(("inputs/count/examples", [5, 50])))
    assert finding.path == ("inputs", "count", "examples", 1)
