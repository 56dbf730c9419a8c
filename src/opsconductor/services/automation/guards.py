"""Guards of automation-service: policies that judge an input before a program is started with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from opsconductor.model.errors import OpsError
from opsconductor.services.kit.handlers import Guard
from opsconductor.transports.tcp import resolve

_PORTS = {"http": 80, "https": 443}


class Egress(Protocol):
    """Who judges destinations (`security.egress`)."""

    def check_url(self, url: str) -> None:
        """Refuse a URL for how it is written."""
        ...

    def judge(self, host: str, port: int, address: str) -> None:
        """Refuse an address."""
        ...


def egress_guard(egress: Egress) -> Guard:
    """A guard of URLs. It sets `connect_to`, the address that was judged: the program must connect to that one.

    The name is resolved once, here. Raises OpsError: `destination_not_allowed`, `peer_unreachable` (no address).
    """

    async def guard(url: Any) -> Mapping[str, Any]:
        egress.check_url(url)
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        try:
            addresses = await resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise OpsError("peer_unreachable", f"{host}: the name cannot be resolved; nothing was sent") from error
        refusals = []
        for address in addresses:
            try:
                egress.judge(host, port, address)
            except OpsError as refusal:
                refusals.append(refusal)
            else:
                return {"connect_to": f"[{address}]" if ":" in address else address}
        raise refusals[0]

    return guard
