"""The terms of an asset: for each field name the folded texts that selectors compare.

This is the one meaning of "field" in selectors: `Selector.matches` reads terms directly, the store keeps them in a
table and compares the same texts in SQL. Letter case is ignored; the first 256 characters count.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from opsconductor.model.asset import Asset

TERM_CHARACTERS = 256
ADDRESS_KEYS = "addresses#"
"""Internal field: addresses as sortable keys, so that a network is a range of texts."""

ALIASES = {
    "env": "environment",
    "tag": "tags",
    "ip": "addresses",
    "address": "addresses",
    "ip_address": "addresses",
    "name": "hostname",
    "host": "hostname",
    "group": "groups",
    "retired": "retired_at",
    "transport": "connection.transport",
    "asset_id": "id",
    "asset_type": "type",
}
_SCALARS = (
    *("id", "hostname", "type", "platform", "os", "status", "environment", "location", "owner", "credential"),
    *("version", "created_at", "updated_at", "retired_at"),
)
_CONNECTION = ("transport", "address", "port", "user", "jump_host")
PLAIN_FIELDS = frozenset(
    {*_SCALARS, *(f"connection.{name}" for name in _CONNECTION), "addresses", "tags", "groups", "text"}
)
NOT_IN_TEXT = ("id", "version", "created_at", "updated_at", "retired_at", ADDRESS_KEYS)
"""Fields that the pseudo-field `text` (any field) leaves out."""

_PREFIXES = {"label.": "labels.", "meta.": "metadata.", "conn.": "connection."}


def fold(text: str) -> str:
    """The form in which texts are compared (Unicode NFC, case folded)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())[:TERM_CHARACTERS]


def field_of(name: str) -> str:
    """The field that a name in a selector means; what is no field of assets is a label."""
    folded = fold(name)
    for short, long in _PREFIXES.items():
        folded = long + folded.removeprefix(short) if folded.startswith(short) else folded
    if folded.startswith(("labels.", "metadata.")):
        return folded
    plain = folded.replace("-", "_")
    plain = ALIASES.get(plain, plain)
    return plain if plain in PLAIN_FIELDS else f"labels.{folded}"


def address_key(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """An address as text that sorts like the address; the first character is the IP version."""
    return f"4{int(address):08x}" if address.version == 4 else f"6{int(address):032x}"


def address_range(text: str) -> tuple[str, str] | None:
    """First and last key of an address or network (host bits may be set), or None when it is neither."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None
    return address_key(network.network_address), address_key(network.broadcast_address)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _leaves(entry, f"{path}.{fold(key)}")
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _leaves(entry, path)
    elif value is not None:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def _pairs(asset: Asset) -> Iterator[tuple[str, Any]]:
    """(field, value or None) for everything in an asset; texts are not folded yet."""
    for name in _SCALARS:
        yield name, getattr(asset, name)
    # `os=windows` shall find what says so in its platform or as the first word of its os ("Windows Server 2022").
    yield "os", asset.platform
    yield "os", asset.os.split()[0] if asset.os else None
    for name in _CONNECTION:
        yield f"connection.{name}", getattr(asset.connection, name)
    for name in ("tags", "groups"):
        for entry in getattr(asset, name):
            yield name, entry
    for key, label in asset.labels.items():
        yield f"labels.{fold(key)}", label
    yield from _leaves(asset.metadata, "metadata")
    for text in (*asset.addresses, asset.connection.address or ""):
        if keys := address_range(text):
            yield "addresses", text
            yield ADDRESS_KEYS, keys[0]


def terms(asset: Asset) -> dict[str, frozenset[str]]:
    """Field → folded texts; a field without a value is absent."""
    found: dict[str, set[str]] = {}
    for field, value in _pairs(asset):
        if value is not None and value != "":
            found.setdefault(field, set()).add(fold(str(value)))
    return {field: frozenset(values) for field, values in found.items()}
