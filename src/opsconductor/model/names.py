"""Canonical names: one tool, however people spell it."""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[\s\-_.]+")


def canonical(name: str) -> str:
    """Fold a tool name to its canonical form: `Get-Service`, `GET SERVICE` → `get_service`.

    Total: any text has a canonical form (possibly one that no tool has).
    """
    return _SEPARATORS.sub("_", name.strip()).casefold()


# CONTRACTS name one alias of a location; it is folded here so that nobody else needs to know it.
_LOCATION_ALIASES = {"network-service": "network-analyzer-service"}


def canonical_location(location: str) -> str:
    """Fold a service location: case, separators and the documented alias."""
    folded = _SEPARATORS.sub("-", location.strip()).casefold()
    return _LOCATION_ALIASES.get(folded, folded)
