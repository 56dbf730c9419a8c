"""The chain notices every change, and bodies come back as they were."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.engine import chain
from opsconductor.engine.chain import START, Head, Row
from opsconductor.model.errors import OpsError

WORDS = st.text("abc-7", min_size=1, max_size=4)
ROWS = st.builds(
    Row, WORDS, st.just(0), WORDS, WORDS, st.binary(max_size=20).map(lambda raw: b'"' + raw.hex().encode() + b'"')
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def _placed(rows: list[Row]) -> list[Row]:
    head, placed = START, []
    for row in rows:
        one, head = chain.follow(head, row)
        placed.append(one)
    return placed


def _verify(rows: list[Row]) -> Head:
    head = START
    for row in rows:
        _, head = chain.verified(head, row)
    return head


def test_the_hash_is_what_the_documentation_says() -> None:
    row, head = chain.follow(START, Row("e1", 0, "2026-01-02T03:04:05.000000Z", "accepted", b'{"a":1}'))
    text = b'opsconductor-journal:1\ne1\n1\n2026-01-02T03:04:05.000000Z\naccepted\n{"a":1}'
    assert row.hash == head.hash == hashlib.sha256(bytes(32) + text).digest()
    assert (row.sequence, head.sequence, head.kind) == (1, 1, "accepted")


@given(st.lists(ROWS, min_size=1, max_size=5))
def test_what_was_placed_verifies(rows: list[Row]) -> None:
    assert _verify(_placed(rows)).sequence == len(rows)


@given(st.lists(ROWS, min_size=1, max_size=5), st.data())
def test_a_change_of_any_field_of_any_record_is_noticed_at_that_record(rows: list[Row], data: st.DataObject) -> None:
    placed = _placed(rows)
    place = data.draw(st.integers(0, len(placed) - 1))
    field = data.draw(st.sampled_from(["execution_id", "sequence", "at", "kind", "body", "hash"]))
    old = getattr(placed[place], field)
    new: Any = old + {str: "x", int: 1, bytes: b" "}[type(old)]
    placed[place] = placed[place]._replace(**{field: new})
    with pytest.raises(OpsError) as caught:
        _verify(placed)
    assert caught.value.code == "journal_corrupt"
    assert caught.value.context["sequence"] == place + 1


@given(st.lists(ROWS, min_size=2, max_size=5), st.data())
def test_removing_or_swapping_records_is_noticed(rows: list[Row], data: st.DataObject) -> None:
    placed = _placed(rows)
    place = data.draw(st.integers(0, len(placed) - 2))
    swapped = placed.copy()
    swapped[place], swapped[place + 1] = swapped[place + 1], swapped[place]
    for changed in (placed[:place] + placed[place + 1 :], swapped):
        with pytest.raises(OpsError, match="missing"):
            _verify(changed)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_every_json_body_comes_back(body: dict[str, Any]) -> None:
    row = Row("e", 1, "t", "k", chain.encode_body(body))
    assert chain.to_record(row).body == body


def test_what_json_cannot_say_is_marked_even_beside_large_numbers() -> None:
    body = {"nan": float("nan"), "big": 2**70, "name\udcff": ["\ud800", ("x",), float("inf")]}
    record = chain.to_record(Row("e", 1, "t", "k", chain.encode_body(body)))
    assert record.body == {"nan": None, "big": 2**70, "name?": ["?", ["x"], None]}


@pytest.mark.parametrize("value", [object(), {1: object()}, {"deep": {"\ud800": object()}}])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(OpsError) as caught:
        chain.encode_body({"x": value})
    assert caught.value.code == "internal_error"


def test_a_body_above_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "MAX_BODY_BYTES", 10)
    with pytest.raises(OpsError, match="13 bytes is above the limit of 10"):
        chain.encode_body({"x": "12345"})
