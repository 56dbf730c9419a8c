"""Peers on loopback for tests of clients: one that speaks well (a real server), and ones that misbehave by script."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from starlette.types import ASGIApp

from opsconductor.services.kit.running_work import RunningWork
from opsconductor.services.kit.server import Server

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, *, work: RunningWork | None = None, drain_s: float = 5.0, unix_socket: Path | None = None
) -> AsyncIterator[Server]:
    """The application under uvicorn on a free port of loopback."""
    server = Server(app, host="127.0.0.1", port=0, work=work or RunningWork(), drain_s=drain_s, unix_socket=unix_socket)
    ready = asyncio.Event()
    task = asyncio.ensure_future(server.run(lambda _url: ready.set()))
    await ready.wait()
    try:
        yield server
    finally:
        server.stop()
        await task


@contextlib.asynccontextmanager
async def misbehaving(script: Script) -> AsyncIterator[str]:
    """A peer that does what `script` says once it has read a request's headers. Gives its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await script(reader, writer)
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def says(*parts: bytes, then: Script | None = None) -> Script:
    """Send these bytes, then close (or go on with `then`)."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if then is not None:
            await then(reader, writer)

    return script


def answers(
    body: bytes, *, status: str = "200 OK", media_type: str = "application/json", extra: tuple[str, ...] = ()
) -> Script:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *extra, "", ""]
    return says("\r\n".join(lines).encode() + body)


async def hangs(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing, for as long as the test runs."""
    await asyncio.Event().wait()


async def resets(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break the connection off with a reset."""
    writer.transport.abort()


def endless(head: bytes, chunk: bytes, count: int) -> Script:
    """`count` times the same chunk, as fast as the reader takes it."""

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(count):
            writer.write(chunk)
            await writer.drain()

    return script
