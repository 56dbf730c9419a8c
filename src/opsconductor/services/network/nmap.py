"""Handlers `nmap.scan` and `nmap.discover`: nmap on networks that the scan policy allows.

Names are resolved here, once; nmap gets the addresses that were judged. It connects as a normal client would (`-sT`),
so it needs no privilege. Scripts, output files and raw options are out of reach of every input.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from opsconductor.model.errors import OpsError
from opsconductor.security.scan import ScanPolicy
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from opsconductor.services.network.nmap_xml import parse_nmap
from opsconductor.services.network.programs import Programs, command_output, require_success
from opsconductor.transports.tcp import resolve


class Nmap:
    """The handlers, bound to a policy and to the way programs are started."""

    def __init__(self, policy: ScanPolicy, programs: Programs) -> None:
        self._policy = policy
        self._programs = programs

    async def scan(self, ctx: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
        """Ports of the targets: state, service name and, where asked for, its version."""
        ports = [f"-p{inputs['ports']}"] if inputs.get("ports") else ["--top-ports", str(inputs["top_ports"])]
        versions = ["-sV", "--version-light"] if inputs["service_versions"] else []
        options = ["-sT", "-Pn", *ports, *versions, "--host-timeout", f"{inputs['host_timeout_s']}s"]
        return await self._run(ctx, inputs, options)

    async def discover(self, ctx: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
        """Which hosts answer at all."""
        return await self._run(ctx, inputs, ["-sn"])

    async def _run(self, ctx: StepContext, inputs: Mapping[str, Any], options: list[str]) -> HandlerResult:
        targets = await self._judged(inputs["targets"])
        ipv6 = ["-6"] if all(":" in target for target in targets) else []
        if not ipv6 and any(":" in target for target in targets):
            message = "targets: found IPv4 and IPv6 addresses; nmap scans one family at a time, use two steps"
            raise OpsError("input_invalid", message, field="inputs.targets")
        rate = ["--max-rate", str(inputs["max_rate"])]
        argv = ["nmap", *ipv6, "-n", "-oX", "-", "--noninteractive", *options, *rate, "--", *targets]
        result = await self._programs.run(ctx, argv, timeout_s=ctx.timeout_s)
        require_success(argv, result)
        if result.stdout.truncated:
            raise OpsError("peer_answer_invalid", "nmap's report is too long; scan fewer hosts or ports at once")
        data = parse_nmap(result.stdout.text())
        return HandlerResult(data=data, output=command_output(argv, result, target="local"))

    async def _judged(self, targets: list[str]) -> list[str]:
        """Addresses and networks, each judged. Raises OpsError(`network_not_allowed`, `peer_unreachable`)."""
        judged: dict[str, None] = {}
        for target in targets:
            for text in await _addresses(target):
                self._policy.check_network(text, shown=target if target == text else f"{target} ({text})")
                judged[text] = None
        return list(judged)


async def _addresses(target: str) -> list[str]:
    try:
        return [str(ipaddress.ip_network(target, strict=False)) if "/" in target else str(ipaddress.ip_address(target))]
    except ValueError:
        pass
    try:
        return (await resolve(target, 0))[:1]
    except OSError as error:
        raise OpsError("peer_unreachable", f"{target}: the name cannot be resolved; nothing was scanned") from error
