"""From the inputs of asset-query and asset-list to a selector. Pure; called by `services.asset.handlers`.

Filters and selectors are one thing: each input becomes a clause, all must hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from opsconductor.model.errors import OpsError
from opsconductor.model.selector import Clause, Operator, Selector, clause, parse

_ANY_OF = ("type", "platform", "os", "status", "environment", "location", "owner", "groups")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def reference_clause(reference: str) -> Clause:
    """An asset by its id or its whole hostname."""
    folded = reference.strip().lower()
    return clause("id" if _UUID.fullmatch(folded) else "hostname", Operator.IS, folded)


def _objects(inputs: Mapping[str, Any]) -> Iterator[Clause]:
    """Clauses of the `labels` and `metadata` inputs; a null value asks only that the key is there."""
    for name in ("labels", "metadata"):
        for key, value in (inputs.get(name) or {}).items():
            if isinstance(value, Mapping | list | tuple):
                message = f"{name}.{key}: found {type(value).__name__}, expected one value; name deeper ones a.b.c"
                raise OpsError("asset_invalid", message, field=f"{name}.{key}")
            text = str(value).lower() if isinstance(value, bool) else str(value)
            field = f"{name}.{key}"
            yield clause(field, Operator.HAS) if value is None else clause(field, Operator.IS, text)


def _clauses(inputs: Mapping[str, Any]) -> Iterator[Clause]:
    if reference := inputs.get("asset_id"):
        yield reference_clause(reference)
    if hostname := inputs.get("hostname"):
        yield clause("hostname", Operator.LIKE, hostname)
    if networks := inputs.get("ip"):
        yield clause("addresses", Operator.IN, *networks)
    for name in _ANY_OF:
        if values := inputs.get(name):
            yield clause(name, Operator.IN, *values)
    for tag in inputs.get("tags") or ():
        yield clause("tags", Operator.IS, tag)
    yield from _objects(inputs)
    if text := inputs.get("text"):
        yield clause("text", Operator.LIKE, text)
    if selector := inputs.get("selector"):
        yield from parse(selector).clauses


def selector_of(inputs: Mapping[str, Any]) -> Selector | None:
    """What the inputs select, None for everything. Raises OpsError(`selector_invalid`, `asset_invalid`)."""
    clauses = tuple(_clauses(inputs))
    return Selector(clauses) if clauses else None
