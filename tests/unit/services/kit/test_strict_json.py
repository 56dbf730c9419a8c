from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.model.errors import OpsError
from opsconductor.model.limits import DocumentLimits
from opsconductor.services.kit.strict_json import decode_strict

LIMITS = DocumentLimits(max_bytes=16 * 1024**2)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


def depth(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + max((depth(child) for child in (value.values() if isinstance(value, dict) else value)), default=0)
    return 0


@given(value=VALUES, ascii_only=st.booleans(), max_depth=st.integers(1, 6))
def test_any_value_comes_back_as_it_was_unless_it_nests_too_deep(value: Any, ascii_only: bool, max_depth: int) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    limits = DocumentLimits(max_depth=max_depth)
    if depth(value) > max_depth:
        with pytest.raises(OpsError, match=f"deeper than {max_depth} levels"):
            decode_strict(body, limits)
    else:
        assert decode_strict(body, limits) == value


@given(value=VALUES, max_nodes=st.integers(1, 20))
def test_values_are_counted_as_they_are_and_texts_do_not_count(value: Any, max_nodes: int) -> None:
    body = json.dumps(value).encode()

    def members(node: Any) -> int:
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        return (max(1, len(children)) if isinstance(node, dict | list) else 0) + sum(map(members, children))

    limits = DocumentLimits(max_nodes=max_nodes, max_depth=1000)
    if members(value) > max_nodes:
        with pytest.raises(OpsError) as caught:
            decode_strict(body, limits)
        assert caught.value.code == "request_too_large"
    else:
        assert decode_strict(body, limits) == value


@given(keys=st.lists(TEXT, min_size=1, unique=True), repeated=st.data(), deep=st.integers(0, 5))
def test_a_key_that_stands_twice_is_found_wherever_it_is(keys: list[str], repeated: st.DataObject, deep: int) -> None:
    again = repeated.draw(st.sampled_from(keys))
    members = ",".join(f"{json.dumps(key)}:1" for key in [*keys, again])
    body = ('[{"a":' * deep + "{" + members + "}" + "}]" * deep).encode()
    with pytest.raises(OpsError, match="stands twice"):
        decode_strict(body, LIMITS)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_one_named_error(body: bytes) -> None:
    try:
        decode_strict(body, LIMITS)
    except OpsError as error:
        assert error.code == "request_malformed"


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 4_000_000,
        b'"' + b"\\" * 8_000_000,
        b'{"a":"' * 1_000_000,
        b"[" * 8_000_000,
        b"[]," * 3_000_000,
        b'"' * 8_000_000,
        b"1" * 8_000_000,
        b"," * 8_000_000,
    ],
    ids=["escapes", "backslashes", "objects", "arrays", "elements", "quotes", "digits", "commas"],
)
def test_megabytes_of_nonsense_are_refused_in_time_that_grows_with_their_size_only(body: bytes) -> None:
    begin = time.perf_counter()
    with pytest.raises(OpsError):
        decode_strict(body, LIMITS)
    assert time.perf_counter() - begin < 3
