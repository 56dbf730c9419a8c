"""A transport without processes, for tests: programs are Python functions under the names a request calls.

Ships with the package so that whoever writes a service can test it. It keeps to the same conformance suite as the real
transports: exact counts, head and tail, spool, time limit, cancel.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from opsconductor.model.errors import OpsError
from opsconductor.transports.base import (
    CapturedStream,
    CommandRequest,
    CommandResult,
    Ended,
    OutputSink,
)
from opsconductor.transports.capture import SpoolFile, StreamCapture


class FakeProcess:
    """What a fake program sees of its command."""

    def __init__(self, request: CommandRequest, captures: Mapping[str, StreamCapture], sink: OutputSink | None) -> None:
        self.argv = request.argv
        self.stdin = request.stdin or b""
        self.env = request.env
        self.cwd = request.cwd
        self._captures = captures
        self._sink = sink

    def write(self, data: bytes, stream: str = "stdout") -> None:
        """Write output."""
        if data:
            self._captures[stream].add(memoryview(data))
        if data and self._sink is not None:
            self._sink(stream, data)


FakeProgram = Callable[[FakeProcess], Awaitable[int]]
"""Returns its exit code, or minus a signal that ended it. Is cancelled (asyncio) where a process would be killed."""


def printing(stdout: str | bytes = b"", *, stderr: str | bytes = b"", exit_code: int = 0) -> FakeProgram:
    """A program that writes fixed output and exits."""

    async def program(process: FakeProcess) -> int:
        process.write(stdout.encode() if isinstance(stdout, str) else stdout)
        process.write(stderr.encode() if isinstance(stderr, str) else stderr, "stderr")
        return exit_code

    return program


class FakeTransport:
    """Implements `transports.base.Transport` with the given programs; `requests` are all that were run, in order."""

    def __init__(self, programs: Mapping[str, FakeProgram] | None = None) -> None:
        self.programs = dict(programs or {})
        self.requests: list[CommandRequest] = []

    async def run(
        self, request: CommandRequest, *, on_output: OutputSink | None = None, cancel: asyncio.Event | None = None
    ) -> CommandResult:
        """Run one fake program to its end. See `Transport.run`."""
        program = self._find(request)
        if cancel is not None and cancel.is_set():
            nothing = CapturedStream(head=b"", total_bytes=0)
            return CommandResult(ended=Ended.CANCELLED, stdout=nothing, stderr=nothing, duration_s=0.0)
        self.requests.append(request)
        started = time.monotonic()
        captures = {name: self._capture(request, name) for name in ("stdout", "stderr")}
        try:
            ended, code = await _run(program(FakeProcess(request, captures, on_output)), request.timeout_s, cancel)
        except BaseException:
            for capture in captures.values():
                capture.discard()
            raise
        return CommandResult(
            ended=ended,
            exit_code=code if ended is Ended.EXITED else None,
            signal=-code if ended is Ended.SIGNALLED else None,
            stdout=captures["stdout"].result(),
            stderr=captures["stderr"].result(),
            duration_s=time.monotonic() - started,
        )

    def _capture(self, request: CommandRequest, name: str) -> StreamCapture:
        spool = SpoolFile(request.spool_dir, f"fake-{id(self)}.{len(self.requests)}.{name}", request.spool_limit_bytes)
        return StreamCapture(request.keep_bytes, spool)

    def _find(self, request: CommandRequest) -> FakeProgram:
        name = request.argv[0] if request.argv else ""
        if not name or any("\0" in text for text in request.argv):
            raise OpsError("program_not_startable", f"program {name!r}: empty name, or a NUL byte in an argument")
        if request.cwd is not None and not request.cwd.is_dir():
            raise OpsError("working_directory_invalid", f"no such directory: {request.cwd}", cwd=str(request.cwd))
        if name not in self.programs:
            raise OpsError("program_not_found", f"no fake program is named {name!r}", program=name)
        return self.programs[name]


async def _run(program: Awaitable[int], timeout_s: float, cancel: asyncio.Event | None) -> tuple[Ended, int]:
    work = asyncio.ensure_future(program)
    watcher = None if cancel is None else asyncio.ensure_future(cancel.wait())
    waiting: set[asyncio.Future[Any]] = {work} if watcher is None else {work, watcher}
    try:
        done, _ = await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            code = work.result()
            return (Ended.SIGNALLED if code < 0 else Ended.EXITED), code
        return (Ended.CANCELLED if done else Ended.TIMEOUT), 0
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
