"""Masking of secrets: no form of a secret passes, nothing else is touched, and chunk borders make no difference."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsconductor.security.redaction import MASK, Redactor

SECRET = 'p@ss/w"rd+ü~9'


@pytest.mark.parametrize(
    "spelling",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        "p%40ss%2fw%22rd%2b%c3%bc~9",
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
    ],
)
def test_every_spelling_is_masked(spelling: str) -> None:
    assert Redactor([SECRET]).text(f"a {spelling} b") == f"a {MASK} b"


@pytest.mark.parametrize("lead", range(6))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le"])
def test_base64_is_masked_at_every_alignment(lead: int, encode: object, codec: str) -> None:
    assert callable(encode)
    text = encode(b"u" * lead + SECRET.encode(codec) + b":tail").decode()
    masked = Redactor([SECRET]).text(text)
    kept = masked.split(MASK)
    assert len(kept) == 2
    # What is left decodes to nothing of the secret: fewer characters than its own neighbours need.
    assert len(kept[0]) == lead * 8 // 6
    assert len(kept[1]) <= -(-5 * 8 // 6) + 2


def test_text_without_a_secret_comes_back_unchanged() -> None:
    text = "nothing to see \udce4 here"
    assert Redactor([SECRET]).text(text) == text
    assert Redactor([]).text(SECRET) == SECRET


def test_overlapping_secrets_leave_no_rest() -> None:
    assert Redactor(["abcdef", "defghi"]).text("xabcdefghiy") == f"x{MASK}y"


def test_empty_and_blank_secrets_are_absent() -> None:
    redactor = Redactor(["", "  \n"])
    assert not redactor
    assert redactor.text("a b") == "a b"


def test_a_short_secret_is_masked_only_where_it_stands_alone() -> None:
    redactor = Redactor(["42"])
    assert redactor.text("pin=42, 1429 rows, a42") == f"pin={MASK}, 1429 rows, a42"
    assert redactor.data({"pin": "42", "count": 42, "rows": 1429}) == {"pin": MASK, "count": MASK, "rows": 1429}


def test_surrounding_newline_of_a_token_file_is_not_part_of_the_secret() -> None:
    assert Redactor(["token-value\n"]).text("got token-value.") == f"got {MASK}."


def test_lines_of_a_private_key_are_masked_one_by_one() -> None:
    key = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2EAAAADAQ\nBBBBB3NzaC1yc2EAAAADAQ\n-----END KEY-----\n"
    assert Redactor([key]).text("line: BBBBB3NzaC1yc2EAAAADAQ") == f"line: {MASK}"
    assert Redactor([key]).text("-----BEGIN KEY-----") == "-----BEGIN KEY-----"


def test_structures_are_masked_in_values_and_keys() -> None:
    found = {"a": [SECRET, {"b" + SECRET: (1, None, True, SECRET.encode())}], "n": 1.5}
    masked = Redactor([SECRET]).data(found)
    assert masked == {"a": [MASK, {"b" + MASK: (1, None, True, MASK.encode())}], "n": 1.5}


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_stream_gives_what_the_whole_text_gives_wherever_it_is_cut(data: st.DataObject) -> None:
    secrets = data.draw(st.lists(st.text("abAB+/=% é\n", min_size=1, max_size=9), max_size=3))
    redactor = Redactor(secrets)
    pieces = st.one_of(
        st.sampled_from(secrets or ["x"]),
        st.text("abAB+/=% é", max_size=6),
        st.sampled_from(secrets or ["x"]).map(lambda text: base64.b64encode(text.encode()).decode()),
    )
    text = "".join(data.draw(st.lists(pieces, max_size=8)))
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    stream = redactor.stream()
    out = [stream.feed(raw[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert b"".join([*out, stream.flush()]) == redactor.binary(raw)


@given(st.text(min_size=1), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_a_text_stream_never_cuts_a_character(text: str, size: int) -> None:
    stream = Redactor(["sécret"]).stream()
    whole = text + "sécret" + text
    out = [stream.feed(whole[place : place + size]) for place in range(0, len(whole), size)]
    assert "".join(out) + stream.flush_text() == text + MASK + text


def test_a_stream_shows_a_finished_line_at_once() -> None:
    stream = Redactor([SECRET]).stream()
    assert stream.feed(b"working on it\n") == b"working on it\n"
    assert stream.feed(b"Password: ") == b"Password: "


def test_a_repetitive_stream_stays_small_and_quick() -> None:
    stream = Redactor(["aaaaaaaa"]).stream()
    began = time.process_time()
    shown = b"".join(stream.feed(b"a" * 65_536) for _ in range(16)) + stream.flush()
    assert shown == MASK.encode()
    assert time.process_time() - began < 10


@given(st.text(min_size=4).filter(lambda text: len(text.strip()) >= 4 and "\n" not in text), st.text(), st.text())
def test_a_secret_never_survives(secret: str, before: str, after: str) -> None:
    secret = secret.strip()
    if secret in MASK or any(c in "*" for c in secret):
        return
    assert secret not in Redactor([secret]).text(before + secret + after)
