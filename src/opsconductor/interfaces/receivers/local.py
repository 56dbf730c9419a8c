"""Starts and stops the receivers of one plan, and opens the egress policy for exactly their addresses meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opsconductor.model.plan import Receiver

if TYPE_CHECKING:
    from opsconductor.interfaces.receivers.mail import MailReceiver
    from opsconductor.interfaces.receivers.webhook import WebhookReceiver

Opened = Callable[[str], None]
"""Called with `127.0.0.1:PORT`; bootstrap passes `EgressGate.open` and `EgressGate.close`."""


class LocalReceivers:
    """The receivers of one execution; satisfies `engine.ports.ReceiverHost`."""

    def __init__(self, on_open: Opened, on_close: Opened) -> None:
        self._on_open, self._on_close = on_open, on_close
        self._running: dict[str, tuple[WebhookReceiver | MailReceiver, str]] = {}

    async def start(self, receivers: Mapping[str, Receiver]) -> dict[str, dict[str, Any]]:
        """Start all; returns name → `{kind, host, port}` and `url` for webhooks. On failure none stays open."""
        places: dict[str, dict[str, Any]] = {}
        try:
            for name, receiver in receivers.items():
                places[name] = await self._start(name, receiver.kind)
        except BaseException:
            await self.stop()
            raise
        return places

    async def stop(self) -> dict[str, dict[str, Any]]:
        """Stop all; returns name → `{kind, received: [...], dropped}`. Nothing is open afterwards; may be repeated."""
        summaries: dict[str, dict[str, Any]] = {}
        while self._running:
            name, (receiver, address) = self._running.popitem()
            self._on_close(address)
            summaries[name] = await receiver.stop()
        return dict(reversed(summaries.items()))

    async def _start(self, name: str, kind: str) -> dict[str, Any]:
        receiver = _make(kind)
        place = await receiver.start()
        address = f"{place['host']}:{place['port']}"
        try:
            self._on_open(address)
        except BaseException:
            await receiver.stop()
            raise
        self._running[name] = (receiver, address)
        return place


def _make(kind: str) -> WebhookReceiver | MailReceiver:
    if kind == "mail":
        from opsconductor.interfaces.receivers.mail import MailReceiver

        return MailReceiver()
    from opsconductor.interfaces.receivers.webhook import WebhookReceiver

    return WebhookReceiver()
