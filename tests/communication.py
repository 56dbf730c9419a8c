"""Peers and a caller for tests of deliveries: real servers on loopback, and tools run through their definitions."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

from opsconductor.catalog.inputs import check_inputs
from opsconductor.catalog.loader import load_file
from opsconductor.model.limits import DocumentLimits
from opsconductor.model.tool import ToolDefinition
from opsconductor.security.egress import EgressGate, parse_policy
from opsconductor.services.communication.config import CommunicationConfig
from opsconductor.services.communication.handlers import handlers
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from tests.needs import program

TOOLS = Path(__file__).parents[1] / "src/opsconductor/tools/custom"
Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def definition(tool: str) -> ToolDefinition:
    """The shipped definition."""
    path = TOOLS / f"{tool}.yaml"
    loaded = load_file(path.read_bytes(), str(path), DocumentLimits())
    assert loaded.definition is not None, [problem.render() for problem in loaded.problems]
    return loaded.definition


def gate(allow: str = "127.0.0.1", deny: str = "") -> EgressGate:
    """A gate that lets loopback pass unless said otherwise."""
    return EgressGate(parse_policy(allow, deny))


def configured(allow: str = "127.0.0.1", deny: str = "", **settings: Any) -> CommunicationConfig:
    """A configuration with short time limits."""
    return CommunicationConfig(egress=gate(allow, deny), **{"connect_timeout_s": 2.0, **settings})


async def run_tool(
    config: CommunicationConfig,
    tool: str,
    inputs: Mapping[str, Any],
    *,
    operation: str | None = None,
    timeout_s: float = 10.0,
    cancel: asyncio.Event | None = None,
    dry_run: bool = False,
    dispatch_id: str = "0192-dispatch",
) -> HandlerResult:
    """Check the inputs as a service does and call the handler that the definition names."""
    found = definition(tool)
    name = operation or found.default_operation or ""
    body = found.operations[name]
    assert body.handler is not None
    context = StepContext(
        execution_id="execution",
        step_id="step",
        step_index=0,
        dispatch_id=dispatch_id,
        tenant_id=None,
        actor_id=None,
        tool=found,
        operation_name=name,
        operation=body,
        timeout_s=timeout_s,
        cancel=cancel or asyncio.Event(),
        emit=lambda stream, text: None,
        work_dir=Path("/nonexistent"),
        dry_run=dry_run,
    )
    return await handlers(config)[body.handler](context, check_inputs(found, name, inputs))


class Listener:
    """A TCP server that counts its connections; `port` and `url` say where."""

    def __init__(self, host: str, port: int, scheme: str) -> None:
        self.port, self.connections = port, 0
        self.url = f"{scheme}://{host}:{port}/hook"


@contextlib.asynccontextmanager
async def listening(
    serve: Connection, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Listener]:
    """`serve` behind a free port of `host`; what still runs at the end is cancelled."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.connections += 1
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        await asyncio.wait({task})
        writer.transport.abort()

    server = await asyncio.start_server(accept, host, 0, ssl=tls)
    listener = Listener(host, server.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield listener
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError | EOFError):
                raise outcome


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """(request line, headers in small letters, body) of one HTTP request with Content-Length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return head[0], headers, await reader.readexactly(int(headers.get("content-length", "0")))


Recorded = list[tuple[str, dict[str, str], bytes]]


def answering(answer: bytes | str, requests: Recorded | None = None) -> Connection:
    """A peer that reads one request and answers `answer` as it is."""
    raw = answer if isinstance(answer, bytes) else answer.replace("\n", "\r\n").encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if requests is not None:
            requests.append(request)
        writer.write(raw)
        await writer.drain()
        writer.write_eof() if writer.can_write_eof() else writer.close()
        await reader.read()

    return serve


def http(status: str, body: str = "", *headers: str) -> str:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body.encode())}", "Connection: close", "", body]
    return "\n".join(lines)


@contextlib.asynccontextmanager
async def mail_server(handler: object, **options: Any) -> AsyncIterator[int]:
    """A real aiosmtpd server with `handler`'s hooks; gives its port."""
    loop = asyncio.get_running_loop()
    wrap = options.pop("wrap", None)
    sessions: list[SMTP] = []

    def session() -> SMTP:
        sessions.append(SMTP(handler, hostname="localhost", **options))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=wrap)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for found in sessions:
            if found.transport is not None:
                found.transport.close()
        for _ in range(5):  # let connection_lost and the sessions' tasks run
            await asyncio.sleep(0)


def certificate(folder: Path, name: str = "localhost") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-made certificate for 127.0.0.1: (the server's context, a client's that trusts it)."""
    openssl = program("openssl")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-keyout", str(key), "-out", str(cert), "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=str(cert))
