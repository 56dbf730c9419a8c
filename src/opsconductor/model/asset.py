"""An asset: one inventory record, and how a new or changed one comes about. Frozen data, pure functions.

`asset_fields` says what each field may hold, `asset_terms` what selectors compare. Stored by `store.asset_store`,
offered by `services.asset`. A credential is only ever the name of one: secrets do not belong in the inventory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from opsconductor.model.asset_fields import FIELDS, LIST_FIELDS, MERGED_FIELDS, NAMES, FieldInvalid, merged, without
from opsconductor.model.errors import OpsError, Problem, from_problems


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the asset. `address` is a name or IP address; without one the asset's own are used."""

    transport: str | None = None
    address: str | None = None
    port: int | None = None
    user: str | None = None
    jump_host: str | None = None


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One machine, device or endpoint. `hostname` is unique per tenant among those that are not retired.

    Times are RFC 3339 UTC. `version` starts at 1 and grows by one with each change.
    `retired_at` is set while the asset is deleted; it can be restored.
    """

    id: str
    hostname: str
    addresses: tuple[str, ...] = ()
    type: str | None = None
    platform: str | None = None
    os: str | None = None
    status: str = "active"
    environment: str | None = None
    location: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    connection: Connection = Connection()
    credential: str | None = None
    created_at: str
    updated_at: str
    version: int = 1
    retired_at: str | None = None

    @property
    def primary_address(self) -> str | None:
        """The first address, or that of the connection."""
        return self.addresses[0] if self.addresses else self.connection.address


_BLANK = Asset(id="", hostname="", created_at="", updated_at="")


def _plain(asset: Asset) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(asset))
    return data


def to_data(asset: Asset) -> dict[str, Any]:
    """The asset as plain JSON, every field present; `ip_address` is derived for callers that want just one."""
    return {**_plain(asset), "ip_address": asset.primary_address}


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every value in its stored form. Raises OpsError(`asset_invalid`) with all problems."""
    result, problems = dict[str, Any](), list[Problem]()
    for name, value in values.items():
        check = FIELDS.get(name)
        if check is None:
            message = f"an asset has no field {name!r}; it has {', '.join(FIELDS)}"
            problems.append(Problem(code="asset_invalid", field=name, message=message))
            continue
        try:
            result[name] = check(value)
        except FieldInvalid as invalid:
            message = f"found {invalid.found}, expected {invalid.expected}"
            problems.append(Problem(code="asset_invalid", field=name, message=message, expected=invalid.expected))
    if problems:
        raise from_problems("asset_invalid", problems)
    if "connection" in result:
        result["connection"] = Connection(**result["connection"])
    return result


def new_asset(fields: Mapping[str, Any], *, asset_id: str, at: str) -> Asset:
    """A first version from what a person gave; None counts as absent. Raises OpsError(`asset_invalid`), all at once."""
    given = {name: value for name, value in fields.items() if value is not None}
    if "hostname" not in given:
        raise OpsError("asset_invalid", "an asset needs a hostname, its unique name", field="hostname")
    return Asset(id=asset_id, created_at=at, updated_at=at, **_checked(given))


def changed_asset(asset: Asset, changes: Mapping[str, Any], *, at: str) -> Asset:
    """The next version, or `asset` itself when nothing would differ.

    A field is replaced; None clears it; in `labels`, `metadata` and `connection` only the keys named change, and None
    removes one (RFC 7396). `add_tags`, `remove_tags`, `add_groups`, `remove_groups` leave the others alone.
    Raises OpsError(`asset_invalid`), all problems at once.
    """
    wanted: dict[str, Any] = {}
    for name, value in changes.items():
        if name in MERGED_FIELDS and isinstance(value, Mapping):
            wanted[name] = merged(msgspec.to_builtins(getattr(asset, name)), value)
        elif name not in LIST_FIELDS:
            wanted[name] = value
    for name, field in LIST_FIELDS.items():
        if changes.get(name) is not None:
            entries = NAMES(changes[name]) if isinstance(changes[name], list | tuple) else (changes[name],)
            current = wanted.get(field) or (getattr(asset, field) if field not in wanted else ())
            wanted[field] = without(current, entries) if name.startswith("remove_") else (*current, *entries)
    cleared = {name: value for name, value in wanted.items() if value is None and name in FIELDS}
    if "hostname" in cleared:
        raise OpsError("asset_invalid", "the hostname cannot be cleared; give another one", field="hostname")
    checked = _checked({name: value for name, value in wanted.items() if name not in cleared})
    candidate = msgspec.structs.replace(asset, **checked, **{name: getattr(_BLANK, name) for name in cleared})
    if candidate == asset:
        return asset
    return msgspec.structs.replace(candidate, version=asset.version + 1, updated_at=at)


def retired_asset(asset: Asset, *, at: str | None, now: str) -> Asset:
    """The next version, retired at `at`; with None it is in service again."""
    return msgspec.structs.replace(asset, retired_at=at, version=asset.version + 1, updated_at=now)


def differences(before: Asset | None, after: Asset) -> dict[str, list[Any]]:
    """Field → [old, new] as plain JSON, without id, version and times of change. Of a new asset, what it has."""
    old, new = _plain(before or msgspec.structs.replace(_BLANK, status="")), _plain(after)
    kept = [name for name in new if name not in ("id", "version", "created_at", "updated_at")]
    return {name: [old[name], new[name]] for name in kept if old[name] != new[name]}
