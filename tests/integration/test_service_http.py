"""A real service behind a real server on loopback: the suite of every service client, and what only sockets show."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from opsconductor.engine.ports import ServiceClient
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.outcome import PlanRequest, StepRequest
from opsconductor.security.tokens import ServiceToken
from opsconductor.services.kit.app import create_app
from opsconductor.services.kit.http_client import HttpServiceClient
from opsconductor.services.kit.http_limits import HttpLimits
from opsconductor.services.kit.listening import allowed_hosts
from opsconductor.services.kit.running_work import RunningWork
from opsconductor.services.kit.server import Server
from tests.asgi import TOKEN
from tests.conformance.service_client import ServiceClientConformance, World
from tests.http_peer import serving
from tests.memory_service import MemoryService

PATIENCE_S = 10.0
REQUEST = PlanRequest(execution_id="e-1", steps=(StepRequest(tool="wait", id="w"),))
ECHO_BODY = b'{"execution_id":"%s","plan":{"steps":[{"tool":"echo"}]}}'


class TestServiceOverHttp(ServiceClientConformance):
    @pytest.fixture
    async def client(self, world: World) -> AsyncIterator[ServiceClient]:
        app = create_app(world.service, name=world.service.name, authenticator=ServiceToken(TOKEN), version="1")
        async with serving(app) as server:
            client = HttpServiceClient(server.url, TOKEN)
            yield client
            await client.close()


class TestServiceOverAUnixSocket(ServiceClientConformance):
    @pytest.fixture
    async def client(self, world: World, tmp_path: Path) -> AsyncIterator[ServiceClient]:
        app = create_app(world.service, name=world.service.name, authenticator=ServiceToken(TOKEN), version="1")
        path = tmp_path / "run" / "s.sock"
        async with serving(app, unix_socket=path):
            client = HttpServiceClient(f"unix:{path}", TOKEN)
            yield client
            await client.close()


class Site:
    """A server around a service in memory."""

    def __init__(self, server: Server, service: MemoryService, work: RunningWork) -> None:
        self.server, self.service, self.work = server, service, work
        self.port = int(server.url.rpartition(":")[2])

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def head(self, *lines: str, path: str = "/execute-plan") -> bytes:
        fixed = [f"POST {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}"]
        return "\r\n".join([*fixed, "Content-Type: application/json", *lines, "", ""]).encode()

    def whole(self, execution_id: bytes, *lines: str) -> bytes:
        body = ECHO_BODY % execution_id
        return self.head(f"Content-Length: {len(body)}", *lines) + body


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    service, work = MemoryService(), RunningWork()
    limits = HttpLimits(document=DocumentLimits(max_bytes=100_000), stream_buffer_bytes=50_000)
    app = create_app(
        service,
        name="automation-service",
        authenticator=ServiceToken(TOKEN),
        version="1",
        work=work,
        limits=limits,
        allowed_hosts=allowed_hosts("127.0.0.1", ["automation-service"]),
    )
    async with serving(app, work=work) as server:
        yield Site(server, service, work)
        service.release.set()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer with a Content-Length."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    return int(head.split()[1]), await reader.readexactly(int(fields[b"content-length"]))


async def test_requests_that_are_sent_at_once_on_one_connection_are_answered_in_order(site: Site) -> None:
    reader, writer = await site.connect()
    writer.write(b"".join(site.whole(b"e-%d" % number) for number in range(20)))
    for number in range(20):
        status, body = await read_answer(reader)
        assert (status, json.loads(body)["execution_id"]) == (200, f"e-{number}")
    writer.close()


async def test_a_connection_goes_on_after_a_refused_request(site: Site) -> None:
    reader, writer = await site.connect()
    writer.write(site.head("Content-Length: 3") + b"{x}")
    assert (await read_answer(reader))[0] == 400
    writer.write(site.whole(b"e-1"))
    assert (await read_answer(reader))[0] == 200
    writer.close()


async def test_a_declared_body_over_the_limit_is_refused_before_it_is_sent(site: Site) -> None:
    reader, writer = await site.connect()
    writer.write(site.head("Content-Length: 1000000000", "Expect: 100-continue"))
    status, body = await read_answer(reader)
    assert (status, json.loads(body)["code"]) == (413, "request_too_large")
    writer.close()


async def test_a_chunked_body_over_the_limit_is_refused_while_it_is_sent(site: Site) -> None:
    reader, writer = await site.connect()
    writer.write(site.head("Transfer-Encoding: chunked"))
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    writer.write(chunk * 2)
    status, body = await read_answer(reader)
    assert (status, json.loads(body)["code"]) == (413, "request_too_large")
    writer.close()


async def test_our_client_hears_of_a_body_over_the_limit(site: Site) -> None:
    client = HttpServiceClient(site.server.url, TOKEN)
    step = StepRequest(tool="echo", inputs={"text": "x" * 5_000_000})
    with pytest.raises(OpsError) as caught:
        await client.execute_plan(msgspec.structs.replace(REQUEST, steps=(step,)))
    await client.close()
    assert caught.value.code == "request_too_large"


async def test_bytes_that_are_not_http_end_that_connection_alone(site: Site) -> None:
    reader, writer = await site.connect()
    writer.write(b"\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), PATIENCE_S)).startswith(b"HTTP/1.1 400")
    writer.close()
    reader, writer = await site.connect()
    writer.write(site.whole(b"e-1"))
    assert (await read_answer(reader))[0] == 200
    writer.close()


async def test_a_name_that_is_not_this_servers_is_refused(site: Site) -> None:
    for host, status in (("evil.example", 421), ("automation-service:3003", 200)):
        reader, writer = await site.connect()
        writer.write(site.whole(b"e-1").replace(b"localhost", host.encode()))
        assert (await read_answer(reader))[0] == status
        writer.close()


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_a_client_that_leaves_does_not_end_the_work_and_finds_its_result_later(site: Site, accept: str) -> None:
    body = b'{"execution_id":"e-1","plan":{"steps":[{"tool":"wait"}]}}'
    reader, writer = await site.connect()
    writer.write(site.head(f"Content-Length: {len(body)}", f"Accept: {accept}") + body)
    await asyncio.wait_for(site.service.waiting.wait(), PATIENCE_S)
    writer.transport.abort()
    del reader
    await asyncio.sleep(0.05)  # the server sees the reset; what must not happen has time to happen
    assert site.work.count == 1
    site.service.release.set()
    client = HttpServiceClient(site.server.url, TOKEN)
    async with asyncio.timeout(PATIENCE_S):
        while site.work.count:
            await asyncio.sleep(0.005)
    response = await client.execute_plan(REQUEST)
    await client.close()
    assert response.status is ExecutionStatus.COMPLETED
    assert len(site.service.requests) == 1


async def test_a_reader_that_does_not_read_costs_output_but_neither_memory_nor_results(site: Site) -> None:
    step = {"tool": "chatter", "inputs": {"lines": 3000, "width": 10_000}}
    body = json.dumps({"execution_id": "e-1", "plan": {"steps": [step, step]}}).encode()
    reader, writer = await site.connect()
    writer.write(site.head(f"Content-Length: {len(body)}", "Accept: application/x-ndjson", "Connection: close") + body)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while site.work.count:  # 60 MB were said; nobody has read them
            await asyncio.sleep(0.01)
    events = [json.loads(line) for line in _unchunked(await reader.read())]
    writer.close()
    output = [event for event in events if event["event"] == "step.output"]
    notices = [event["text"] for event in output if event["stream"] == "notice"]
    names = [event["event"] for event in events if event["event"] != "step.output"]
    assert names == ["step.started", "step.finished", "step.started", "step.finished", "plan.finished"]
    assert notices
    assert all("left out" in text for text in notices)
    left_out = sum(int(text.split()[1]) for text in notices)
    assert len(output) - len(notices) + left_out == 6000, "every event was sent or counted"
    assert len(output) < 5000


def _unchunked(raw: bytes) -> list[bytes]:
    """The lines of a body in chunked coding (RFC 9112 §7.1)."""
    body = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        body += raw[: int(size, 16)]
        raw = raw[int(size, 16) + 2 :]
    return body.splitlines()


async def test_draining_lets_work_end_answers_it_and_refuses_new_work() -> None:
    service, work = MemoryService(), RunningWork()
    app = create_app(service, name="x", authenticator=ServiceToken(TOKEN), version="1", work=work)
    async with serving(app, work=work) as server:
        client, other = HttpServiceClient(server.url, TOKEN), HttpServiceClient(server.url, TOKEN)
        running = asyncio.ensure_future(client.execute_plan(REQUEST))
        await service.waiting.wait()
        server.stop()
        async with asyncio.timeout(PATIENCE_S):
            while not work.draining:
                await asyncio.sleep(0.005)
        assert await other.ready() == {"ready": False, "missing": ["the server is draining and takes no new work"]}
        with pytest.raises(OpsError) as caught:
            await other.execute_plan(msgspec.structs.replace(REQUEST, execution_id="e-2"))
        assert caught.value.code == "service_not_ready"
        service.release.set()
        assert (await running).status is ExecutionStatus.COMPLETED
        await client.close()
        await other.close()


async def test_a_second_stop_does_not_wait_for_running_work() -> None:
    service, work = MemoryService(), RunningWork()
    app = create_app(service, name="x", authenticator=ServiceToken(TOKEN), version="1", work=work)
    async with serving(app, work=work, drain_s=3600) as server:
        client = HttpServiceClient(server.url, TOKEN)
        running = asyncio.ensure_future(client.execute_plan(REQUEST))
        await service.waiting.wait()
        server.stop()
        server.stop()
        with pytest.raises(OpsError) as caught:
            await asyncio.wait_for(running, PATIENCE_S)
        assert caught.value.code == "outcome_unknown"
        await client.close()


async def test_a_port_that_is_taken_is_one_clear_error(site: Site) -> None:
    app = create_app(site.service, name="x", authenticator=ServiceToken(TOKEN), version="1")
    with pytest.raises(OpsError, match="another program listens there") as caught:
        Server(app, host="127.0.0.1", port=site.port, work=RunningWork(), drain_s=1)
    assert caught.value.code == "address_unavailable"
    assert caught.value.kind.exit_code == 2


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("no.such.name.invalid", 0), ("127.0.0.1", 65536)])
async def test_an_address_that_cannot_be_had_is_one_clear_error(host: str, port: int) -> None:
    app = create_app(MemoryService(), name="x", authenticator=ServiceToken(TOKEN), version="1")
    with pytest.raises(OpsError) as caught:
        Server(app, host=host, port=port, work=RunningWork(), drain_s=1)
    assert caught.value.code == "address_unavailable"


async def test_the_unix_socket_is_this_users_alone_and_gone_afterwards(tmp_path: Path) -> None:
    app = create_app(MemoryService(), name="x", authenticator=ServiceToken(TOKEN), version="1")
    path = tmp_path / "run" / "s.sock"
    async with serving(app, unix_socket=path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with pytest.raises(OpsError) as caught:
            Server(app, host="127.0.0.1", port=0, work=RunningWork(), drain_s=1, unix_socket=path)
        assert caught.value.code == "address_unavailable", "a living server is not pushed aside"
    assert not path.exists()


async def test_a_socket_that_a_killed_server_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    (await asyncio.start_unix_server(lambda _r, _w: None, path)).close()
    if not path.exists():  # Python 3.13 removes it on close
        import socket

        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(path))
    app = create_app(MemoryService(), name="x", authenticator=ServiceToken(TOKEN), version="1")
    async with serving(app, unix_socket=path):
        client = HttpServiceClient(f"unix:{path}", TOKEN)
        assert (await client.ready())["ready"] is True
        await client.close()


async def test_headers_of_an_answer_name_neither_server_nor_origins(site: Site) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{site.server.url}/health", headers={"Origin": "http://evil.example"}) as answer,
    ):
        assert "Server" not in answer.headers
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["Cache-Control"] == "no-store"


_PROGRAM = """
import asyncio, sys
from opsconductor.security.tokens import ServiceToken
from opsconductor.services.kit.app import create_app
from opsconductor.services.kit.running_work import RunningWork
from opsconductor.services.kit.server import Server
from tests.memory_service import MemoryService

async def main():
    work = RunningWork()
    app = create_app(MemoryService(), name="x", authenticator=ServiceToken("t"), version="1", work=work)
    server = Server(app, host="127.0.0.1", port=0, work=work, drain_s=float(sys.argv[1]))
    await server.run(lambda url: print(url, flush=True))
    print("drained", flush=True)

asyncio.run(main())
"""


async def _started(drain_s: float) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _PROGRAM,
        str(drain_s),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    return process, (await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)).decode().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_an_idle_server_at_once_and_well(number: signal.Signals) -> None:
    process, url = await _started(30)
    client = HttpServiceClient(url, "t")
    assert (await client.ready())["ready"] is True
    process.send_signal(number)
    out, _ = await asyncio.wait_for(process.communicate(), 5)
    await client.close()
    assert (process.returncode, out) == (0, b"drained\n")


async def test_sigterm_gives_running_work_its_drain_time_and_no_more() -> None:
    process, url = await _started(0.3)
    client = HttpServiceClient(url, "t")
    started = asyncio.Event()
    running = asyncio.ensure_future(client.execute_plan(REQUEST, on_event=lambda _: started.set()))
    await asyncio.wait_for(started.wait(), PATIENCE_S)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(OpsError) as caught:
        await running
    assert caught.value.code == "outcome_unknown"
    out, _ = await asyncio.wait_for(process.communicate(), 5)
    await client.close()
    assert (process.returncode, out) == (0, b"drained\n")
