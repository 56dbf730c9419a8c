"""One local command from its start to its end. Made by `LocalTransport.run`, which decides when it is over."""

from __future__ import annotations

import asyncio
import os
import time

from opsconductor.model.errors import OpsError
from opsconductor.transports.base import CommandRequest, CommandResult, Ended, OutputSink
from opsconductor.transports.capture import SpoolFile, StreamCapture
from opsconductor.transports.household import Household
from opsconductor.transports.pipes import InputWriter, OutputReader
from opsconductor.transports.process_tree import ticks_now
from opsconductor.transports.spawn import start
from opsconductor.transports.tree_end import CommandTree, end_tree


class RunningCommand:
    """A started command: its pipes, its process tree and the first reason for its end."""

    def __init__(
        self,
        request: CommandRequest,
        household: Household,
        *,
        buffer: memoryview,
        sink: OutputSink | None,
        slow_write_s: float,
    ) -> None:
        self._request = request
        self._household = household
        self._loop = asyncio.get_running_loop()
        self._command_id = household.new_command_id()
        self._started = time.monotonic()
        start_ticks = ticks_now()
        self._process = start(request, household.environment(request.env, self._command_id))
        household.add_main(self._process.pid, self._command_id)
        self._tree = CommandTree(household, self._command_id, self._process.pid, start_ticks)
        self._reaped = False
        self._closed = False
        self._first: asyncio.Future[Ended] = self._loop.create_future()
        self._loop.add_reader(self._process.pidfd, self._on_exit)

        def reader(name: str, fd: int) -> OutputReader:
            file_name = f"{self._command_id}.{name}"
            spool = SpoolFile(request.spool_dir, file_name, request.spool_limit_bytes, slow_write_s=slow_write_s)
            capture = StreamCapture(request.keep_bytes, spool)
            return OutputReader(name, fd, capture, buffer=buffer, sink=sink)

        self._readers = (reader("stdout", self._process.stdout_fd), reader("stderr", self._process.stderr_fd))
        has_stdin = request.stdin is not None
        self._writer = InputWriter(self._process.stdin_fd, request.stdin or b"") if has_stdin else None

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._process.pidfd)
        self._resolve(Ended.EXITED)

    def _resolve(self, ended: Ended) -> None:
        if not self._first.done():
            self._first.set_result(ended)

    async def first_end(self, cancel: asyncio.Event | None) -> Ended:
        """Wait for exit, time limit or cancel, whichever comes first; an exit that has happened always wins."""
        left_s = self._request.timeout_s - (time.monotonic() - self._started)
        timer = self._loop.call_later(max(0.0, left_s), self._resolve, Ended.TIMEOUT)
        watcher = None if cancel is None else self._loop.create_task(self._watch(cancel))
        try:
            ended = await self._first
        finally:
            timer.cancel()
            if watcher is not None:
                watcher.cancel()
        return Ended.EXITED if self._has_exited() else ended

    async def _watch(self, cancel: asyncio.Event) -> None:
        await cancel.wait()
        self._resolve(Ended.CANCELLED)

    def _has_exited(self) -> bool:
        """Whether the main process has ended, leaving it to be reaped later."""
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError as error:
            self._reaped = True
            raise self._status_lost() from error

    async def end(self, confirm_s: float) -> tuple[int, ...]:
        """End the whole tree; return the pids that were not seen to end."""
        return await end_tree(self._tree, grace_s=self._request.grace_s, confirm_s=confirm_s)

    async def drain(self, drain_s: float) -> None:
        """Read on until both streams end, at most `drain_s`: a child that was left running may hold them open."""
        unfinished = [reader.eof for reader in self._readers if not reader.eof.done()]
        if unfinished:
            await asyncio.wait(unfinished, timeout=drain_s)

    async def result(self, ended: Ended, leftovers: tuple[int, ...] | None) -> CommandResult:
        """Collect the output, reap the main process and tell how it went. `leftovers` None: look what it left."""
        stdout, stderr = [await reader.finish() for reader in self._readers]
        if leftovers is None:
            leftovers = tuple(sorted(self._tree.left_behind()))
        code = self._close(reap=ended is Ended.EXITED)
        if ended is Ended.EXITED and code is not None and code < 0:
            ended = Ended.SIGNALLED
        return CommandResult(
            ended=ended,
            exit_code=code if ended is Ended.EXITED else None,
            signal=-code if code is not None and code < 0 else None,
            stdout=stdout,
            stderr=stderr,
            duration_s=time.monotonic() - self._started,
            tree_gone=not leftovers,
            leftover_pids=leftovers,
        )

    async def abandon(self, confirm_s: float) -> None:
        """End the tree and throw everything away: nobody waits for the result any more."""
        if not self._reaped:
            try:
                await self.end(confirm_s)
            except OSError:  # most likely no file descriptor is left to look with: ours are given back first
                await self._discard()
                await self.end(confirm_s)
        await self._discard()
        if not self._closed:
            self._close(reap=False)

    async def _discard(self) -> None:
        for reader in self._readers:
            await reader.discard()

    def _close(self, *, reap: bool) -> int | None:
        """Give back what the command held; return the exit code, or minus the signal, or None if it still lives."""
        self._closed = self._reaped = True
        if not self._first.done() or self._first.cancelled() or self._first.result() is not Ended.EXITED:
            self._loop.remove_reader(self._process.pidfd)
        os.close(self._process.pidfd)
        if self._writer is not None:
            self._writer.close()
        try:
            pid, status = os.waitpid(self._process.pid, os.WNOHANG)
        except ChildProcessError as error:
            if reap:
                raise self._status_lost() from error
            return None
        finally:
            self._household.remove_main(self._process.pid)
        return os.waitstatus_to_exitcode(status) if pid else None

    def _status_lost(self) -> OpsError:
        return OpsError(
            "outcome_unknown",
            f"the exit status of {self._request.argv[0]!r} (pid {self._process.pid}) was taken by another part of this "
            "process: nothing but the transport may wait for all children or ignore SIGCHLD",
            program=self._request.argv[0],
        )
