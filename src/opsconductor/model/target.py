"""Where an operation runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class TargetKind(StrEnum):
    """`local` is the service's own machine; an asset comes from the inventory."""

    LOCAL = "local"
    ASSET = "asset"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved target: never a guess. `connection` has transport, address, port, user for assets."""

    kind: TargetKind
    name: str
    connection: dict[str, Any] = {}


LOCAL = Target(kind=TargetKind.LOCAL, name="local")

TARGET_INPUTS = ("target", "host", "hostname", "targets", "hosts", "target_host", "target_hosts")
"""Step inputs that name the target of an operation that runs on one, unless the tool declares an input of that name."""
