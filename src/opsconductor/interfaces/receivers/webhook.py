"""A small HTTP server on 127.0.0.1 that takes every request and remembers it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

MAX_BODY_BYTES = 64 * 1024
MAX_DRAIN_BYTES = 16 * 1024**2
MAX_REQUESTS = 1000
REQUEST_TIMEOUT_S = 30.0
LINE_LIMIT = 16 * 1024


class WebhookReceiver:
    """Answers `200 ok` (which is also what Slack's webhooks say). One request a connection; bodies up to 16 MiB."""

    kind = "webhook"

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.dropped = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> dict[str, Any]:
        """Bind a free port; returns `{kind, host, port, url}`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LINE_LIMIT)
        host, port = self._server.sockets[0].getsockname()[:2]
        return {"kind": self.kind, "host": host, "port": port, "url": f"http://{host}:{port}/"}

    async def stop(self) -> dict[str, Any]:
        """Close; returns `{kind, received: [{method, path, headers, body, body_bytes}], dropped}`."""
        if self._server is not None:
            self._server.close()
            for writer in self._open.values():
                writer.transport.abort()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()
        return {"kind": self.kind, "received": self.received, "dropped": self.dropped}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a connection callback always runs in a task
        self._open[task] = writer
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                status = await self._take(reader, writer)
                body = b"ok" if status == "200 OK" else b""
                head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
                writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
                await writer.drain()
        except (OSError, TimeoutError, EOFError):
            pass  # the sender went away or was too slow: there is nobody to answer
        finally:
            del self._open[task]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            return "431 Request Header Fields Too Large"
        request_line, *lines = head.rstrip("\r\n").split("\r\n")
        method, _, rest = request_line.partition(" ")
        path, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            return "400 Bad Request"
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
            return "411 Length Required"
        if int(length) > MAX_DRAIN_BYTES:
            return "413 Content Too Large"
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(length))
        self._record(method, path, headers, body)
        return "200 OK"

    def _record(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        if len(self.received) >= MAX_REQUESTS:
            self.dropped += 1
            return
        text = body[:MAX_BODY_BYTES].decode("utf-8", "replace")
        shown = {name: "***" if name in ("authorization", "cookie") else value for name, value in headers.items()}
        self.received.append({"method": method, "path": path, "headers": shown, "body": text, "body_bytes": len(body)})
