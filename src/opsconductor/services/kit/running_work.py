"""Executions that this process answers for. They belong to the server, not to the connection that asked.

A caller that goes away ends nothing: the work goes on and its result is recorded in the inbox, where the same
idempotency key finds it. `server` drains this before the process ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from opsconductor.model.errors import OpsError
from opsconductor.telemetry.logs import get_logger

T = TypeVar("T")
_log = get_logger("opsconductor.services.http")


class RunningWork:
    """The set of running executions and whether new ones are taken."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.draining = False

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` apart from the request. Raises OpsError(`service_not_ready`) while draining."""
        if self.draining:
            work.close()
            raise OpsError("service_not_ready", "the service is draining and takes no new work; nothing was started")
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    @property
    def count(self) -> int:
        """How many executions run."""
        return len(self._tasks)

    async def drain(self, timeout_s: float, *, hurry: asyncio.Event | None = None, cancel_grace_s: float = 10.0) -> int:
        """Take nothing new and let running work end; cancel what is left after `timeout_s`, or when `hurry` is set.

        Returns how many executions were cancelled.
        """
        self.draining = True
        await self._wait_until_idle(timeout_s, hurry)
        left = list(self._tasks)
        for task in left:
            task.cancel("the server is stopping")
        if left:
            _log.warning("executions cancelled at the end of the drain time", count=len(left), drain_s=timeout_s)
            await asyncio.wait(left, timeout=cancel_grace_s)
        return len(left)

    async def _wait_until_idle(self, timeout_s: float, hurry: asyncio.Event | None) -> None:
        waiters = [asyncio.ensure_future(self._idle())]
        if hurry is not None:
            waiters.append(asyncio.ensure_future(_set(hurry)))
        try:
            await asyncio.wait(waiters, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    async def _idle(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()  # also marks it as seen when the caller has gone
        if error is not None and not isinstance(error, OpsError):
            _log.error("execution ended with a defect", exc_info=error)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
