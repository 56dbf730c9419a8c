"""Inputs: names, types, ranges, formats; all problems at once, each saying what was found and expected."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.catalog.formats import FORMATS
from opsconductor.catalog.inputs import check_inputs, check_value
from opsconductor.model.errors import OpsError
from opsconductor.model.tool import InputSpec
from tests.unit.catalog.definitions import define


def spec(**keys: Any) -> InputSpec:
    return InputSpec(description="A value of the test.", **keys)


@pytest.mark.parametrize(
    ("value", "declared", "result"),
    [
        ("5", spec(type="integer"), 5),
        (5.0, spec(type="integer"), 5),
        ("-2", spec(type="integer"), -2),
        ("1.5", spec(type="number"), 1.5),
        ("yes", spec(type="boolean"), True),
        ("OFF", spec(type="boolean"), False),
        (7, spec(type="string"), "7"),
        ("a", spec(type="array"), ["a"]),
        (["1", 2], spec(type="array", items="integer"), [1, 2]),
        ({"a": 1}, spec(type="object"), {"a": 1}),
        ("x\ny", spec(type="string", multiline=True), "x\ny"),
        ("", spec(type="string", min_length=0), ""),
        ("b", spec(type="string", enum=("a", "b")), "b"),
    ],
)
def test_values_become_their_declared_type(value: Any, declared: InputSpec, result: Any) -> None:
    assert check_value(value, declared) == result


@pytest.mark.parametrize(
    ("value", "declared", "code", "expected"),
    [
        ("five", spec(type="integer"), "input_invalid", "an integer"),
        (True, spec(type="integer"), "input_invalid", "an integer"),
        (1.5, spec(type="integer"), "input_invalid", "an integer"),
        (float("nan"), spec(type="number"), "input_invalid", "a number"),
        ("inf", spec(type="number"), "input_invalid", "a number"),
        (0, spec(type="integer", minimum=1, unit="lines"), "input_invalid", "at least 1 lines"),
        (9, spec(type="integer", maximum=8), "input_invalid", "at most 8"),
        ("maybe", spec(type="boolean"), "input_invalid", "true or false"),
        ("", spec(type="string"), "input_invalid", "at least 1"),
        ("a\0b", spec(type="string", multiline=True), "input_invalid", "NUL"),
        ("a\nb", spec(type="string"), "input_invalid", "one line"),
        ("a\x1b[2J", spec(type="string"), "input_invalid", "control characters"),
        ("\udcff", spec(type="string"), "input_invalid", "UTF-8"),
        ("x" * 131_072, spec(type="string"), "input_too_large", "131071 bytes"),
        ("abc", spec(type="string", pattern="[a-z]{2}"), "input_invalid", "matches"),
        ("abc", spec(type="string", max_length=2), "input_too_large", "at most 2"),
        ([], spec(type="array"), "input_invalid", "at least 1 entries"),
        (["a", {}], spec(type="array"), "input_invalid", "a string"),
        ("c", spec(type="string", enum=("a", "b")), "input_invalid", "one of a, b"),
        (["x"], spec(type="string"), "input_invalid", "a string"),
        ("x", spec(type="object"), "input_invalid", "an object"),
    ],
)
def test_a_value_that_does_not_fit_says_what_was_expected(
    value: Any, declared: InputSpec, code: str, expected: str
) -> None:
    with pytest.raises(OpsError) as caught:
        check_value(value, declared)
    assert caught.value.code == code
    assert expected in caught.value.message


def test_a_secret_is_not_shown_in_its_own_error() -> None:
    with pytest.raises(OpsError) as caught:
        check_value("hunter2\n", spec(type="string", secret=True))
    assert "hunter2" not in caught.value.message


TOOL = define(
    {
        "unit": {"type": "string", "format": "systemd-unit", "aliases": ["service"], "examples": ["nginx.service"]},
        "lines": {"type": "integer", "default": 50, "minimum": 1},
        "since": {"type": "string"},
    },
    argv=["journalctl", "--lines={lines}", ["--since={since}"], "--unit={unit}"],
)


def test_defaults_aliases_and_spellings() -> None:
    assert check_inputs(TOOL, "go", {"service": "a"}) == {"unit": "a", "lines": 50}
    assert check_inputs(TOOL, "go", {"Unit": "a", "since": None}) == {"unit": "a", "lines": 50}


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(OpsError) as caught:
        check_inputs(TOOL, "go", {"lines": 0, "sinc": "x"})
    problems = {(problem.code, problem.field): problem for problem in caught.value.problems}
    assert set(problems) == {
        ("input_unknown", "inputs.sinc"),
        ("input_invalid", "inputs.lines"),
        ("input_missing", "inputs.unit"),
    }
    assert problems["input_unknown", "inputs.sinc"].suggestion == "since"
    assert "nginx.service" in problems["input_missing", "inputs.unit"].message


def test_two_names_of_one_input_are_refused() -> None:
    with pytest.raises(OpsError, match="another name"):
        check_inputs(TOOL, "go", {"unit": "a", "service": "b"})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (
            "host",
            ["web-1", "10.0.0.1", "::1", "a.b.example.com.", "_srv.example"],
            ["-x", "a b", "a;b", "1.2.3", "", "a..b", "$(id)"],
        ),
        ("cidr", ["10.0.0.0/8", "fe80::/10", "10.1.2.3"], ["10.0.0.0/40", "x/8"]),
        (
            "url",
            ["http://a/", "https://[::1]:8/x?y"],
            ["file:///etc/passwd", "http://", "http://h/\nX: 1", "//a", "http://a:99999/"],
        ),
        ("systemd-unit", ["nginx.service", "getty@tty1", "a-b.timer"], ["-x", "a b", "a/b"]),
        ("interface", ["eth0", "br-1.100", "wg0"], ["eth0; id", "-i", "a" * 16]),
        ("file_name", ["a.txt", "...x"], ["..", ".", "a/b"]),
        ("file_mode", ["0644", "755", "u=rw,go=r", "+x"], ["9", "rwx", "777;", "u==="]),
        ("owner", ["root", "root:root", ":adm", "1000:1000", "www-data:"], ["a b", "-x", "a:b:c"]),
        ("signal", ["TERM", "SIGKILL", "9", "RTMIN+3"], ["term;", "-9", ""]),
        ("email", ["a@b.example", "x+y@host"], ["a", "a@", "a@b c", "<a@b>", "a@b\n"]),
        ("ports", ["22", "1-1024,8080"], ["a", "22,", "-p"]),
        ("datetime", ["2026-01-02T03:04:05Z"], ["2026-01-02T03:04:05", "now"]),
        ("absolute_path", ["/a"], ["a", "../a"]),
        ("json", ['{"a": 1}'], ["{", "[" * 100_000]),
    ],
)
def test_formats(name: str, good: list[str], bad: list[str]) -> None:
    check = FORMATS[name][1]
    assert {value: check(value) for value in good} == dict.fromkeys(good)
    assert all(check(value) for value in bad), {value: check(value) for value in bad}
