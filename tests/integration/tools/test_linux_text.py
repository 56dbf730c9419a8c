"""grep, head, tail, cat, awk, sed, sort, uniq and cut on real files, through their definitions and the service."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from opsconductor.catalog.inputs import check_inputs
from opsconductor.catalog.render import render_command
from opsconductor.model.execution import StepStatus
from tests.harness import Bench, automation, shipped_catalog
from tests.integration.tools.linux_checks import data, refused, says
from tests.needs import program

PEOPLE = "ada:30:London\nben:7:Paris\ncleo:x:London\ndan:-2.5:Ro\\me\n"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with automation() as service:
        yield service


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Named as logs are, with digits between dashes, which grep's context lines are full of."""
    file = tmp_path / "app-2024-01-01.log"
    file.write_text("start\n\tERROR disk 1-2-full\nok\nerror again: 3:4\nend\n")
    return file


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people"
    file.write_text(PEOPLE)
    return file


def lines_of(*numbers: int) -> list[str]:
    return [str(number) for number in numbers]


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    file = tmp_path / "numbers"
    file.write_text("".join(f"{number}\n" for number in range(1, 51)))
    return file


# grep


async def test_grep_gives_path_line_and_text_of_each_match(bench: Bench, log: Path) -> None:
    inputs = {"pattern": "error", "paths": [str(log)], "ignore_case": True}
    assert data(await bench.run("grep", "search", inputs)) == [
        {"path": str(log), "line": 2, "text": "\tERROR disk 1-2-full", "match": True},
        {"path": str(log), "line": 4, "text": "error again: 3:4", "match": True},
    ]


async def test_grep_tells_context_from_matches(bench: Bench, log: Path) -> None:
    inputs = {"pattern": "^ok$", "paths": [str(log)], "context_lines": 1}
    rows = data(await bench.run("grep", "search", inputs))
    assert [(row["path"], row["line"], row["text"], row["match"]) for row in rows] == [
        (str(log), 2, "\tERROR disk 1-2-full", False),
        (str(log), 3, "ok", True),
        (str(log), 4, "error again: 3:4", False),
    ]


async def test_grep_without_a_match_succeeds_with_nothing(bench: Bench, log: Path) -> None:
    result = await bench.run("grep", "search", {"pattern": "no such text", "paths": [str(log)]})
    assert (data(result), result.output["exit_code"]) == ([], 1)
    assert data(await bench.run("grep", "files", {"pattern": "no such text", "paths": [str(log)]})) == []


async def test_grep_counts_also_where_nothing_matches(bench: Bench, log: Path, people: Path) -> None:
    inputs = {"pattern": "error", "paths": [str(log), str(people)]}
    assert data(await bench.run("grep", "count", inputs)) == [
        {"path": str(log), "count": 1},
        {"path": str(people), "count": 0},
    ]
    inputs = {"pattern": "error", "paths": [str(people)]}
    assert data(await bench.run("grep", "count", inputs)) == [{"path": str(people), "count": 0}]


async def test_grep_searches_folders_by_name(bench: Bench, log: Path, people: Path) -> None:
    inputs = {"pattern": "o", "paths": [str(log.parent)], "recursive": True}
    assert set(data(await bench.run("grep", "files", inputs))) == {str(log), str(people)}
    assert data(await bench.run("grep", "files", {**inputs, "include": ["*.log"]})) == [str(log)]
    assert data(await bench.run("grep", "files", {**inputs, "exclude": ["*.log"]})) == [str(people)]


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"pattern": "3:4"}, [4]),
        ({"pattern": "a\\(gain\\)", "syntax": "basic-regexp"}, [4]),
        ({"pattern": "e.d"}, [5]),
        ({"pattern": "e.d", "syntax": "fixed-strings"}, []),
        ({"pattern": "err", "whole_word": True}, []),
        ({"pattern": "r", "invert": True, "ignore_case": True}, [3, 5]),
        ({"pattern": ".", "max_matches": 2}, [1, 2]),
        ({"pattern": "-2-"}, [2]),
        ({"pattern": "--help"}, []),
    ],
)
async def test_grep_options(bench: Bench, log: Path, options: dict[str, Any], lines: list[int]) -> None:
    rows = data(await bench.run("grep", "search", {**options, "paths": [str(log)]}))
    assert [row["line"] for row in rows] == lines


async def test_grep_finds_lines_of_a_log_with_zero_bytes(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "after-a-crash.log"
    file.write_bytes(b"\0\0\xff\n\nneedle\n")
    inputs = {"pattern": "needle|^$", "paths": [str(file)]}
    rows = data(await bench.run("grep", "search", inputs))
    assert [(row["line"], row["text"]) for row in rows] == [(2, ""), (3, "needle")]
    assert data(await bench.run("grep", "search", {**inputs, "binary_files": "without-match"})) == []


async def test_grep_passes_over_a_pipe_that_nobody_writes_to(bench: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    inputs = {"pattern": "x", "paths": [str(tmp_path / "pipe")]}
    assert data(await bench.run("grep", "search", inputs, timeout_s=20)) == []


async def test_grep_of_a_missing_file_or_with_a_broken_pattern_fails(bench: Bench, log: Path) -> None:
    says(await bench.run("grep", "search", {"pattern": "x", "paths": [f"{log}.gone"]}), "No such file or directory")
    says(await bench.run("grep", "search", {"pattern": "a(b", "paths": [str(log)]}), "Unmatched ( or \\(")


# head, tail, cat


async def test_head_gives_the_first_lines_or_bytes(bench: Bench, numbers: Path) -> None:
    assert data(await bench.run("head", None, {"path": str(numbers)})) == lines_of(*range(1, 11))
    assert data(await bench.run("head", "lines", {"path": str(numbers), "lines": 2})) == ["1", "2"]
    assert data(await bench.run("head", "bytes", {"path": str(numbers), "bytes": 5})) == "1\n2\n3"


async def test_tail_gives_the_last_lines_or_bytes_or_those_from_a_line_on(bench: Bench, numbers: Path) -> None:
    assert data(await bench.run("tail", None, {"path": str(numbers)})) == lines_of(*range(41, 51))
    assert data(await bench.run("tail", "from", {"path": str(numbers), "from_line": 49})) == ["49", "50"]
    assert data(await bench.run("tail", "bytes", {"path": str(numbers), "bytes": 4})) == "\n50\n"


async def test_cat_joins_files_and_shows_what_cannot_be_seen(bench: Bench, tmp_path: Path, people: Path) -> None:
    odd = tmp_path / "odd"
    odd.write_bytes(b"a\tb\r\n")
    assert data(await bench.run("cat", "read", {"paths": [str(people), str(odd)]})) == [*PEOPLE.splitlines(), "a\tb"]
    assert data(await bench.run("cat", "read", {"paths": [str(odd)], "show_nonprinting": True})) == ["a^Ib^M$"]


async def test_a_huge_file_is_cut_and_kept_as_an_artifact(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "huge"
    file.write_bytes(b"first\n" + b"x" * 4_000_000 + b"\nlast\n")
    result = await bench.run("cat", "read", {"paths": [str(file)]})
    assert result.status is StepStatus.COMPLETED
    output = result.output
    assert (output["truncated"], output["stdout_bytes"]) == (True, 4_000_012)
    assert len(output["stdout"]) < 1_100_000
    assert output["stdout"].startswith("first\n")
    assert output["stdout"].endswith("last\n")
    assert "data" not in output
    assert [artifact["size"] for artifact in output["artifacts"]] == [4_000_012]


# sort, uniq, cut


async def test_sort_orders_by_byte_number_size_and_version(bench: Bench, tmp_path: Path) -> None:
    def written(name: str, *lines: str) -> dict[str, Any]:
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
        return {"paths": [str(tmp_path / name)]}

    plain = written("n", "10", "9", "b", "B", "9")
    assert data(await bench.run("sort", None, plain)) == ["10", "9", "9", "B", "b"]
    assert data(await bench.run("sort", None, {**plain, "unique": True, "reverse": True})) == ["b", "B", "9", "10"]
    assert data(await bench.run("sort", None, {**plain, "by": "numeric"}))[-2:] == ["9", "10"]
    sizes = {**written("h", "1G", "2K", "1M"), "by": "human-numeric"}
    assert data(await bench.run("sort", None, sizes)) == ["2K", "1M", "1G"]
    versions = {**written("v", "1.10", "1.9"), "by": "version"}
    assert data(await bench.run("sort", None, versions)) == ["1.9", "1.10"]


async def test_sort_by_a_field_leaves_the_file_as_it_is(bench: Bench, people: Path) -> None:
    inputs = {"paths": [str(people)], "separator": ":", "field": 2, "by": "numeric"}
    rows = data(await bench.run("sort", None, inputs))
    assert [row.split(":")[0] for row in rows] == ["dan", "cleo", "ben", "ada"]
    assert people.read_text() == PEOPLE


async def test_uniq_counts_neighbours_that_are_equal(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text("a b\na b\nA b\n  c\n")
    path = {"path": str(file)}
    assert data(await bench.run("uniq", None, path)) == [
        {"count": 2, "value": "a b"},
        {"count": 1, "value": "A b"},
        {"count": 1, "value": "  c"},
    ]
    folded = data(await bench.run("uniq", "count", {**path, "ignore_case": True}))
    assert [row["count"] for row in folded] == [3, 1]
    assert data(await bench.run("uniq", "repeated", path)) == ["a b"]
    assert data(await bench.run("uniq", "unique", path)) == ["A b", "  c"]
    assert data(await bench.run("uniq", "unique", {**path, "skip_fields": 1})) == ["  c"]
    assert data(await bench.run("uniq", "unique", {**path, "skip_characters": 1})) == ["  c"]


async def test_cut_takes_fields_and_positions(bench: Bench, people: Path) -> None:
    paths = {"paths": [str(people)]}
    fields = {**paths, "delimiter": ":", "fields": "1,3"}
    assert data(await bench.run("cut", "fields", fields)) == ["ada:London", "ben:Paris", "cleo:London", "dan:Ro\\me"]
    assert data(await bench.run("cut", "fields", {**paths, "fields": "2", "only_delimited": True})) == []
    assert data(await bench.run("cut", "characters", {**paths, "characters": "1-3"})) == ["ada", "ben", "cle", "dan"]


async def test_cut_refuses_what_is_no_list_of_fields(bench: Bench, people: Path) -> None:
    refused(await bench.run("cut", "fields", {"paths": [str(people)], "fields": "0"}), "input_invalid")
    refused(
        await bench.run("cut", "fields", {"paths": [str(people)], "fields": "1 --output-delimiter=x"}), "input_invalid"
    )


# awk


async def test_awk_takes_columns_whatever_they_contain(bench: Bench, tmp_path: Path, people: Path) -> None:
    inputs = {"paths": [str(people)], "separator": ":", "columns": "3,1,9"}
    assert data(await bench.run("awk", None, inputs))[2:] == [["London", "cleo", ""], ["Ro\\me", "dan", ""]]
    odd = tmp_path / "odd"
    odd.write_text("a\tb|c\\td\n")
    inputs = {"paths": [str(odd)], "separator": "|", "columns": "1,2,0"}
    assert data(await bench.run("awk", None, inputs)) == [["a\tb", "c\\td", "a\tb|c\\td"]]


async def test_awk_adds_up_the_numbers_of_a_column(bench: Bench, people: Path) -> None:
    inputs = {"paths": [str(people)], "separator": ":", "column": 2}
    assert data(await bench.run("awk", "sum", inputs)) == {
        "lines": 4,
        "numbers": 3,
        "sum": 34.5,
        "minimum": -2.5,
        "maximum": 30,
        "mean": 11.5,
    }
    nothing = data(await bench.run("awk", "sum", {**inputs, "column": 3}))
    assert (nothing["numbers"], nothing["sum"], nothing["minimum"]) == (0, 0, None)


async def test_awk_counts_the_values_of_a_column(bench: Bench, people: Path) -> None:
    inputs = {"paths": [str(people)], "separator": ":", "column": 3}
    rows = data(await bench.run("awk", "count_by", inputs))
    assert {row["value"]: row["count"] for row in rows} == {"London": 2, "Paris": 1, "Ro\\me": 1}


async def test_awk_takes_no_assignment_for_a_file(bench: Bench) -> None:
    refused(await bench.run("awk", "columns", {"paths": ["FS=x"], "columns": "1"}), "input_invalid")


@pytest.mark.integration
async def test_awk_selects_with_a_program_in_a_sandbox(bench: Bench, people: Path) -> None:
    program("gawk")
    inputs = {"paths": [str(people)], "separator": ":", "program": '$3 == "London" {\n  print $1\n}'}
    assert data(await bench.run("awk", "select", inputs)) == ["ada", "cleo"]


@pytest.mark.integration
@pytest.mark.parametrize(
    "escape",
    [
        'BEGIN { system("touch made") }',
        'BEGIN { print "x" > "made" }',
        'BEGIN { print "x" | "cat > made" }',
        'BEGIN { "touch made" | getline }',
        'BEGIN { while ((getline line < "/etc/passwd") > 0) print line }',
        'BEGIN { ARGV[1] = "/etc/passwd" } { print }',
        '@load "filefuncs"\nBEGIN { print 1 }',
    ],
)
async def test_the_sandbox_of_awk_holds(bench: Bench, people: Path, escape: str) -> None:
    program("gawk")
    made = people.parent / "made"
    inputs = {"paths": [str(people)], "program": escape.replace("made", str(made))}
    result = await bench.run("awk", "select", inputs)
    says(result, "sandbox")
    assert result.output["stdout"] == ""
    assert not made.exists()


async def test_an_awk_program_without_a_sandbox_is_never_called_harmless(bench: Bench, people: Path) -> None:
    made = people.parent / "made"
    inputs = {"paths": [str(people)], "separator": ":", "program": f'NR == 1 {{ print $1 > "{made}" }}'}
    assert data(await bench.run("awk", "program", inputs)) == []
    assert made.read_text() == "ada\n"
    [row] = [row for row in await bench.service.tools() if (row["id"], row["operation"]) == ("awk", "program")]
    assert row["effect"] == "destructive"


# sed


async def test_sed_shows_the_text_replaced_and_keeps_the_file(bench: Bench, people: Path) -> None:
    inputs = {"path": str(people), "pattern": ":([A-Z])", "replacement": "\\/\\1&"}
    assert data(await bench.run("sed", None, inputs))[:2] == ["ada:30/L:London", "ben:7/P:Paris"]
    assert people.read_text() == PEOPLE


async def test_sed_shows_lines_by_number_and_runs_a_script(bench: Bench, numbers: Path) -> None:
    inputs = {"path": str(numbers), "first_line": 49, "last_line": 60}
    assert data(await bench.run("sed", "lines", inputs)) == ["49", "50"]
    inputs = {"path": str(numbers), "script": "/^1./d\n/^[2345]/d", "quiet": False}
    assert data(await bench.run("sed", "script", inputs)) == ["1", "6", "7", "8", "9"]


@pytest.mark.parametrize("script", ["w made", "1e touch made", "s/a/b/w made", "s|.*|touch made|e", "r /etc/passwd"])
async def test_the_sandbox_of_sed_holds(bench: Bench, people: Path, script: str) -> None:
    made = people.parent / "made"
    inputs = {"path": str(people), "script": script.replace("made", str(made))}
    says(await bench.run("sed", "script", inputs), "disabled in sandbox mode")
    assert not made.exists()


@pytest.mark.parametrize("text", ["x/e", "x/w made\\", "a\\", "/"])
async def test_no_text_leaves_its_place_in_the_expression_of_sed(bench: Bench, people: Path, text: str) -> None:
    refused(await bench.run("sed", "edit", {"path": str(people), "pattern": text, "replacement": "y"}), "input_invalid")
    refused(await bench.run("sed", "edit", {"path": str(people), "pattern": "x", "replacement": text}), "input_invalid")
    assert people.read_text() == PEOPLE


async def test_sed_edits_a_file_keeps_the_old_and_puts_it_back(bench: Bench, people: Path) -> None:
    people.chmod(0o640)
    inputs = {"path": str(people), "pattern": "London", "replacement": "", "backup_suffix": ".old"}
    preview = data(await bench.run("sed", "substitute", inputs))
    assert (await bench.run("sed", "edit", inputs)).status is StepStatus.COMPLETED
    assert people.read_text().splitlines() == preview == PEOPLE.replace("London", "").splitlines()
    assert (people.parent / "people.old").read_text() == PEOPLE
    assert (await bench.run("sed", "restore", inputs)).status is StepStatus.COMPLETED
    assert (people.read_text(), people.stat().st_mode & 0o777) == (PEOPLE, 0o640)


async def test_sed_edits_what_a_link_leads_to_and_leaves_the_link(bench: Bench, people: Path) -> None:
    link = people.parent / "link"
    link.symlink_to(people)
    inputs = {"path": str(link), "pattern": "ada", "replacement": "eve"}
    assert (await bench.run("sed", "edit", inputs)).status is StepStatus.COMPLETED
    assert link.is_symlink()
    assert people.read_text().startswith("eve:")


async def test_sed_cannot_restore_what_was_not_kept(bench: Bench, people: Path) -> None:
    says(await bench.run("sed", "restore", {"path": str(people)}), "cannot stat")
    assert people.read_text() == PEOPLE


# all of them


OF_ONE_FILE: list[tuple[str, str, dict[str, Any]]] = [
    ("head", "path", {}),
    ("tail", "path", {}),
    ("cat", "paths", {}),
    ("sort", "paths", {}),
    ("uniq", "path", {}),
    ("cut", "paths", {"fields": "1"}),
    ("sed", "path", {"pattern": "a", "replacement": "b"}),
    ("grep", "paths", {"pattern": "a"}),
]


@pytest.mark.parametrize(("tool", "name", "inputs"), OF_ONE_FILE)
async def test_a_missing_file_fails_with_the_words_of_the_program(
    bench: Bench, tmp_path: Path, tool: str, name: str, inputs: dict[str, Any]
) -> None:
    result = await bench.run(tool, None, {**inputs, name: str(tmp_path / "absent")})
    says(result, "No such file or directory")


async def test_a_missing_file_fails_with_the_words_of_awk(bench: Bench, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    result = await bench.run("awk", "columns", {"paths": [absent], "columns": "1"})
    says(result, absent)


@pytest.mark.parametrize(("tool", "name", "inputs"), OF_ONE_FILE)
@pytest.mark.parametrize("value", ["-", "--help", "-n1"])
async def test_a_leading_dash_is_refused(
    bench: Bench, tool: str, name: str, inputs: dict[str, Any], value: str
) -> None:
    refused(await bench.run(tool, None, {**inputs, name: value}))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("operation", "inputs"),
    [("columns", {"columns": "3,1,9,0"}), ("sum", {"column": 2}), ("sum", {"column": 3}), ("count_by", {"column": 3})],
)
def test_awk_operations_mean_the_same_to_every_awk(people: Path, operation: str, inputs: dict[str, Any]) -> None:
    people.write_text(PEOPLE + "a\tb:1.50:c\\td\n")
    definition = next(entry.definition for entry in shipped_catalog().entries() if entry.definition.id == "awk")
    given = {"paths": [str(people)], "separator": ":", **inputs}
    argv = render_command(definition, operation, check_inputs(definition, operation, given)).argv
    said = []
    for name in ("mawk", "gawk"):
        done = subprocess.run([program(name), *argv[1:]], capture_output=True, text=True, timeout=20, check=True)
        said.append(sorted(done.stdout.splitlines()))
    assert said[0] == said[1] != []
