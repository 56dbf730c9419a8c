"""Parsers give data or a reason, and never raise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsconductor.services.kit.parsing import TEXT_PARSERS, empty_data, known_parser, parse, parse_output


@pytest.mark.parametrize(
    ("name", "text", "data"),
    [
        ("json", '{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}),
        ("json_lines", '{"a":1}\n\n{"a":2}\n', [{"a": 1}, {"a": 2}]),
        ("key_value", "Id=ssh\nExecStart={ path=/x ; a:b }\n", {"Id": "ssh", "ExecStart": "{ path=/x ; a:b }"}),
        ("key_value", 'NAME="Debian GNU/Linux"\nID=debian\n# note\n', {"NAME": "Debian GNU/Linux", "ID": "debian"}),
        ("key_value", "Distributor ID:\tDebian\nURL: http://a:80/\n", {"Distributor ID": "Debian", "URL": "http://a:80/"}),
        ("key_value", "Wants=a\nWants=b\nWants=c\nEmpty=\n", {"Wants": ["a", "b", "c"], "Empty": ""}),
        ("lines", "a\n\nb \r\nc", ["a", "", "b ", "c"]),
        ("lines", "", []),
        ("lines", "form\x0cfeed\u2028stays\n", ["form\x0cfeed\u2028stays"]),
        ("table", "PID USER COMMAND\n1 root /sbin/init splash\n2 root\n", [
            {"pid": "1", "user": "root", "command": "/sbin/init splash"},
            {"pid": "2", "user": "root"},
        ]),
        ("table", "", []),
        ("csv", 'a,b\n1,"x,\ny"\n', [{"a": "1", "b": "x,\ny"}]),
        ("tsv", "a\tb\n1\t2\n", [{"a": "1", "b": "2"}]),
        ("number", " 42\n", 42),
        ("number", "-1.5e3", -1500.0),
        ("jc.uname", "Linux web-1 6.1.0 #1 SMP x86_64 GNU/Linux\n", None),
    ],
)  # fmt: skip
def test_text_that_fits_becomes_data(name: str, text: str, data: Any) -> None:
    parsed = parse(name, text)
    assert parsed.error is None
    if data is not None:
        assert parsed.data == data
    else:
        assert parsed.data["kernel_name"] == "Linux"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("json", "{", "json: "),
        ("json", '{"a": NaN}', "NaN is not JSON"),
        ("json", '"\\ud800"', "surrogates not allowed"),
        ("json", "[" * 100_000, "json: "),
        ("json_lines", '{"a":1}\n{\n', "line 2"),
        ("key_value", "a=1\njust words\n", "line 2"),
        ("table", "A A\n1 2\n", "twice"),
        ("csv", "a,b\n1\n", "row 2 has 1 fields"),
        ("number", "12 apples", "expected a number"),
        ("no_such_parser", "x", "no parser 'no_such_parser'"),
        ("jc.no_such_parser", "x", "jc.no_such_parser: "),
        ("jc.df", "not a df table at all\n\x00", None),
    ],
)
def test_text_that_does_not_fit_gives_a_reason(name: str, text: str, said: str | None) -> None:
    parsed = parse(name, text)
    if said is not None:
        assert parsed.data is None
        assert parsed.error is not None
        assert said in parsed.error


def test_a_services_own_parser_may_raise_anything() -> None:
    def odd(_text: str) -> Any:
        raise KeyError

    assert parse("own.odd", "x", extra={"own.odd": odd}).error == "own.odd: KeyError"
    assert parse("own.object", "x", extra={"own.object": lambda _text: object()}).error is not None
    assert parse("own.upper", "x", extra={"own.upper": str.upper}).data == "X"


def test_text_over_the_limit_is_not_parsed() -> None:
    parsed = parse("lines", "é" * 60, max_bytes=100)
    assert parsed.error == "the output is larger than the 100 bytes that are parsed"


async def test_long_text_is_parsed_all_the_same() -> None:
    text = "x\n" * 100_000
    parsed = await parse_output("lines", text, extra=None, max_bytes=10**6)
    assert parsed.data == ["x"] * 100_000


def test_nothing_found_is_an_empty_list_where_the_parser_gives_lists() -> None:
    assert empty_data("lines") == []
    assert empty_data("jc.ps") == []
    assert empty_data("json") is None
    assert empty_data("rows", {"rows": str.split}) == []
    assert empty_data("whole", {"whole": int}) is None


def test_parser_names_can_be_checked() -> None:
    assert known_parser("json")
    assert known_parser("jc.df")
    assert known_parser("xml.nmap", {"xml.nmap": str})
    assert not known_parser("jc.nope")
    assert not known_parser("nope")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(TEXT_PARSERS)), st.text(max_size=200))
def test_no_text_makes_a_parser_raise(name: str, text: str) -> None:
    parsed = parse(name, text)
    assert parsed.error is None or parsed.data is None
