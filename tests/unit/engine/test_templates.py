"""Evaluating templates: types, strictness, and bounds that hostile ones meet."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.engine.expressions import literal
from opsconductor.engine.templates import TemplateLimits, Templates, closed
from opsconductor.model.errors import OpsError

TEMPLATES = Templates()


def scope(**steps: Any) -> dict[str, Any]:
    return {"steps": closed(steps), "inputs": closed({"n": 3, "text": "{{ inputs.n }}", "none": None})}


def text(template: str, **steps: Any) -> Any:
    return TEMPLATES.text(template, scope(**steps))


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ inputs.n }}", 3),
        (" {{ inputs.n }} ", 3),
        ("n={{ inputs.n }}", "n=3"),
        ("{{ inputs.none }}", None),
        ("{{ inputs.n > 2 }}", True),
        ("{{ inputs.n / 2 }}", 1.5),
        ("{{ [inputs.n, 'x'] }}", [3, "x"]),
        ("{{ {'a': inputs.n} }}", {"a": 3}),
        ("{{ inputs.gone | default('d') }}", "d"),
        ("{{ inputs.gone is defined }}", False),
        ("{{ '[1, 2]' }}", "[1, 2]"),
        ("{{ '{{' }}.Names}}", "{{.Names}}"),
        ("{{ inputs.text }}", "{{ inputs.n }}"),
        ("a{{ inputs.text }}b", "a{{ inputs.n }}b"),
        ("{{ 1 == 1 }} {{ none }} {{ [1, 'é'] }}", 'true null [1, "é"]'),
        ("{{ ['a', 1] | join('-') }}", "a-1"),
        ("{{ [{'a': 1}] | map(attribute='a') | join }}", "1"),
        ("{{ 'a.b' | replace('.', '-') }}", "a-b"),
        ("{{ {'a': [1]} | tojson }}", '{"a": [1]}'),
        ("{{ [1] | string }}", "[1]"),
        ("{{ range(2, 4) }}", [2, 3]),
        ("{{ inputs.n * 2 + 1 }}", 7),
        ("no template", "no template"),
    ],
)
def test_values_keep_their_types(template: str, value: Any) -> None:
    found = text(template)
    assert found == value
    assert type(found) is type(value)


def test_ids_with_hyphens_are_reached_in_brackets() -> None:
    assert text("{{ steps['a-b'].status }}", **{"a-b": {"status": "completed"}}) == "completed"


@pytest.mark.parametrize(
    "template",
    [
        "{{ inputs.gone }}",
        "{{ inputs.gone.deeper }}",
        "x {{ inputs.gone }}",
        "{{ inputs.gone ~ 'x' }}",
        "{{ not inputs.gone }}",
        "{{ 'x' if false }}",
        "{{ gone }}",
        "{{ steps.a.keys }}",
        "{{ steps.a.items }}",
        "{{ steps.a.get('x') }}",
    ],
)
def test_what_does_not_exist_is_an_error(template: str) -> None:
    with pytest.raises(OpsError) as caught:
        text(template, a={"x": 1})
    assert caught.value.code == "expression_invalid"
    assert "\n" not in caught.value.message


def test_a_template_cannot_change_what_it_reads() -> None:
    data = scope(a={"list": [1], "map": {"k": 1}})
    for call in ("list.append(2)", "list.clear()", "map.update({'x': 1})", "map.pop('k')"):
        with pytest.raises(OpsError):
            TEMPLATES.text("{{ steps.a." + call + " }}", data)
    assert data["steps"] == {"a": {"list": [1], "map": {"k": 1}}}


def test_a_result_does_not_share_its_parts_with_the_record() -> None:
    data = scope(a={"list": [[1]]})
    found = TEMPLATES.text("{{ steps.a.list }}", data)
    found[0].append(2)
    assert data["steps"]["a"]["list"] == [[1]]
    assert type(found[0]) is list


BIG: dict[str, Any] = {"rows": [{"i": n} for n in range(2000)], "text": "x" * 1_000_000, "lines": "\n" * 1_000_000}


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ steps.__class__ }}",
        "{{ steps.a.__class__.__init__.__globals__ }}",
        "{{ inputs.text.format(inputs) }}",
        "{{ __import__('os').system('id') }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'] }}",
        "{{ self._TemplateReference__context }}",
        "{{ debug() }}",
        "{{ steps.a|attr('items') }}",
        "{{ (function(){ return this.process })() }}",
        "{% for x in range(10) %}{{ x }}{% endfor %}",
        "{{ range(1000000000) }}",
        "{{ range(100000) | list }}",
        "{{ [1] * 1000000000 }}",
        "{{ 1000000000 * [1] }}",
        "{{ 'a' * 1000000000 }}",
        "{{ (steps.a.rows) * (1000000) }}",
        "{{ steps.a.text | replace('x', steps.a.text) }}",
        "{{ steps.a.rows | join(steps.a.text) }}",
        "{{ steps.a.lines | indent(100000) }}",
        "{{ [1] | tojson(indent=100000000) }}",
        "{{ '%0999999999d' | format(1) }}",
        "{{ 10 ** 100000 }}",
        "{{ 1 / 0 }}",
        "{{ " + " ~ ".join(["steps.a.text"] * 200) + " }}",
        "{{ " + " + ".join(["range(1000)"] * 290) + " }}",
        "{{ " + "(" * 1500 + "1" + ")" * 1500 + " }}",
        "{{ " + "[" * 4000 + " }}",
        "{{ " + "not " * 1000 + " }}",
        "{{ " + "x." * 2000 + "x }}",
        "{{ " + "-" * 100_000 + "1 }}",
    ],
)
def test_hostile_templates_fail_quickly_and_clearly(template: str) -> None:
    variables = scope(a=BIG)
    TEMPLATES.text("{{ 1 }}", variables)
    began = time.perf_counter()
    with pytest.raises(OpsError) as caught:
        TEMPLATES.text(template, variables)
    assert time.perf_counter() - began < 0.5  # 0.1 s on a quiet machine
    assert caught.value.code == "expression_invalid"
    assert len(caught.value.message) < 600


@pytest.mark.parametrize(
    "literal", ["${jndi:ldap://x/}", "__import__('os').system('id')", "`id`; $(id)", "@exec('x')", "#{7*7}", "<%= 7 %>"]
)
def test_other_languages_templates_are_plain_text(literal: str) -> None:
    assert text(literal) == literal


def test_results_have_a_largest_size() -> None:
    small = Templates(TemplateLimits(max_result_nodes=10, max_result_chars=100))
    variables = scope(a={"list": list(range(20)), "text": "x" * 200})
    for template in ("{{ steps.a.list }}", "{{ steps.a.text }}", "{{ steps.a.text | string }}"):
        with pytest.raises(OpsError, match=r"larger than 10|longer than 100"):
            small.text(template, variables)


def test_fuel_bounds_the_work() -> None:
    with pytest.raises(OpsError, match="fuel"):
        Templates(TemplateLimits(fuel=50)).text("{{ range(1000) | map('string') | list }}", scope())


def test_nested_data_is_rendered_and_keys_are_not() -> None:
    value = {"{{ x }}": ["{{ inputs.n }}", {"a": "n{{ inputs.n }}"}, 5, None]}
    assert TEMPLATES.render(value, scope()) == {"{{ x }}": [3, {"a": "n3"}, 5, None]}


def test_conditions_are_true_or_false() -> None:
    assert TEMPLATES.condition("{{ inputs.n == 3 }}", scope())
    with pytest.raises(OpsError, match="expected true or false"):
        TEMPLATES.condition("{{ inputs.n }}", scope())


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(_json)
def test_any_json_value_passes_unchanged(value: Any) -> None:
    assert TEMPLATES.text("{{ steps.a.v }}", scope(a={"v": value})) == value


@given(st.text(alphabet="{}% '\"abif", max_size=30))
def test_a_literal_means_itself(value: str) -> None:
    assert TEMPLATES.render({"k": [literal(value)]}, scope()) == {"k": [value]}


@pytest.mark.parametrize("expression", ["{{ missing.data | length }}", "{{ missing['data'] | count }}"])
def test_what_does_not_exist_has_no_length(expression: str) -> None:
    with pytest.raises(OpsError, match="length"):
        Templates().text(expression, {"missing": closed({})})


def test_length_counts_texts_lists_and_objects() -> None:
    variables = {"found": closed({"text": "abc", "list": [], "object": {"a": 1}})}
    template = "{{ found.text | length }} {{ found.list | length }} {{ found.object | count }}"
    assert Templates().text(template, variables) == "3 0 1"
    assert Templates().text("{{ found.object | map('upper') | length }}", variables) == 1


@pytest.mark.parametrize(
    "name", ["string", "tojson", "urlencode", "length", "upper", "trim", "join(',')", "truncate(3)"]
)
def test_a_filter_makes_no_text_of_what_is_missing(name: str) -> None:
    with pytest.raises(OpsError) as caught:
        Templates().text(f"{{{{ inputs.gone | {name} }}}}", {"inputs": {}})
    assert caught.value.code == "expression_invalid"


def test_urlencode_makes_texts_and_queries() -> None:
    scope = {"inputs": {"text": "a b/c&d", "query": {"q": "x y", "n": 1}}}
    assert Templates().text("{{ inputs.text | urlencode }}", scope) == "a%20b/c%26d"
    assert Templates().text("{{ inputs.query | urlencode }}", scope) == "q=x+y&n=1"
    assert Templates().text("{{ inputs.gone | default('x') | tojson }}", scope) == '"x"'
