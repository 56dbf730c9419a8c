"""One file: a checked definition, or everything that is wrong with it at once."""

from __future__ import annotations

import pytest

from opsconductor.catalog.loader import LoadedFile, load_file
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.tool import Effect
from tests.unit.catalog.trees import good, legacy

LIMITS = DocumentLimits()


def load(text: str | bytes, file: str = "tools/linux/du.yaml") -> LoadedFile:
    return load_file(text if isinstance(text, bytes) else text.encode(), file, LIMITS)


def test_a_good_file_gives_its_definition_and_its_digest() -> None:
    loaded = load(good())
    assert loaded.problems == ()
    assert loaded.definition is not None
    assert loaded.definition.id == "du"
    assert loaded.definition.operations["usage"].effect is Effect.READ
    assert loaded.digest == load(good()).digest != load(good(description="Other.")).digest


def test_what_the_fast_reader_leaves_to_the_strict_one_loads_the_same() -> None:
    anchored = good().replace("tags: [disk]", "tags: &t [disk]")
    assert load(anchored).definition == load(good()).definition
    assert load("---\n" + good()).definition == load(good()).definition


def test_a_version_without_quotes_is_taken_as_it_stands() -> None:
    assert load(good().replace('version: "1.0"', "version: 1.0")).definition == load(good()).definition
    whole = load(good().replace('version: "1.0"', "version: 2")).definition
    assert whole is not None
    assert whole.version == "2"


def test_all_errors_of_a_file_are_told_at_once_with_places_and_suggestions() -> None:
    text = (
        good()
        .replace("platform: linux", "platfrom: linux")
        .replace('version: "1.0"', "version: true")
        .replace("effect: read", "effect: reads")
        .replace("type: string", "type: strin")
    )
    problems = load(text).problems
    by_field = {problem.field: problem for problem in problems}
    assert by_field["platfrom"].suggestion == "platform"
    assert by_field["platfrom"].line == 5
    assert "is missing" in by_field["platform"].message
    assert by_field["version"].line == 3
    assert by_field["operations.usage.effect"].line == 12
    assert "one of change, destructive, read" in by_field["operations.usage.effect"].message
    assert by_field["inputs.path.type"].line == 9
    assert len(problems) == 5
    assert load(text).definition is None


def test_errors_of_meaning_have_lines_too() -> None:
    problems = load(good().replace('"{path}"', '"{paht}"')).problems
    assert [(p.line, p.field, p.suggestion) for p in problems] == [(13, "operations.usage.argv[2]", "path")]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("- a\n- b\n", 1, "a list, expected a mapping"),
        ("", 1, "nothing, expected a mapping"),
        (good() + "default_operation: usage\n", 18, "given twice, first on line 17"),
        (good().replace("tags: [disk]", "tags: disk"), 7, "expected a list"),
        (good().replace("  usage:\n", "  Usage:\n"), 11, "found the name 'Usage'"),
        (good().replace('argv: [du, --, "{path}"]', 'argv: [du, [1, "{path}"]]'), 13, "found 1, expected text"),
        (good().replace("effect: read", "effect: read\n    timeout_s: 0"), 13, "more than 0"),
        (good().replace("effect: read", "effect: read\n    ok_exit_codes: [a]"), 13, "expected an integer"),
        (good() + "x: !!python/name:os.system ''\n", 18, "tag"),
        (b"tool_name: \xff\n", 1, "not UTF-8"),
    ],
)
def test_broken_files_say_where_and_what_was_expected(text: str | bytes, line: int, words: str) -> None:
    loaded = load(text)
    assert loaded.definition is None
    assert any(p.line == line and words in p.message for p in loaded.problems), loaded.problems


def test_a_file_that_bears_another_name_is_loaded_with_a_warning() -> None:
    loaded = load(good("Get-Service"), "tools/windows/Get-Service.yaml")
    (problem,) = loaded.problems
    assert (problem.expected, problem.level) == ("get_service.yaml", "warning")
    assert loaded.definition is not None
    assert load(good("Get-Service"), "tools/windows/get_service.yaml").problems == ()


def test_a_definition_of_the_public_keys_alone_is_loaded_so_that_it_can_be_routed() -> None:
    text = (
        "tool_name: robot\nexecution_location: lab-service\nversion: '1'\ndescription: d\nplatform: any\ncategory: c\n"
    )
    loaded = load(text, "robot.yaml")
    assert loaded.definition is not None
    assert loaded.definition.execution_location == "lab-service"
    assert [problem.level for problem in loaded.problems] == ["warning"]


@pytest.mark.parametrize(
    "example", ["{path: {a: {1: x}}}", "{path: [.inf]}", "{path: " + "[" * 40 + "]" * 40 + "}", "{path: 1_0: x}"]
)
def test_parts_that_may_hold_anything_hold_only_what_a_document_may(example: str) -> None:
    assert load(good().replace("inputs: {path: /var}", f"inputs: {example}")).definition is None


def test_the_older_format_is_recognised_by_its_tree() -> None:
    loaded = load(legacy(), "site/Old Disk.yaml")
    assert loaded.legacy
    assert loaded.definition is not None
    assert {problem.level for problem in loaded.problems} == {"warning"}
