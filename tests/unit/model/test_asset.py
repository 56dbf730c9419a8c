"""What an asset may hold, and how changes apply."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.model.asset import Asset, changed_asset, differences, new_asset, to_data
from opsconductor.model.errors import OpsError

AT, LATER = "2026-01-02T03:04:05.000000Z", "2026-01-03T03:04:05.000000Z"


def make(**fields: Any) -> Asset:
    return new_asset({"hostname": "web-1", **fields}, asset_id="id-1", at=AT)


def test_a_new_asset_is_normalised() -> None:
    asset = make(
        hostname=" WEB-1.Example.com. ",
        addresses=["2001:DB8:0:0::7", "10.0.0.7", "10.0.0.7"],
        environment="PROD",
        tags=["Blue", "blue", " web "],
        labels={"rack": 12, "virtual": True},
        connection={"transport": "SSH", "port": "2222", "user": None},
    )
    assert asset.hostname == "web-1.example.com"
    assert asset.addresses == ("2001:db8::7", "10.0.0.7")
    assert asset.environment == "prod"
    assert asset.tags == ("Blue", "web")
    assert asset.labels == {"rack": "12", "virtual": "true"}
    assert (asset.connection.transport, asset.connection.port) == ("ssh", 2222)
    assert (asset.status, asset.version, asset.created_at, asset.retired_at) == ("active", 1, AT, None)
    assert to_data(asset)["ip_address"] == "2001:db8::7"


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("hostname", "-web", "host name"),
        ("hostname", "web 1", "host name"),
        ("hostname", "'; DROP TABLE assets; --", "host name"),
        ("hostname", "a" * 254, "host name"),
        ("hostname", "10.0.0.1", "host name"),
        ("addresses", ["10.0.0.1/24"], "without prefix"),
        ("addresses", ["fe80::1%eth0"], "without zone"),
        ("addresses", "10.0.0.1", "a list"),
        ("type", "two words", "one word"),
        ("owner", "a\nb", "control characters"),
        ("owner", "  ", "one line"),
        ("owner", "\ud800", "control characters"),
        ("tags", ["x" * 101], "1 to 100"),
        ("tags", [f"t{n}" for n in range(201)], "at most 200"),
        ("labels", {"a b": "c"}, "label keys"),
        ("labels", {"role": ["a"]}, "one line"),
        ("labels", {"Role": "a", "role": "b"}, "letter case"),
        ("metadata", {"a": "\0"}, "NUL"),
        ("metadata", {"a": float("nan")}, "finite"),
        ("metadata", {"a": 2**64}, "63 bits"),
        ("metadata", {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}}, "levels deep"),
        ("metadata", {"x" * 300: 1}, "bytes"),
        ("metadata", {"a": "x" * 40_000}, "bytes of JSON"),
        ("metadata", {"a": {1, 2}}, "plain JSON"),
        ("connection", {"password": "x"}, "never goes here"),
        ("connection", {"port": 70_000}, "1 to 65535"),
        ("connection", {"transport": "telnet"}, "local, ssh, psrp, http"),
        ("connection", {"address": "a b"}, "host name or an IP"),
        ("colour", "red", "no field 'colour'"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_would(field: str, value: Any, expected: str) -> None:
    with pytest.raises(OpsError) as caught:
        make(**{field: value})
    assert caught.value.code == "asset_invalid"
    assert expected in caught.value.message
    assert caught.value.problems[0].field == field


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(OpsError) as caught:
        make(hostname="-", owner="", port=1)
    assert [problem.field for problem in caught.value.problems] == ["hostname", "owner", "port"]


def test_a_misplaced_secret_is_not_repeated() -> None:
    with pytest.raises(OpsError) as caught:
        make(credential="hunter2 is my password")
    assert "hunter2" not in str(caught.value.to_info())


def test_an_asset_needs_a_hostname() -> None:
    with pytest.raises(OpsError, match="needs a hostname"):
        new_asset({"owner": "me"}, asset_id="1", at=AT)


def test_only_what_is_given_changes() -> None:
    asset = make(owner="me", labels={"a": "1", "b": "2"}, metadata={"x": {"y": 1, "z": 2}}, tags=["one", "two"])
    changed = changed_asset(
        asset,
        {"owner": None, "labels": {"b": None, "c": "3"}, "metadata": {"x": {"y": None}}, "remove_tags": ["ONE"]},
        at=LATER,
    )
    assert (changed.owner, changed.labels, changed.metadata) == (None, {"a": "1", "c": "3"}, {"x": {"z": 2}})
    assert (changed.tags, changed.hostname, changed.version) == (("two",), "web-1", 2)
    assert (changed.created_at, changed.updated_at) == (AT, LATER)
    assert set(differences(asset, changed)) == {"owner", "labels", "metadata", "tags"}


def test_a_change_that_is_there_already_is_none() -> None:
    asset = make(tags=["blue"], owner="me")
    assert changed_asset(asset, {"owner": "me", "add_tags": ["BLUE"], "labels": {"x": None}}, at=LATER) is asset


def test_lists_are_replaced_or_added_to() -> None:
    asset = make(tags=["one"], groups=["a"])
    assert changed_asset(asset, {"tags": ["two"], "add_tags": ["three"]}, at=LATER).tags == ("two", "three")
    assert changed_asset(asset, {"tags": None, "add_groups": ["b"]}, at=LATER).groups == ("a", "b")
    assert changed_asset(asset, {"tags": None}, at=LATER).tags == ()


def test_a_hostname_cannot_be_cleared_and_a_bad_change_is_refused() -> None:
    with pytest.raises(OpsError, match="cannot be cleared"):
        changed_asset(make(), {"hostname": None}, at=LATER)
    with pytest.raises(OpsError, match="asset_invalid"):
        changed_asset(make(), {"labels": "role=web"}, at=LATER)
    with pytest.raises(OpsError, match="asset_invalid"):
        changed_asset(make(), {"id": "other"}, at=LATER)
