"""The calls of one execution that are under way, and how they are cancelled. Used by the coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from opsconductor.engine.ports import EventSink, ServiceClient
from opsconductor.engine.progress import Progress
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import Event

log = logging.getLogger(__name__)
_CANCEL_ATTEMPTS = 20
_CANCEL_PAUSE_S = 0.25
"""A cancel may overtake its request: the service is asked again while it does not know the execution."""


class OpenCalls:
    """What the dispatcher sees of an execution (`dispatch.Watch`), and what a cancel reaches."""

    def __init__(self, execution_id: str, progress: Progress) -> None:
        self._execution_id, self._progress = execution_id, progress
        self._calls: dict[asyncio.Task[Any], ServiceClient] = {}
        self.on_event: EventSink | None = None

    def wanted(self) -> bool:
        """Whether a step may still be sent."""
        return not self._progress.cancelled

    def called(self, client: ServiceClient, call: asyncio.Task[Any]) -> None:
        """Remember a call while it runs."""
        self._calls[call] = client
        call.add_done_callback(lambda done: self._calls.pop(done, None))

    @property
    def listens(self) -> bool:
        """Whether anybody wants to see events."""
        return self.on_event is not None

    def emit(self, event: Event) -> None:
        """Show an event to whoever listens. One that fails is shown no more: the work must not suffer from it."""
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception:
            self.on_event = None
            log.exception("execution %s goes on without a listener, because that failed", self._execution_id)

    def give_up_after(self, grace_s: float) -> None:
        """Wait for the calls under way no longer than `grace_s`."""
        loop = asyncio.get_running_loop()
        for call in list(self._calls):
            timer = loop.call_later(grace_s, call.cancel)
            call.add_done_callback(lambda _call, timer=timer: timer.cancel())  # type: ignore[misc]

    async def cancel(self) -> None:
        """Ask every service that runs a step of this execution to end it."""
        clients = {id(client): client for client in self._calls.values()}
        await asyncio.gather(*(self._cancel_at(client) for client in clients.values()))

    async def _cancel_at(self, client: ServiceClient) -> None:
        """Ask one service until it knows the execution (the request may still be on its way) or has answered."""
        for _ in range(_CANCEL_ATTEMPTS):
            with contextlib.suppress(OpsError):  # not reachable: the call itself will tell, or its grace ends
                if await client.cancel(self._execution_id):
                    return
            open_calls = [call for call, owner in self._calls.items() if owner is client]
            if not open_calls:
                return
            await asyncio.wait(open_calls, timeout=_CANCEL_PAUSE_S)
