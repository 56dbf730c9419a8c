"""A small mail server on 127.0.0.1 that takes every message and remembers it."""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

MAX_MESSAGE_BYTES = 16 * 1024**2
MAX_TEXT_BYTES = 64 * 1024
MAX_MESSAGES = 1000


class _Session(SMTP):
    """One connection: aiosmtpd's server as a protocol of the running loop (its own controllers start a thread)."""

    def __init__(self, handler: MailReceiver) -> None:
        super().__init__(
            handler, data_size_limit=MAX_MESSAGE_BYTES, enable_SMTPUTF8=True, hostname="localhost", ident="receiver"
        )
        self.ended = asyncio.Event()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.ended.set()

    async def end(self) -> None:
        """Close the connection if it is open, and wait until it is gone."""
        if self.transport is not None:
            self.transport.close()
            await self.ended.wait()


class MailReceiver:
    """Takes mail for anybody, without TLS or sign-in: it is for this machine's own tests of a plan."""

    kind = "mail"

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.dropped = 0
        self._server: asyncio.Server | None = None
        self._sessions: list[_Session] = []

    async def start(self) -> dict[str, Any]:
        """Bind a free port; returns `{kind, host, port}`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()[:2]
        return {"kind": self.kind, "host": host, "port": port}

    async def stop(self) -> dict[str, Any]:
        """Close; returns `{kind, received: [{sender, recipients, subject, message_id, headers, body}], dropped}`."""
        if self._server is not None:
            self._server.close()
            await asyncio.gather(*(session.end() for session in self._sessions))
            await self._server.wait_closed()
        return {"kind": self.kind, "received": self.received, "dropped": self.dropped}

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """aiosmtpd's hook: one message arrived whole."""
        if len(self.received) >= MAX_MESSAGES:
            self.dropped += 1
            return "452 4.3.1 this receiver has taken its last message"
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode()
        self.received.append(_summary(raw, envelope.mail_from or "", [str(name) for name in envelope.rcpt_tos]))
        return f"250 2.0.0 taken as {len(self.received)}"

    def _session(self) -> _Session:
        session = _Session(self)
        self._sessions.append(session)
        return session


def _summary(raw: bytes, sender: str, recipients: list[str]) -> dict[str, Any]:
    message = message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)  # noqa: S101 - what policy.default makes
    part = message.get_body(("plain", "html"))
    text = part.get_content() if part is not None else ""
    return {
        "sender": sender,
        "recipients": recipients,
        "subject": str(message["Subject"] or ""),
        "message_id": str(message["Message-ID"] or ""),
        "headers": {name.lower(): str(value) for name, value in message.items()},
        "body": str(text)[:MAX_TEXT_BYTES],
        "attachments": [str(found.get_filename()) for found in message.iter_attachments()],
        "size_bytes": len(raw),
    }
