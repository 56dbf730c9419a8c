"""Which networks the network-analyzer may look at: loopback, and those that the site names. Pure.

Deny by default: a probe or scan reveals what listens where, and is felt by who is scanned.
"""

from __future__ import annotations

import ipaddress

import msgspec

from opsconductor.model.errors import OpsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


class ScanPolicy(msgspec.Struct, frozen=True):
    """The networks that may be looked at."""

    networks: tuple[Network, ...] = LOOPBACK

    def judge(self, host: str, port: int, address: str) -> None:
        """Refuse an address that is about to be connected to. Raises OpsError(`network_not_allowed`)."""
        self.check_network(address, shown=f"{host} ({address})" if host != address else host)

    def check_network(self, text: str, *, shown: str | None = None) -> None:
        """Refuse what does not lie inside an allowed network. Raises OpsError(`network_not_allowed`)."""
        wanted = ipaddress.ip_network(text.partition("%")[0], strict=False)
        mapped = getattr(wanted.network_address, "ipv4_mapped", None)
        if mapped is not None and wanted.prefixlen == 128:
            wanted = ipaddress.ip_network(mapped)
        if any(wanted.version == allowed.version and wanted.subnet_of(allowed) for allowed in self.networks):  # type: ignore[arg-type]
            return
        raise OpsError(
            "network_not_allowed",
            f"{shown or text} is outside of the networks that may be looked at "
            f"({', '.join(map(str, self.networks))}); add its network to OPSCONDUCTOR_SCAN_ALLOW",
            target=text,
        )


def parse_scan_policy(allow: str = "") -> ScanPolicy:
    """The policy of the setting scan_allow: CIDRs separated by ','. Raises OpsError(`request_invalid`)."""
    try:
        extra = tuple(ipaddress.ip_network(part.strip(), strict=False) for part in allow.split(",") if part.strip())
    except ValueError as error:
        raise OpsError(
            "request_invalid",
            f"setting OPSCONDUCTOR_SCAN_ALLOW: {error}; expected CIDRs such as 10.0.0.0/24, separated by ','",
            field="scan_allow",
        ) from error
    return ScanPolicy((*LOOPBACK, *extra))
