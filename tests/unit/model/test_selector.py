"""The selector grammar: what it accepts, what it means, and errors that say where."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from opsconductor.model.asset import Asset, new_asset, retired_asset
from opsconductor.model.asset_terms import address_range, fold
from opsconductor.model.errors import OpsError
from opsconductor.model.selector import Clause, Operator, Selector, clause, fits, glob, parse

WEB = new_asset(
    {
        "hostname": "Web-1.Example.com",
        "environment": "Prod",
        "os": "Windows Server 2022",
        "tags": ["Blue", "web"],
        "labels": {"role": "api", "Tier": "1"},
        "metadata": {"rack": {"unit": 14}, "serial": "CZ1", "disks": ["sda", "sdb"], "virtual": False},
        "addresses": ["10.1.2.3", "2001:db8::7"],
        "location": "Zürich Süd",
        "connection": {"transport": "ssh", "address": "192.168.7.1"},
    },
    asset_id="0190c5e0-0000-7000-8000-000000000001",
    at="2026-01-02T03:04:05.000000Z",
)


@pytest.mark.parametrize(
    ("text", "fits_web"),
    [
        ("env=prod, role in (web, api), tag=blue, hostname~web-*, !retired", True),
        ("env=PROD", True),
        ("env!=prod", False),
        ("environment==prod", True),
        ("os!=windows", False),
        ("os=windows", True),
        ("os='windows server 2022'", True),
        ("os=server", False),
        ("os~server", True),
        ("tag=blue, tag=web", True),
        ("tag!=blue", False),
        ("tag not in (red, green)", True),
        ("tag in (red, blue)", True),
        ("role!=web", True),
        ("labels.tier=1, tier=1", True),
        ("label.role=api", True),
        ("metadata.rack.unit=14", True),
        ("metadata.disks=sdb", True),
        ("metadata.virtual=false", True),
        ("rack=14", False),
        ("ip=10.0.0.0/8", True),
        ("ip=10.1.2.3", True),
        ("ip=2001:DB8:0::7", True),
        ("ip!=10.0.0.0/8", False),
        ("ip in (172.16.0.0/12, 2001:db8::/32)", True),
        ("ip=192.168.0.0/16", True),
        ("ip=11.0.0.0/8", False),
        ("ip~10.1.*", True),
        ("name=web-1.example.com", True),
        ("hostname~EXAMPLE", True),
        ("hostname~web-?.*", True),
        ("hostname!~db", True),
        ("location~ZÜRICH*", True),
        ("text~süd", True),
        ("text!~nowhere", True),
        ("transport=ssh", True),
        ("owner", False),
        ("!owner", True),
        ("role", True),
        ("!no-such-label", True),
        ("retired", False),
        ("status=active, type!=switch", True),
    ],
)
def test_a_selector_means_what_it_says(text: str, fits_web: bool) -> None:
    assert parse(text).matches(WEB) is fits_web


def test_retired_speaks_of_deleted_assets() -> None:
    gone = retired_asset(WEB, at="2026-02-01T00:00:00.000000Z", now="2026-02-01T00:00:00.000000Z")
    assert parse("retired").matches(gone)
    assert not parse("!retired").matches(gone)


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("", 1, "hostname~*"),
        ("   ", 1, "hostname~*"),
        ("env=", 5, "expected a value"),
        ("env=prod,", 10, "expected a field"),
        ("env=prod,,x", 10, "expected a field"),
        ("env=prod and role=web", 10, "','"),
        ("env=prod or env=dev", 10, "in (a, b)"),
        ("owner=Ops Team", 11, "quotes"),
        ("role in web", 9, "'('"),
        ("role in (web", 13, "')'"),
        ("role in ()", 10, "expected a value"),
        ("role not web", 10, "'in'"),
        ('owner="Ops', 7, "not closed"),
        ("=prod", 1, "expected a field"),
        ("!role=web", 1, "role!="),
        ("hostname=web-*", 10, "'~'"),
        ("env=prod, ip=web-1", 14, "address or network"),
        ("a\x00b", 2, "character"),
        ('a="\x01"', 3, "control characters"),
        ("a~" + "*x" * 9, 3, "'*'"),
    ],
)
def test_an_error_says_the_column_and_the_remedy(text: str, column: int, hint: str) -> None:
    with pytest.raises(OpsError) as caught:
        parse(text)
    assert caught.value.code == "selector_invalid"
    assert (caught.value.context["column"], caught.value.problems[0].column) == (column, column)
    assert hint in caught.value.message


def test_a_selector_is_bounded() -> None:
    for text in ("a" * 16_385, ",".join(["a=b"] * 101), f"a in ({','.join(['b'] * 1001)})"):
        with pytest.raises(OpsError, match="expected at most"):
            parse(text)


_VALUES = st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=0, max_size=20)
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_./-]{0,12}", fullmatch=True) | st.sampled_from(
    ["env", "os", "tags", "labels.os", "metadata.a.b", "not", "in", "role", "connection.port", "Retired"]
)


@st.composite
def _clauses(draw: st.DrawFn) -> Clause:
    operator = draw(st.sampled_from(Operator))
    values = tuple(draw(st.lists(_VALUES, min_size=1, max_size=3)))
    if operator in (Operator.HAS, Operator.LACKS):
        values = ()
    elif operator not in (Operator.IN, Operator.NOT_IN):
        values = values[:1]
    try:
        return clause(draw(_NAMES), operator, *values)
    except OpsError:
        reject()  # a host name with a wildcard, an address that is none


@given(st.lists(_clauses(), min_size=1, max_size=5))
def test_what_is_written_reads_back_the_same(clauses: list[Clause]) -> None:
    selector = Selector(tuple(clauses))
    assert parse(str(selector)) == selector


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_a_clean_error(text: str) -> None:
    try:
        selector = parse(text)
    except OpsError as error:
        assert error.code == "selector_invalid"
    else:
        assert parse(str(selector)) == selector
        selector.matches(WEB)


@given(_clauses())
def test_a_negated_operator_is_the_opposite(positive: Clause) -> None:
    opposite = {"=": "!=", "~": "!~", "in": "not in", "has": "lacks"}
    opposite |= {value: key for key, value in opposite.items()}
    negated = Clause(positive.field, Operator(opposite[positive.operator]), positive.values)
    assert Selector((positive,)).matches(WEB) is not Selector((negated,)).matches(WEB)


def _by_definition(pattern: str, text: str) -> bool:
    """The textbook meaning of a glob, by recursion."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_by_definition(pattern[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and _by_definition(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_patterns_fit_as_globs_do(pattern: str, text: str) -> None:
    assert fits(pattern, text) is _by_definition(pattern, text)


def test_a_pattern_without_wildcards_may_stand_anywhere() -> None:
    assert glob("Web") == "*web*"
    assert glob("a**b") == "a*b"


@given(st.ip_addresses(), st.integers(0, 128))
def test_address_ranges_are_exactly_the_network(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    length = min(length, address.max_prefixlen)
    network = ipaddress.ip_network((address, length), strict=False)
    keys = address_range(f"{address}/{length}")
    assert keys == (
        (address_range(str(network.network_address)) or ("", ""))[0],
        (address_range(str(network.broadcast_address)) or ("", ""))[1],
    )


@given(st.text(max_size=300))
def test_folding_twice_changes_nothing(text: str) -> None:
    if len(fold(text)) < 256:
        assert fold(fold(text)) == fold(text)


def test_long_values_are_compared_by_their_beginning_alike_on_both_sides() -> None:
    long = new_asset({"hostname": "a", "metadata": {"note": "x" * 1000}}, asset_id="1", at=WEB.created_at)
    assert isinstance(long, Asset)
    assert parse(f"metadata.note={'x' * 1000}").matches(long)
    assert not parse(f"metadata.note={'x' * 255}").matches(long)
