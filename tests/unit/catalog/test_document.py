"""What documents mean, what is refused with which place, and that the three readers agree."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opsconductor.catalog import yaml_strict
from opsconductor.catalog.document import is_plain, read_document, read_quickly
from opsconductor.model.errors import OpsError
from opsconductor.model.limits import DocumentLimits

LIMITS = DocumentLimits()


def read(text: str | bytes, limits: DocumentLimits = LIMITS) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return read_document(data, file="doc.yaml", limits=limits).value


def refusal(text: str | bytes, limits: DocumentLimits = LIMITS) -> OpsError:
    with pytest.raises(OpsError) as caught:
        read(text, limits)
    assert caught.value.problems, "a refusal names its places"
    assert all(problem.file == "doc.yaml" and problem.line and problem.column for problem in caught.value.problems)
    return caught.value


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("true", True),
        ("False", False),
        ("NULL", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("tRue", "tRue"),
        ("2024-01-02", "2024-01-02"),
        ("12:30:00", "12:30:00"),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("-0x1f", "-0x1f"),
        ("0X1f", "0X1f"),
        ("1_000", "1_000"),
        ("_1", "_1"),
        ("+5", 5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        ("1.2.3", "1.2.3"),
        ("<<", "<<"),
        ("=", "="),
        ("99999999999999999999", 99999999999999999999),
        ('"1"', "1"),
        ("'true'", "true"),
    ],
)
def test_plain_scalars_follow_the_core_schema(scalar: str, value: Any) -> None:
    found = read(f"a: {scalar}\n")["a"]
    assert found == value
    assert type(found) is type(value)
    assert yaml_strict.read_yaml(f"a: {scalar}\n", file="f", limits=LIMITS)["a"] == value


def test_repeated_keys_are_all_reported_with_both_lines() -> None:
    error = refusal("a: 1\nb: {x: 1, x: 2}\na: 3\n")
    assert [(p.line, p.column) for p in error.problems] == [(2, 11), (3, 1)]
    assert "'a' is given twice, first on line 1" in error.problems[1].message


def test_a_repeated_json_key_is_refused_with_both_lines() -> None:
    error = refusal('{\n\t"host": "safe",\n\t"host": "prod-db"\n}')
    assert "first on line 2" in error.message
    assert error.problems[0].line == 3


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: !!python/object/apply:os.system ['id']\n", 2, "tag"),
        ("a: !local 1\n", 1, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\n1: b\n", 2, "not text"),
        ("a: 1\ntrue: b\n", 2, "not text"),
        ("? [a, b]\n: c\n", 1, "list or a mapping"),
        ("a: 1\nb: .nan\n", 2, "finite"),
        ("a: -.INF\n", 1, "finite"),
        ("a: 1e400\n", 1, "too large"),
        ('{"a": 1,\n "b": NaN}', 2, "NaN"),
        ('{"b": "NaN", "a": -Infinity}', 1, "Infinity"),
        ('{"a": 1e999}', 1, "too large"),
        ("a: " + "9" * 5000, 1, "digits"),
        ("a: b\nc: x\0y\n", 2, "NUL"),
        ('a: "x\\0y"\n', 1, "NUL"),
        ('{"a": "\\u0000"}', 1, "NUL"),
        ("a: \x07\n", 1, "control characters"),
        (b"a: b\nc: \xff\n", 2, "0xff is not UTF-8"),
        ("a: [1, 2\n", 2, "expected"),
        ("a:\n\tb: 1\n", 2, "token"),
        ("a: &a [*a]\n", 1, "holds itself"),
        ("a: *b\n", 1, "no anchor"),
    ],
)
def test_what_is_not_acceptable_is_refused_at_its_place(text: str | bytes, line: int, words: str) -> None:
    error = refusal(text)
    assert error.code == "yaml_invalid"
    assert error.problems[0].line == line
    assert words in error.message


def test_aliases_repeat_a_value_and_are_counted_expanded() -> None:
    assert read("a: &x [1, 2]\nb: *x\nc: {d: *x}\n") == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    assert refusal(bomb + "d: [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n").code == "document_too_large"


def test_depth_counts_what_aliases_bring() -> None:
    limits = DocumentLimits(max_depth=4)
    assert read("a: {b: {c: {}}}", limits) == {"a": {"b": {"c": {}}}}
    assert refusal("a: {b: {c: {d: {}}}}", limits).code == "document_too_large"
    assert refusal("x: &x {y: {z: {}}}\na: {b: *x}", limits).code == "document_too_large"
    assert refusal('{"a": [[[[]]]]}', limits).code == "document_too_large"


def test_size_and_number_of_values_are_limited() -> None:
    assert refusal("a: " + "x" * 100, DocumentLimits(max_bytes=100)).code == "document_too_large"
    limits = DocumentLimits(max_nodes=10)
    assert refusal("a: [1, 2, 3, 4, 5, 6, 7, 8, 9]", limits).code == "document_too_large"
    assert refusal("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", limits).code == "document_too_large"
    assert read('["1,2,3,4,5,6,7,8,9,10,11"]', limits) == ["1,2,3,4,5,6,7,8,9,10,11"]


LOL = "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(20))


@pytest.mark.parametrize(
    "hostile",
    [
        b"- " * 100_000,
        b"? " * 100_000,
        b": " * 100_000,
        b"[" * 2_000_000,
        b'{"a":' * 400_000,
        b"{a: " * 100_000,
        b"[" + b"1," * 1_900_000 + b"1]",
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + LOL.encode(),
        b"\n".join([b"k: 1"] * 100_000),
        b'"' + b"a" * 3_000_000,
        b"%YAML 1.1\n" * 100_000,
        b"a: &a " * 50_000,
    ],
    ids=lambda data: data[:8].decode(),
)
def test_hostile_documents_are_refused_quickly_in_little_memory(hostile: bytes) -> None:
    import tracemalloc

    refusal(b"a: &x !y")  # imports and caches are not the document's doing
    start = time.process_time()
    error = refusal(hostile)
    assert time.process_time() - start < 0.2
    tracemalloc.start()
    refusal(hostile)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 1024**2
    assert len(error.problems) <= yaml_strict.MAX_PROBLEMS
    assert len(error.message) < 1000


def test_positions_lead_to_keys_and_entries_and_else_to_the_nearest_parent() -> None:
    text = b"name: x\nsteps:\n  - id: a\n    inputs: {host: h,\n      port: 1}\n  - id: b\n"
    document = read_document(text, file="p")
    assert document.position(()) == (1, 1)
    assert document.position(("steps",)) == (2, 1)
    assert document.position(("steps", 0)) == (3, 5)
    assert document.position(("steps", 0, "inputs", "port")) == (5, 7)
    assert document.position(("steps", 1, "id")) == (6, 5)
    assert document.position(("steps", 1, "inputs", "host")) == (6, 5)
    assert document.position(("steps", 9)) == (2, 1)
    assert document.position(("nothing", "here")) == (1, 1)


def test_json_and_flow_yaml_are_read_alike() -> None:
    assert read('{"a": [1, {"b": null}], "c": "\\ud83d\\ude00"}') == {"a": [1, {"b": None}], "c": "😀"}
    assert read("{a: [1, {b: null}], c: 'x'}") == {"a": [1, {"b": None}], "c": "x"}
    assert read('\ufeff{"a": 1}') == {"a": 1}
    assert read("\ufeffa: 1") == {"a": 1}
    assert read("") is None


SCALARS = st.one_of(
    st.sampled_from(
        [
            "on",
            "yes",
            "no",
            "true",
            "True",
            "~",
            "null",
            "1",
            "-1",
            "0",
            "00",
            "1.5",
            "1e3",
            "1e400",
            "1_0",
            "_1",
            "0x1",
            "0o7",
            "0b1",
            ".inf",
            ".nan",
            "2024-01-02",
            "1:2",
            "-",
            ".",
            "x_1",
            "a1_b",
            "<<",
            "=",
            "{unit}",
            "&a",
            "*a",
            "!t",
            "'q'",
            '"q"',
            '"\\x41"',
            '"\\0"',
            "[]",
            "{}",
            "[1,2]",
            "{a:1}",
            "a:b",
            "a,b",
            "#",
            "%x",
            "@x",
            "`x",
            "|x",
            ">x",
            "?",
            "é",
            "😀",
            "\x07",
        ]
    ),
    st.text(alphabet="ab01 _-.:#'\"{}[],&*!?|>%@\\\n\t", max_size=12),
)
DOCUMENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "'a'", "c d", "1", "true", "- x", "", "  b", "  - a"]), SCALARS), max_size=6
).map(lambda rows: "\n".join(f"{key}: {value}" for key, value in rows))


@given(DOCUMENTS)
@example("a: [b, b: {c, d: }]")
@example("a: |\n  x\n   y\n\nb: >-\n  x\n\n  y")
@example("a: {x, x: 1}")
@example("? [[a]]\n: b\n")
@example("a: b\n? [a]\n: c\n")
@example("a: {?b: c, d: ?}\n")
@example("a: {?}\n")
@example("a: |\n")
@example("a: >\n  x")
@example("a: b\x85c\nd: e\u2028f\n")
@example("---\na: 1\n...\n")
def test_the_fast_reader_never_says_other_than_the_strict_one(text: str) -> None:
    """Whatever the fast reader takes, the strict one reads to the same, types included, or refuses by its syntax."""
    value = read_quickly(text.encode(), text, LIMITS)
    if value is None or not is_plain(value, LIMITS.max_depth):
        return
    try:
        strict = yaml_strict.read_yaml(text, file="f", limits=LIMITS)
    except OpsError as error:
        # libyaml is a YAML 1.1 parser and refuses some spellings that 1.2 allows; never our own rules.
        assert all("; expected" not in problem.message for problem in error.problems), error
        return
    assert repr(value) == repr(strict)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5))
def test_json_is_read_as_it_was_written(value: dict[str, Any]) -> None:
    text = json.dumps(value)
    if "\\u0000" in text:
        refusal(text)
        return
    assert read(text) == value


@given(st.binary(max_size=60))
def test_any_bytes_give_a_value_or_a_refusal_with_places(data: bytes) -> None:
    try:
        value = read(data)
    except OpsError as error:
        assert error.problems
    else:
        assert not (isinstance(value, float) and math.isnan(value))
