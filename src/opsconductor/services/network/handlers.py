"""The network-analyzer's handlers by the names that definitions use."""

from __future__ import annotations

from collections.abc import Mapping

from opsconductor.engine.ports import NewId
from opsconductor.security.scan import ScanPolicy
from opsconductor.services.kit.handlers import HandlerRegistry
from opsconductor.services.network.nmap import Nmap
from opsconductor.services.network.probes import Probes
from opsconductor.services.network.programs import Programs
from opsconductor.services.network.tcpdump import Tcpdump
from opsconductor.transports.base import Transport


def handlers(
    policy: ScanPolicy, transport: Transport, environment: Mapping[str, str], new_id: NewId
) -> HandlerRegistry:
    """Handler name → handler."""
    programs = Programs(transport, environment)
    probes, nmap, tcpdump = Probes(policy), Nmap(policy, programs), Tcpdump(programs, new_id)
    return {
        "tcp.connect": probes.tcp_connect,
        "http.probe": probes.http_probe,
        "tls.handshake": probes.tls_handshake,
        "nmap.scan": nmap.scan,
        "nmap.discover": nmap.discover,
        "tcpdump.capture": tcpdump.capture,
    }
