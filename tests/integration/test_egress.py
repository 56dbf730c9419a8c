"""Outgoing connections: every spelling of a refused destination ends before connect(2), whatever a resolver says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from opsconductor.model.errors import OpsError
from opsconductor.security.egress import parse_policy
from opsconductor.transports.http import OutgoingRequest, Outlet, send
from opsconductor.transports.tcp import connect
from tests.communication import Recorded, answering, configured, http, listening, run_tool

pytestmark = pytest.mark.integration

HOSTILE = [
    "http://127.0.0.1:{port}/",
    "http://127.8.9.10:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2001:0:7f00:1::1]:{port}/",
    "http://[fe80::1]:{port}/",
    "http://[fec0::1]:{port}/",
    "http://[ff02::1]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://１２７.0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://224.0.0.1:{port}/",
    "http://255.255.255.255:{port}/",
    "http://10.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http:127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "file:///etc/passwd",
    "file://127.0.0.1:{port}/etc/passwd",
    "gopher://127.0.0.1:{port}/_x",
    "ftp://127.0.0.1:{port}/",
    "unix:/run/docker.sock",
    "data:text/plain,x",
    "http://h/\r\nX-Injected: 1",
    "http://127.0.0.1:{port}/\x00",
    " http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\tx",
    "http://[::1]:{port}:80/",
    "http://127.0.0.1:99999/",
]


class Doors:
    """Listeners on both loopback families at one port, which nobody should knock at."""

    def __init__(self, port: int) -> None:
        self.port, self.knocks = port, 0


@contextlib.asynccontextmanager
async def doors() -> AsyncIterator[Doors]:
    async def knock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.knocks += 1
        writer.close()

    first = await asyncio.start_server(knock, "127.0.0.1", 0)
    found = Doors(first.sockets[0].getsockname()[1])
    servers = [first]
    if socket.has_ipv6:
        with contextlib.suppress(OSError):  # a container may have no ::1
            servers.append(await asyncio.start_server(knock, "::1", found.port))
    try:
        yield found
    finally:
        for server in servers:
            server.close()


@pytest.mark.parametrize("url", HOSTILE)
@pytest.mark.parametrize("follow", [0, 5])
async def test_hostile_urls_are_refused_without_a_connection(url: str, follow: int) -> None:
    async with doors() as found:
        with pytest.raises(OpsError) as caught:
            await run_tool(
                configured(allow=""),
                "webhook_sender",
                {"url": url.format(port=found.port), "payload": {"a": 1}, "max_redirects": follow},
            )
        assert found.knocks == 0
    assert caught.value.code in ("destination_not_allowed", "input_invalid")
    if url.isprintable():
        assert caught.value.code == "destination_not_allowed"


@pytest.mark.parametrize("url", [entry for entry in HOSTILE if "{port}" in entry and entry.isprintable()])
async def test_a_redirect_leads_to_none_of_them(url: str) -> None:
    async with doors() as found:
        location = url.format(port=found.port)
        moved = answering(http("307 Temporary Redirect", "", f"Location: {location}"))
        async with listening(moved, host="127.0.0.2") as first:
            inputs = {"url": first.url, "payload": {}, "max_redirects": 5}
            with pytest.raises(OpsError):
                await run_tool(configured(allow=f"127.0.0.2:{first.port}"), "webhook_sender", inputs)
            assert first.connections >= 1
        assert found.knocks == 0


class Scripted(AbstractResolver):
    """A resolver whose answers change from look-up to look-up, as an attacker's do."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


@contextlib.asynccontextmanager
async def allowed_peer() -> AsyncIterator[tuple[int, Recorded]]:
    requests: Recorded = []
    async with listening(answering(http("200 OK", "fine"), requests), host="127.0.0.2") as peer:
        yield peer.port, requests


async def test_a_name_is_looked_up_once_and_a_changed_answer_is_judged_anew() -> None:
    resolver = Scripted(["127.0.0.2"], ["127.0.0.1"])
    async with allowed_peer() as (port, requests):
        outlet = Outlet(egress=parse_policy("127.0.0.2"), resolver=resolver)
        request = OutgoingRequest(method="POST", url=f"http://rebind.example:{port}/", body=b"x")
        answer = await send(request, outlet)
        assert (answer.body, resolver.asked) == (b"fine", 1)
        with pytest.raises(OpsError) as caught:
            await send(request, outlet)
        assert caught.value.code == "destination_not_allowed"
        assert caught.value.context["address"] == "127.0.0.1"
        assert (resolver.asked, len(requests)) == (2, 1)


async def test_of_several_addresses_only_allowed_ones_are_connected_to() -> None:
    resolver = Scripted(["127.0.0.1", "::1", "169.254.169.254", "127.0.0.2"])
    async with allowed_peer() as (port, requests):
        outlet = Outlet(egress=parse_policy("127.0.0.2"), resolver=resolver)
        answer = await send(OutgoingRequest(method="GET", url=f"http://mixed.example:{port}/"), outlet)
    assert (answer.status, len(requests)) == (200, 1)


async def test_a_name_without_an_address_is_unreachable() -> None:
    class Nothing(Scripted):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            raise OSError(None, "no such name")

    with pytest.raises(OpsError, match="nothing was sent") as caught:
        outlet = Outlet(egress=parse_policy(), resolver=Nothing())
        await send(OutgoingRequest(method="GET", url="http://nowhere.example/"), outlet)
    assert caught.value.code == "peer_unreachable"


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with doors() as found, allowed_peer() as (port, requests):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{found.port}")
        outlet = Outlet(egress=parse_policy("127.0.0.2"))
        await send(OutgoingRequest(method="GET", url=f"http://127.0.0.2:{port}/"), outlet)
        assert (len(requests), found.knocks) == (1, 0)


async def test_a_tcp_connection_is_judged_by_its_address_too() -> None:
    policy = parse_policy("127.0.0.2")

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with doors() as found, allowed_peer() as (port, _):
        (await connect("127.0.0.2", port, policy.judge, timeout_s=2)).close()
        for host in ("127.0.0.1", "localhost", "0", "127.1", "::1", "::ffff:127.0.0.1"):
            with pytest.raises(OpsError, match="destination_not_allowed"):
                (await connect(host, found.port, policy.judge, timeout_s=2)).close()
        with pytest.raises(OpsError, match="destination_not_allowed"):
            (await connect("public.example", found.port, policy.judge, timeout_s=2, resolve=resolve)).close()
        assert found.knocks == 0
