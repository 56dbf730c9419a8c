"""Running commands on this machine (Linux), on plain asyncio. Wired in bootstrap; one instance for a whole process.

A command's life: checked and started in its own session (`spawn`), read and fed without blocking (`pipes`), ended by
itself, by its time limit or by cancel (`running`), its tree ended and verified (`tree_end`), its orphans given to it
and reaped (`household`).

- A daemon that a command started and left behind when it ended by itself is not touched; it shows as
  `CommandResult.leftover_pids`. When it holds the command's output open, reading ends `drain_s` after the command did.
- An orphan that hides whose it is (own session, environment overwritten, parent gone before we looked) is never killed
  on suspicion; a timeout or cancel then reports it as not seen to end.
- This process becomes the subreaper of its descendants. Whoever else starts processes here must wait for them by pid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from opsconductor.transports.base import (
    CapturedStream,
    CommandRequest,
    CommandResult,
    Ended,
    OutputSink,
)
from opsconductor.transports.household import Household
from opsconductor.transports.pipes import CHUNK_BYTES
from opsconductor.transports.running import RunningCommand


class LocalTransport:
    """Implements `transports.base.Transport`. To be used from one event loop at a time.

    `drain_s`: how long after the command's end its output may stay open. `confirm_s`: how long after KILL to wait for
    processes to be gone. `slow_write_s`: a spool write longer than this moves the stream's writing to a thread.
    """

    def __init__(self, *, drain_s: float = 0.5, confirm_s: float = 5.0, slow_write_s: float = 0.01) -> None:
        self._drain_s = drain_s
        self._confirm_s = confirm_s
        self._slow_write_s = slow_write_s
        self._household = Household()
        self._buffer = memoryview(bytearray(CHUNK_BYTES))

    async def run(
        self, request: CommandRequest, *, on_output: OutputSink | None = None, cancel: asyncio.Event | None = None
    ) -> CommandResult:
        """Run one command to its end. See `Transport.run`."""
        if cancel is not None and cancel.is_set():
            nothing = CapturedStream(head=b"", total_bytes=0)
            return CommandResult(ended=Ended.CANCELLED, stdout=nothing, stderr=nothing, duration_s=0.0)
        command = RunningCommand(
            request, self._household, buffer=self._buffer, sink=on_output, slow_write_s=self._slow_write_s
        )
        try:
            ended = await command.first_end(cancel)
            leftovers = None if ended is Ended.EXITED else await command.end(self._confirm_s)
            await command.drain(self._drain_s)
            return await command.result(ended, leftovers)
        except BaseException:
            # Cancelled, or a defect of ours: in either case nothing may be left running.
            await _to_the_end(command.abandon(self._confirm_s))
            raise


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Await `work` whole, however often this task is cancelled meanwhile; grace and confirm times bound it."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
    task.result()
