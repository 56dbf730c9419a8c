"""Moving bytes between one command's pipes and memory or spool, on asyncio's loop.

Reads as much as a pipe holds into one buffer shared by all streams of a transport (the loop's thread is its only
user), which keeps memory flat and costs no allocation per read. Called by `running`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress

from opsconductor.transports.base import CapturedStream, OutputSink
from opsconductor.transports.capture import StreamCapture

CHUNK_BYTES = 256 * 1024
# The most an unprivileged process may ask for (/proc/sys/fs/pipe-max-size). With it, reader and writer seldom wait for
# each other: five times the speed of the usual 64 KiB when spooling.
_WIDE_PIPE_BYTES = 1024 * 1024
_USUAL_PIPE_BYTES = 64 * 1024


class OutputReader:
    """Reads one stream until its end into a capture and a sink.

    Spool writes happen right here as long as the page cache takes them (0.1 ms a chunk). While the disk pushes back
    (`SpoolFile.slow`) they happen in a thread and the stream is not read: the command waits, the loop does not.
    """

    def __init__(
        self,
        name: str,
        fd: int,
        capture: StreamCapture,
        *,
        buffer: memoryview,
        sink: OutputSink | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._name = name
        self._fd = fd
        self._capture = capture
        self._buffer = buffer
        self._sink = sink
        self._writing: asyncio.Future[None] | None = None
        self._stopping = False
        self._wide = False
        self.eof: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(fd, self._on_readable)

    def _on_readable(self) -> None:
        if count := self._fill():
            self._spool(self._capture.take(self._buffer[:count]))
            self._show(count)

    def _fill(self) -> int:
        """Read into the buffer once; 0 when there is nothing or no more."""
        try:
            count = os.readv(self._fd, [self._buffer])
        except BlockingIOError:
            return 0
        if count == 0:
            self._loop.remove_reader(self._fd)
            self.eof.set_result(None)
        if count >= _USUAL_PIPE_BYTES and not self._wide:
            self._widen()
        return count

    def _spool(self, due: memoryview | bytes) -> None:
        spool = self._capture.spool
        if due and not spool.slow:
            spool.write(due)
        elif due:
            self._loop.remove_reader(self._fd)
            self._write_in_thread(due).add_done_callback(self._read_on)

    def _write_in_thread(self, due: memoryview | bytes) -> asyncio.Future[None]:
        self._writing = self._loop.run_in_executor(None, self._capture.spool.write, bytes(due))
        return self._writing

    def _read_on(self, _written: asyncio.Future[None]) -> None:
        if not self._stopping:
            self._loop.add_reader(self._fd, self._on_readable)

    def _show(self, count: int) -> None:
        """Show what the buffer holds. Comes after counting and spooling: a faulty sink shall not cost output."""
        if self._sink is not None:
            self._sink(self._name, bytes(self._buffer[:count]))

    def _widen(self) -> None:
        self._wide = True
        with suppress(OSError):  # the user's share of pipe memory is used up: the usual size works, only slower
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _WIDE_PIPE_BYTES)

    async def finish(self) -> CapturedStream:
        """Stop reading, after what the pipe holds at this moment, and close it."""
        await self._stop()
        for _ in range(_WIDE_PIPE_BYTES // CHUNK_BYTES + 1):  # one more, to see its end
            if self.eof.done() or not (count := self._fill()):
                break
            due = self._capture.take(self._buffer[:count])
            writing = self._write_in_thread(due) if due else None
            self._show(count)
            if writing is not None:
                await asyncio.wait([writing])
        self._close()
        return self._capture.result(eof=self.eof.done())

    async def discard(self) -> None:
        """Stop reading, close the pipe and remove the spool. Harmless after `finish`, or twice."""
        await self._stop()
        self._close()
        self._capture.discard()

    async def _stop(self) -> None:
        """Read no more; a write in its thread is waited for, as it uses the spool's file descriptor."""
        self._stopping = True
        if self._fd >= 0 and not self.eof.done():
            self._loop.remove_reader(self._fd)
        if self._writing is not None:
            await asyncio.wait([self._writing])  # being cancelled here leaves the write itself alone

    def _close(self) -> None:
        """Close the pipe; a process that still writes to it gets SIGPIPE."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class InputWriter:
    """Feeds bytes to a command's stdin while its output is being read, so that neither side can block the other."""

    def __init__(self, fd: int, data: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._rest = memoryview(data)
        self._waiting = False
        self._on_writable()

    def _on_writable(self) -> None:
        try:
            # One write at a time: a quick reader shall not keep the loop here.
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._rest = self._rest[:0]  # it does not want to read more, which is its right
        if not self._rest:
            self.close()
        elif not self._waiting:
            self._waiting = True
            self._loop.add_writer(self._fd, self._on_writable)

    def close(self) -> None:
        """Close stdin; what was not taken is dropped."""
        if self._fd >= 0:
            if self._waiting:
                self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
