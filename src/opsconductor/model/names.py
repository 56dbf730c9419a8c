"""Canonical names: one tool, however people spell it."""

from __future__ import annotations

import re
from functools import lru_cache

_SEPARATORS = re.compile(r"[\s\-_.]+")


def canonical(name: str) -> str:
    """Fold a tool name to its canonical form: `Get-Service`, `GET SERVICE` → `get_service`.

    Total: any text has a canonical form (possibly one that no tool has).
    """
    return _folded(name) if len(name) <= _LONGEST_REMEMBERED else _fold(name)


def _fold(name: str) -> str:
    return _SEPARATORS.sub("_", name.strip()).casefold()


_LONGEST_REMEMBERED = 100
_folded = lru_cache(4096)(_fold)
"""A step asks for the same few names ten times; what strangers send cannot fill the memory."""


# CONTRACTS name one alias of a location; it is folded here so that nobody else needs to know it.
_LOCATION_ALIASES = {"network-service": "network-analyzer-service"}


def canonical_location(location: str) -> str:
    """Fold a service location: case, separators and the documented alias."""
    folded = _SEPARATORS.sub("-", location.strip()).casefold()
    return _LOCATION_ALIASES.get(folded, folded)
