"""tcpdump on loopback: captures what we send, within its bounds, and keeps the pcap."""

from __future__ import annotations

import asyncio
import socket

import pytest

from opsconductor.bootstrap.services import NETWORK
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from tests.harness import Bench, service
from tests.needs import program, root

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _tcpdump() -> None:
    program("tcpdump")
    root()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _while_sending(bench: Bench, port: int, inputs: dict[str, object]) -> StepResult:
    capture = asyncio.ensure_future(bench.run("tcpdump", "capture", {"interface": "lo", **inputs}))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        while not capture.done():
            sender.sendto(b"opsconductor", ("127.0.0.1", port))
            await asyncio.wait({capture}, timeout=0.05)
    return await capture


async def test_capture_ends_after_the_packets_and_keeps_a_pcap() -> None:
    port = _free_port()
    async with service(NETWORK) as bench:
        result = await _while_sending(bench, port, {"filter": f"udp port {port}", "packets": 5, "duration_s": 20})
        assert result.status is StepStatus.COMPLETED, result.error
        (artifact,) = result.output["artifacts"]
        kept = bench.service.artifacts.find(bench.last_execution_id, artifact["id"]).read_bytes()
    data = result.output["data"]
    assert (data["ended_by"], data["captured"]) == ("packets", 5)
    assert len(data["packets"]) == 5
    assert all(f"127.0.0.1.{port}" in line for line in data["packets"])
    assert kept[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4")
    assert len(kept) == artifact["size"] == data["pcap_bytes"]
    assert kept.count(b"opsconductor") == 5


async def test_capture_without_traffic_ends_by_its_duration() -> None:
    async with service(NETWORK) as bench:
        inputs = {"interface": "lo", "filter": f"udp port {_free_port()}", "duration_s": 0.5}
        result = await bench.run("tcpdump", "capture", inputs)
    assert result.status is StepStatus.COMPLETED, result.error
    data = result.output["data"]
    assert (data["ended_by"], data["packets"], data["pcap_bytes"]) == ("duration", [], 24)


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"interface": "lo", "filter": "tcp port nowhere-to-be-found"}, "input_invalid"),
        ({"interface": "lo", "filter": "-w/tmp/x"}, "input_invalid"),
        ({"interface": "eth0; touch /tmp/x #"}, "input_invalid"),
        ({"interface": "-z/tmp/x.sh"}, "input_invalid"),
        ({"interface": "nosuch0"}, "command_failed"),
        ({"interface": "lo", "packets": 0}, "input_invalid"),
    ],
)
async def test_bad_inputs_start_no_capture(inputs: dict[str, object], code: str) -> None:
    async with service(NETWORK) as bench:
        result = await bench.run("tcpdump", "capture", inputs)
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert result.error.code == code
