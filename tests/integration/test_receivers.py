"""Local receivers: a plan's deliveries arrive in them, and the egress policy is open for exactly their life."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from opsconductor.interfaces.receivers.local import LocalReceivers
from opsconductor.model.errors import OpsError
from opsconductor.model.plan import Receiver
from opsconductor.services.communication.config import CommunicationConfig
from tests.communication import gate, run_tool

pytestmark = pytest.mark.integration
BOTH = {"hook": Receiver(kind="webhook"), "box": Receiver(kind="mail")}


def mail_inputs(place: dict[str, Any]) -> dict[str, Any]:
    server = {"smtp_host": place["host"], "smtp_port": place["port"], "tls": "none"}
    return {"to": ["ops@example.com"], "from": "me@example.com", "subject": "Grüße", "body": "hi", **server}


async def test_deliveries_arrive_and_are_told_at_the_end() -> None:
    found = gate(allow="")
    receivers = LocalReceivers(found.open, found.close)
    config = CommunicationConfig(egress=found)
    places = await receivers.start(BOTH)
    assert places["hook"]["url"] == f"http://127.0.0.1:{places['hook']['port']}/"
    webhook = {"url": places["hook"]["url"] + "x?y=1", "payload": {"a": 1}, "bearer_token": "bearer-t0ken"}
    await run_tool(config, "webhook_sender", webhook)
    await run_tool(config, "slack_cli", {"webhook_url": places["hook"]["url"], "message": "hi"})
    await run_tool(config, "sendmail", mail_inputs(places["box"]))
    summary = await receivers.stop()
    assert list(summary) == ["hook", "box"]
    first, second = summary["hook"]["received"]
    assert (first["method"], first["path"], first["body"], first["body_bytes"]) == ("POST", "/x?y=1", '{"a":1}', 7)
    assert first["headers"]["authorization"] == "***"
    assert second["body"] == '{"text":"hi"}'
    (mail,) = summary["box"]["received"]
    assert (mail["sender"], mail["recipients"], mail["subject"]) == ("me@example.com", ["ops@example.com"], "Grüße")
    assert mail["body"].strip() == "hi"
    assert mail["message_id"] == "<0192-dispatch@example.com>"


async def test_only_their_own_ports_are_open_and_only_while_they_run() -> None:
    found = gate(allow="")
    receivers = LocalReceivers(found.open, found.close)
    places = await receivers.start(BOTH)
    port = places["hook"]["port"]
    found.judge("127.0.0.1", port, "127.0.0.1")
    other = max(place["port"] for place in places.values()) + 1
    for address, where in (("127.0.0.1", other), ("127.0.0.2", port), ("::1", port)):
        with pytest.raises(OpsError, match="destination_not_allowed"):
            found.judge(address, where, address)
    await receivers.stop()
    with pytest.raises(OpsError, match="destination_not_allowed"):
        found.judge("127.0.0.1", port, "127.0.0.1")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert await receivers.stop() == {}


async def test_when_one_cannot_start_none_stays_open() -> None:
    opened: list[str] = []

    def refuse_second(address: str) -> None:
        if opened:
            raise OpsError("request_invalid", "no more")
        opened.append(address)

    receivers = LocalReceivers(refuse_second, opened.remove)
    with pytest.raises(OpsError, match="no more"):
        await receivers.start(BOTH)
    assert opened == []


async def test_stopping_does_not_wait_for_a_sender_that_hangs() -> None:
    receivers = LocalReceivers(lambda _: None, lambda _: None)
    places = await receivers.start(BOTH)
    hanging = []
    for place in places.values():
        reader, writer = await asyncio.open_connection("127.0.0.1", place["port"])
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n" if place["kind"] == "webhook" else b"EHLO x\r\n")
        await writer.drain()
        hanging.append((reader, writer))
    await hanging[1][0].readline()
    async with asyncio.timeout(5):
        await receivers.stop()
    for _, writer in hanging:
        writer.close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"garbage\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /x HTTP/1.1\r\n\r\n", b"200"),
    ],
)
async def test_the_webhook_receiver_answers_every_request(request_bytes: bytes, status: bytes) -> None:
    receivers = LocalReceivers(lambda _: None, lambda _: None)
    places = await receivers.start({"hook": Receiver(kind="webhook")})
    reader, writer = await asyncio.open_connection("127.0.0.1", places["hook"]["port"])
    writer.write(request_bytes)
    assert (await reader.readline()).split(b" ")[1] == status
    writer.close()
    summary = await receivers.stop()
    assert len(summary["hook"]["received"]) == (1 if status == b"200" else 0)
