"""Runs an application under uvicorn and ends it well: SIGTERM drains, a second signal ends at once.

Called by bootstrap for `serve` and `up`. The loop is plain asyncio: it starts programs 4 to 40 times as fast as uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from opsconductor.model.errors import OpsError
from opsconductor.services.kit.listening import listen_tcp, listen_unix, url_of
from opsconductor.services.kit.running_work import RunningWork
from opsconductor.telemetry.logs import get_logger

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

_log = get_logger("opsconductor.services.server")
# Longer than the 30 s that our client keeps an idle connection.
_KEEPALIVE_S = 75
_LAST_ANSWERS_S = 3
"""How long connections may take to receive answers after the work has ended."""


class Server:
    """One application on a TCP address and, where asked, a unix socket. The addresses are taken at construction."""

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, work: RunningWork, drain_s: float, unix_socket: Path | None = None
    ) -> None:
        """`work` is what the application runs; `drain_s` how long it may take to end after the signal.

        Raises OpsError(`address_unavailable`).
        """
        self._work, self._drain_s = work, drain_s
        self._unix_socket = unix_socket
        self._sockets = _listen(host, port, unix_socket)
        self.url = url_of(self._sockets[0], host)
        self._uvicorn = _Uvicorn(app)
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()

    async def run(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Serve until `stop` is called or SIGTERM or SIGINT comes, then drain.

        `on_ready` is called with the URL once requests are answered.
        """
        serving = asyncio.ensure_future(self._uvicorn.serve(sockets=self._sockets))
        with _signals(self.stop):
            try:
                await _first(serving, self._uvicorn.listening)
                if on_ready is not None and not serving.done():
                    on_ready(self.url)
                await _first(serving, self._stop)
                await self._drain()
            finally:
                self._uvicorn.should_exit = True
                await asyncio.wait((serving,))
                self._close()
        serving.result()

    def stop(self) -> None:
        """Begin to drain; called again, stop waiting for running work."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _drain(self) -> None:
        """Connections stay open meanwhile: those who wait hear their results, and `/ready` says 503."""
        if self._work.count:
            _log.warning("draining", running=self._work.count, drain_s=self._drain_s)
        await self._work.drain(self._drain_s, hurry=self._hurry)

    def _close(self) -> None:
        for sock in self._sockets:
            sock.close()
        if self._unix_socket is not None:
            self._unix_socket.unlink(missing_ok=True)


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers (which kill the process after a clean end), telling when it listens."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEPALIVE_S,
                timeout_graceful_shutdown=_LAST_ANSWERS_S,
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `Server`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.listening.set()


def _listen(host: str, port: int, unix_socket: Path | None) -> list[socket.socket]:
    sockets = [listen_tcp(host, port)]
    if unix_socket is not None:
        try:
            sockets.append(listen_unix(unix_socket))
        except OpsError:
            sockets[0].close()
            raise
    return sockets


async def _first(serving: asyncio.Future[None], event: asyncio.Event) -> None:
    """Wait for the event, or for the server to end by itself."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop`. Only the main thread can listen to signals; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in wanted]
    for number in wanted:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number, handler in zip(wanted, before, strict=True):
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
