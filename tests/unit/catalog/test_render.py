"""Rendering: values become arguments, never options, never more than one, never a shell's words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.catalog.inputs import check_inputs
from opsconductor.catalog.render import render_command
from opsconductor.model.errors import OpsError
from opsconductor.model.limits import InputLimits
from opsconductor.model.tool import ToolDefinition
from tests.unit.catalog.definitions import define

LS = define(
    {
        "paths": {"type": "array", "items": "string", "format": "path"},
        "all": {"type": "boolean", "default": False},
        "depth": {"type": "integer", "minimum": 0, "maximum": 9},
        "hide": {"type": "array", "items": "string"},
    },
    argv=["ls", ["{all}", "--all"], ["-d", "{depth}"], ["--hide={hide}"], "--", "{paths}"],
)


def rendered(definition: ToolDefinition, **given_inputs: Any) -> tuple[str, ...]:
    return render_command(definition, "go", check_inputs(definition, "go", given_inputs)).argv


@pytest.mark.parametrize(
    ("inputs", "argv"),
    [
        ({"paths": ["/a"]}, ["ls", "--", "/a"]),
        ({"paths": "/a"}, ["ls", "--", "/a"]),
        ({"paths": ["/a", "b c"], "all": True}, ["ls", "--all", "--", "/a", "b c"]),
        ({"paths": ["/a"], "all": "false", "depth": "3"}, ["ls", "-d", "3", "--", "/a"]),
        ({"paths": ["/a"], "depth": 0}, ["ls", "-d", "0", "--", "/a"]),
        ({"paths": ["/a"], "hide": ["*.o", "-x"]}, ["ls", "--hide=*.o", "--hide=-x", "--", "/a"]),
    ],
)
def test_groups_switches_and_lists(inputs: dict[str, Any], argv: list[str]) -> None:
    assert rendered(LS, **inputs) == tuple(argv)


@pytest.mark.parametrize("value", ["-rf", "--help", "−x", "—o"])
def test_a_value_in_the_place_of_an_operand_cannot_become_an_option(value: str) -> None:
    with pytest.raises(OpsError) as caught:
        rendered(LS, paths=["/ok", value])
    assert caught.value.code == "option_like_argument"
    assert "./-name" in caught.value.message


def test_negative_numbers_are_values() -> None:
    nice = define({"adjust": {"type": "integer", "minimum": -20, "maximum": 19}}, argv=["nice", "-n", "{adjust}"])
    assert rendered(nice, adjust=-5) == ("nice", "-n", "-5")


def test_other_braces_are_literal() -> None:
    tool = define({"name": {"type": "string"}}, argv=["docker", "--format", "{{json .}}", "{print $1}", "{name}"])
    assert rendered(tool, name="x") == ("docker", "--format", "{{json .}}", "{print $1}", "x")


def test_a_value_is_not_expanded_again() -> None:
    tool = define({"a": {"type": "string"}, "b": {"type": "string"}}, argv=["p", "{a}", "{b}"])
    assert rendered(tool, a="{b}", b="secret") == ("p", "{b}", "secret")


@given(st.text(min_size=1, max_size=60))
def test_any_accepted_text_is_exactly_one_argument(value: str) -> None:
    tool = define({"value": {"type": "string", "multiline": True}}, argv=["p", "{value}", "end"])
    try:
        argv = rendered(tool, value=value)
    except OpsError as error:
        assert error.code in ("option_like_argument", "input_invalid")
        return
    assert argv == ("p", value, "end")


@given(
    st.lists(
        st.text(alphabet=st.characters(categories=["L", "N", "P"], exclude_characters="\0"), min_size=1), min_size=1
    )
)
def test_a_list_is_one_argument_for_each_entry(entries: list[str]) -> None:
    tool = define({"values": {"type": "array", "items": "string"}}, argv=["p", "--v={values}"])
    assert rendered(tool, values=entries) == ("p", *(f"--v={entry}" for entry in entries))


def test_stdin_and_environment_carry_what_may_not_be_an_argument() -> None:
    tool = define(
        {"script": {"type": "string", "multiline": True}, "password": {"type": "string", "secret": True}},
        argv=["sh", "-s"],
        stdin="{script}",
        env={"PGPASSWORD": "{password}"},
    )
    command = render_command(tool, "go", check_inputs(tool, "go", {"script": "echo a\n", "password": "s3cret"}))
    assert (command.argv, command.stdin, command.env) == (("sh", "-s"), b"echo a\n", {"PGPASSWORD": "s3cret"})
    without = render_command(tool, "go", check_inputs(tool, "go", {"script": "true"}))
    assert without.env == {}


def test_a_command_longer_than_the_limit_is_refused() -> None:
    values = check_inputs(LS, "go", {"paths": ["/a" * 50] * 50})
    with pytest.raises(OpsError) as caught:
        render_command(LS, "go", values, InputLimits(max_argv_bytes=1000))
    assert caught.value.code == "input_too_large"
