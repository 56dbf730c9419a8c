"""From the inputs of asset-create and asset-update to the fields of an asset. Pure; called by the handlers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsconductor.model.asset_fields import FIELDS, LIST_FIELDS
from opsconductor.model.errors import OpsError

CONNECTION_INPUTS = {
    "transport": "transport",
    "connection_address": "address",
    "port": "port",
    "user": "user",
    "jump_host": "jump_host",
}
"""Inputs of their own for the keys of `connection`: what people set most is typed and easy to give."""


def fields_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Values of asset fields that were given. Raises OpsError(`asset_invalid`) for a connection key given twice."""
    fields = {name: inputs[name] for name in (*FIELDS, *LIST_FIELDS) if inputs.get(name) is not None}
    connection = dict(fields.get("connection") or {})
    for name, key in CONNECTION_INPUTS.items():
        if (value := inputs.get(name)) is None:
            continue
        if connection.get(key) not in (None, value):
            message = f"{name}: found {value!r}, but connection.{key} is {connection[key]!r}; give one of them"
            raise OpsError("asset_invalid", message, field=name)
        connection[key] = value
    return {**fields, "connection": connection} if connection else fields


def changes_of(inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(id or hostname of the asset, what to change). With `asset_id`, `hostname` is the name it gets.

    Raises OpsError(`asset_invalid`) when neither is given, or a field is both set and cleared.
    """
    fields = fields_of(inputs)
    reference = inputs.get("asset_id") or fields.pop("hostname", None)
    if reference is None:
        raise OpsError("asset_invalid", "the asset to change is missing: give asset_id or hostname", field="asset_id")
    for name in inputs.get("clear") or ():
        if name in fields:
            raise OpsError("asset_invalid", f"{name} is both given a value and cleared; do one of them", field=name)
        fields[name] = None
    return str(reference), fields


def reference_of(inputs: Mapping[str, Any]) -> str:
    """The asset that is meant: `asset_id` (an id or hostname) or `hostname`, not two different ones."""
    named = [value for name in ("asset_id", "hostname") if (value := inputs.get(name))]
    if not named:
        raise OpsError("asset_invalid", "the asset is missing: give asset_id or hostname", field="asset_id")
    if len(named) == 2 and named[0].lower() != named[1].lower():
        message = f"found asset_id {named[0]!r} and hostname {named[1]!r}; name the asset once"
        raise OpsError("asset_invalid", message, field="hostname")
    return str(named[0])
