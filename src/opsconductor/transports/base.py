"""What every transport offers: run one argv somewhere and tell truthfully how it ended.

`local` runs on this machine; SSH and PowerShell remoting follow the same Protocol. One conformance suite
(tests/conformance/transport.py) holds for all of them and for the fake. Called by the services' command runner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec


class Ended(StrEnum):
    """How a command came to its end."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class ProcessLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the started process (setrlimit(2)); None leaves the service's own."""

    cpu_s: int | None = None
    memory_bytes: int | None = None
    open_files: int | None = None
    file_size_bytes: int | None = None


class CommandRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One command. `env` is the whole environment, to which a transport may add the id it finds the processes by.

    `keep_bytes` is how much of each stream stays in memory (half head, half tail). `user` is a name or a number.
    """

    argv: tuple[str, ...]
    stdin: bytes | None = None
    env: dict[str, str]
    cwd: Path | None = None
    user: str | None = None
    limits: ProcessLimits = ProcessLimits()
    timeout_s: float
    keep_bytes: int = 1024 * 1024
    spool_limit_bytes: int = 2 * 1024**3
    spool_dir: Path
    grace_s: float = 2.0


class CapturedStream(msgspec.Struct, frozen=True, kw_only=True):
    """One output stream. `total_bytes` is exact. When `truncated`, `head` and `tail` are its two ends.

    All of it, up to the spool limit, is then in the file `spool`; `spooled_bytes` says how much. `spool_error` says why
    less was spooled (disk full): the command went on, the ends and the count are still right, the middle is lost.
    `eof` is False when a process left running still held the stream open; `total_bytes` is what was read until then.
    """

    head: bytes
    tail: bytes = b""
    total_bytes: int
    truncated: bool = False
    spool: Path | None = None
    spooled_bytes: int = 0
    spool_error: str | None = None
    eof: bool = True

    def __repr__(self) -> str:
        """Without the output, which may be megabytes and secret: asyncio and loggers call repr unasked."""
        ends = "truncated" if self.truncated else "whole"
        return f"<CapturedStream {self.total_bytes} bytes {ends}, spool={self.spool}, error={self.spool_error!r}>"

    def text(self) -> str:
        """Head and tail as text; undecodable bytes become U+FFFD; the cut is marked in its place."""
        if not self.truncated:
            return (self.head + self.tail).decode("utf-8", "replace")
        cut = self.total_bytes - len(self.head) - len(self.tail)
        ends = (part.decode("utf-8", "replace") for part in (self.head, self.tail))
        return f"\n[… {cut} bytes left out …]\n".join(ends)


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended. `exit_code` is None unless `ended` is exited.

    `tree_gone` is whether every process it started was seen to end; `leftover_pids` are those that were not. After a
    timeout or cancel that is a failure to end them; after `exited` or `signalled` they were left running on purpose
    (a daemon, a background child) and are not touched.
    """

    ended: Ended
    exit_code: int | None = None
    signal: int | None = None
    stdout: CapturedStream
    stderr: CapturedStream
    duration_s: float
    tree_gone: bool = True
    leftover_pids: tuple[int, ...] = ()


OutputSink = Callable[[str, bytes], None]
"""Called with ("stdout"|"stderr", chunk) while the command runs; must be quick and must not raise."""


class Transport(Protocol):
    """Runs commands somewhere."""

    async def run(
        self, request: CommandRequest, *, on_output: OutputSink | None = None, cancel: asyncio.Event | None = None
    ) -> CommandResult:
        """Run one command to its end.

        Setting `cancel` ends the whole process tree: TERM, `grace_s` later KILL, then a check that nothing is left.
        A cancelled asyncio task does the same before it re-raises. Raises OpsError when nothing ran
        (`program_not_found`, `program_not_startable`, `working_directory_invalid`) and `outcome_unknown` when the exit
        status got lost.
        Output that could not be spooled does not end the command: it is told by `CapturedStream.spool_error`.
        """
        ...
