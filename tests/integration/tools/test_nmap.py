"""nmap against real listeners on loopback."""

from __future__ import annotations

import asyncio

import pytest

from opsconductor.bootstrap.services import NETWORK
from opsconductor.model.execution import StepStatus
from tests.harness import service
from tests.needs import program

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _nmap() -> None:
    program("nmap")


async def _listen() -> tuple[asyncio.Server, int]:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test FTP server ready\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_scan_tells_open_from_closed_ports() -> None:
    server, port = await _listen()
    other, closed = await _listen()
    other.close()
    async with service(NETWORK) as bench:
        result = await bench.run("nmap", "scan", {"targets": ["localhost"], "ports": f"{port},{closed}"})
    server.close()
    assert result.status is StepStatus.COMPLETED, result.error
    (host,) = result.output["data"]["hosts"]
    assert {entry["port"]: entry["state"] for entry in host["ports"]} == {port: "open", closed: "closed"}
    assert result.output["data"]["summary"]["exit"] == "success"
    assert result.output["stdout"].startswith("<?xml")


async def test_discover_lists_hosts_that_answer() -> None:
    async with service(NETWORK) as bench:
        result = await bench.run("nmap", "discover", {"target": "127.0.0.0/30"})
    assert result.output["data"]["summary"]["hosts_up"] == 4


@pytest.mark.parametrize(
    ("targets", "code"),
    [
        (["10.0.0.0/8"], "network_not_allowed"),
        (["127.0.0.1", "192.0.2.7"], "network_not_allowed"),
        (["0.0.0.0/0"], "network_not_allowed"),
        (["--script=x"], "input_invalid"),
        (["127.0.0.1; id"], "input_invalid"),
        (["no-such-host.invalid"], "peer_unreachable"),
        (["127.0.0.1", "::1"], "input_invalid"),
    ],
)
async def test_nothing_is_scanned_outside_of_what_is_allowed(targets: list[str], code: str) -> None:
    async with service(NETWORK) as bench:
        result = await bench.run("nmap", "scan", {"targets": targets})
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert result.error.code == code
    assert "argv" not in result.output
