"""Calls an ASGI application without a network: for tests of what an application answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message

TOKEN = "t0ken-of-the-tests"
BEARER = ("Authorization", f"Bearer {TOKEN}")
JSON_TYPE = ("Content-Type", "application/json")


class Answer(msgspec.Struct, kw_only=True):
    """What came back."""

    status: int = 0
    headers: dict[str, str] = {}
    body: bytes = b""

    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        """The error code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        return str(self.json()["code"])


async def call(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    body: bytes | Sequence[bytes] = b"",
    headers: Iterable[tuple[str, str]] = (BEARER, JSON_TYPE),
    hang: bool = False,
) -> Answer:
    """One request; `body` in several parts comes in several messages; with `hang` its end never comes."""
    parts = [body] if isinstance(body, bytes) else list(body)
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": hang or place < len(parts) - 1}
        for place, part in enumerate(parts)
    ]
    answer = Answer()
    never = asyncio.Event()

    async def receive() -> Message:
        if not messages:
            await never.wait()
        return messages.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return answer
