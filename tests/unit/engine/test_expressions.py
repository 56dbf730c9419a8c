"""Finding expressions in texts and what they refer to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.engine.expressions import Expression, expressions, has_template, parse, whole
from opsconductor.model.errors import OpsError


def only(text: str) -> Expression:
    (found,) = expressions(text)
    return found


@pytest.mark.parametrize(
    ("text", "steps", "inputs", "names"),
    [
        ("{{ steps.a.output.x + steps['b-c'].y }}", {"a", "b-c"}, set(), set()),
        ("{{ inputs.role }}-{{ 1 }}", set(), {"role"}, set()),
        ('{{ inputs["a b"] }}', set(), {"a b"}, set()),
        ("{{ item.host ~ index }}", set(), set(), {"item", "index"}),
        ("{{ {'steps': 'steps.z'} }}", set(), set(), set()),
        ("{{ x.steps.a }}", set(), set(), {"x"}),
        ("{{ steps.a.output.rows | selectattr('i', 'lt', inputs.n) | list }}", {"a"}, {"n"}, set()),
        ("{{ steps.a.x is defined and not y }}", {"a"}, set(), {"y"}),
        ("{{ value | join(d=',', attribute='steps') }}", set(), set(), {"value"}),
        ("{{ range(3) }}", set(), set(), set()),
        ("{{ steps.1.output }}", {"1"}, set(), set()),
        ("{{ (steps).a if true else none }}", None, None, None),
    ],
)
def test_references_are_found(text: str, steps: set[str] | None, inputs: set[str], names: set[str]) -> None:
    if steps is None:
        with pytest.raises(OpsError, match=r"steps\.NAME"):
            list(expressions(text))
        return
    found = list(expressions(text))
    assert set().union(*(one.steps for one in found)) == steps
    assert set().union(*(one.inputs for one in found)) == inputs
    assert set().union(*(one.names for one in found)) == names


def test_receivers_are_found_apart() -> None:
    assert only("{{ receivers.hook.url }}").receivers == {"hook"}


def test_texts_without_templates_are_one_literal() -> None:
    assert parse("") == ("",)
    assert parse("a }} b") == ("a }} b",)
    assert parse("awk '{print $1}' ${#x} {#c#} %{http_code}") == ("awk '{print $1}' ${#x} {#c#} %{http_code}",)


def test_literals_and_expressions_alternate() -> None:
    parts = parse("a {{ 1 }}{{ 2 }} b")
    assert [part if isinstance(part, str) else part.source for part in parts] == ["a ", "1", "2", " b"]
    assert whole(" {{ 1 }} ") is not None
    assert whole("{{ 1 }}{{ 2 }}") is None


def test_braces_and_ends_within_an_expression_do_not_end_it() -> None:
    assert only("{{ {'a': {'b': 1}}}}").source == "{'a': {'b': 1}}"
    assert only("{{ '}}' }}").source == "'}}'"
    assert only("{{ '{{' }}.Names}}").source == "'{{'"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ x", "not closed"),
        ("{{ 'x }}", "in quotes (') is not closed"),
        ("{{ }}", "empty"),
        ("{{ x) }}", "closes nothing"),
        ("{{ (x] }}", "closes nothing"),
        ("{{ x | nope }}", "no filter is called 'nope'"),
        ("{{ x | uper }}", "did you mean 'upper'"),
        ("{{ x is emty }}", "no test is called 'emty'"),
        ("{{ open('x') }}", "no function is called 'open'"),
        ("{{ steps }}", "which of the steps"),
        ("{{ inputs|length }}", "which of the inputs"),
        ("{{ f(*x) }}", "no function"),
        ("{{ range(*x) }}", "number on both sides"),
        ("{% if x %}y{% endif %}", "statements are not offered"),
        ("{%- for x in y %}", "statements are not offered"),
        ("{{ " + "1+" * 3000 + "1 }}", "longer than 4096"),
    ],
)
def test_what_cannot_be_an_expression_is_refused_with_a_reason(text: str, words: str) -> None:
    with pytest.raises(OpsError) as caught:
        parse(text)
    assert caught.value.code == "expression_invalid"
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("a * b", "a|_number * b|_number"),
        ("a * b * c", "a|_number * b|_number * c|_number"),
        ("x.y[0] * -(z + 1).w|length", "x.y[0]|_number * -(z + 1).w|length|_number"),
        ("f * range(3)|first", "f|_number * range(3)|first|_number"),
        ("'*' ~ 2 ** 3", "'*' ~ 2 ** 3"),
    ],
)
def test_both_sides_of_a_multiplication_are_made_to_be_numbers(source: str, code: str) -> None:
    assert only("{{ " + source + " }}").code == code


def test_templates_are_noticed_at_any_depth() -> None:
    assert has_template({"a": [{"b": "{{ x }}"}]})
    assert not has_template({"{{ x }}": [1, None, "x"]})


@given(st.text(alphabet="{}[]()'\"\\ab.|*-, %\n1", max_size=60))
def test_any_text_is_parsed_or_refused_as_an_expression(text: str) -> None:
    try:
        parts = parse(text)
    except OpsError as error:
        assert error.code == "expression_invalid"
    else:
        if "{{" not in text:
            assert parts == (text,)
