"""What every `transports.base.Transport` must do: on this machine, on a remote one, and the fake.

Subclass `TransportConformance` in a test module and give it the fixtures `transport` and `programs`: how that transport
is asked for the few behaviours the suite needs.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Protocol

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.transports.base import CommandRequest, Ended, Transport

PATIENCE_S = 30.0
"""How long a test lets happen what must happen; nothing waits this long unless it is broken."""


class Programs(Protocol):
    """Argument lists with a known behaviour, in the transport's own world."""

    def prints(self, stdout: str, stderr: str = "") -> tuple[str, ...]:
        """Writes these texts, without a newline of its own, and exits 0."""
        ...

    def exits(self, code: int) -> tuple[str, ...]:
        """Exits with this code, silently."""
        ...

    def dies(self, signal: int) -> tuple[str, ...]:
        """Ends by this signal."""
        ...

    def copies(self) -> tuple[str, ...]:
        """Copies stdin to stdout until its end."""
        ...

    def ignores_stdin(self) -> tuple[str, ...]:
        """Exits 0 without reading stdin."""
        ...

    def floods(self, size_bytes: int) -> tuple[str, ...]:
        """Writes so many zero bytes to stdout and exits 0."""
        ...

    def waits(self) -> tuple[str, ...]:
        """Prints `ready` and a newline, then waits for minutes."""
        ...

    def shows_variable(self, name: str) -> tuple[str, ...]:
        """Prints the value of an environment variable and a newline; exits 1 when it is unset."""
        ...


class Ready:
    """An output sink that tells when `ready` was printed."""

    def __init__(self) -> None:
        self.seen = asyncio.Event()
        self.chunks: list[tuple[str, bytes]] = []

    def __call__(self, stream: str, chunk: bytes) -> None:
        self.chunks.append((stream, chunk))
        if b"ready" in chunk:
            self.seen.set()

    def text(self, stream: str) -> bytes:
        """All that came on one stream."""
        return b"".join(chunk for name, chunk in self.chunks if name == stream)


class TransportConformance:
    """The suite."""

    @pytest.fixture
    def transport(self) -> Transport:
        """The transport under test."""
        raise NotImplementedError

    @pytest.fixture
    def programs(self) -> Programs:
        """Its programs."""
        raise NotImplementedError

    @pytest.fixture
    def request_for(self, tmp_path: Path) -> Any:
        """A maker of requests with defaults that suit a test."""

        def make(argv: tuple[str, ...], **fields: Any) -> CommandRequest:
            fields = {"env": {"PATH": "/usr/bin:/bin"}, "timeout_s": PATIENCE_S, **fields}
            return CommandRequest(argv=argv, spool_dir=tmp_path / "spool", **fields)

        return make

    async def test_output_of_both_streams_arrives_whole_and_apart(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        result = await transport.run(request_for(programs.prints("to out", "to err")))
        assert (result.ended, result.exit_code, result.signal) == (Ended.EXITED, 0, None)
        assert (result.stdout.text(), result.stderr.text()) == ("to out", "to err")
        assert (result.stdout.total_bytes, result.stderr.total_bytes) == (6, 6)
        assert not result.stdout.truncated
        assert result.stdout.spool is None
        assert result.stdout.eof
        assert result.tree_gone

    async def test_no_output_is_no_output(self, transport: Transport, programs: Programs, request_for: Any) -> None:
        result = await transport.run(request_for(programs.exits(0)))
        assert (result.stdout.head, result.stdout.total_bytes, result.stdout.truncated) == (b"", 0, False)

    @pytest.mark.parametrize("code", [1, 2, 126, 255])
    async def test_an_exit_code_is_a_result_and_no_exception(
        self, transport: Transport, programs: Programs, request_for: Any, code: int
    ) -> None:
        result = await transport.run(request_for(programs.exits(code)))
        assert (result.ended, result.exit_code) == (Ended.EXITED, code)

    async def test_an_end_by_signal_has_no_exit_code(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        result = await transport.run(request_for(programs.dies(9)))
        assert (result.ended, result.exit_code, result.signal) == (Ended.SIGNALLED, None, 9)

    @pytest.mark.parametrize("size", [0, 1, 65_536, 3_000_001])
    async def test_stdin_of_any_size_goes_through(
        self, transport: Transport, programs: Programs, request_for: Any, size: int
    ) -> None:
        data = (b"0123456789abcdef\xff\x00" * (size // 18 + 1))[:size]
        result = await transport.run(request_for(programs.copies(), stdin=data, keep_bytes=4_000_000))
        assert result.exit_code == 0
        assert result.stdout.head == data

    async def test_without_stdin_a_reader_meets_its_end_at_once(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        result = await transport.run(request_for(programs.copies()))
        assert (result.exit_code, result.stdout.total_bytes) == (0, 0)

    async def test_stdin_that_is_not_read_is_no_failure(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        result = await transport.run(request_for(programs.ignores_stdin(), stdin=b"x" * 1_000_000))
        assert (result.ended, result.exit_code) == (Ended.EXITED, 0)

    async def test_the_environment_is_the_requests(
        self, transport: Transport, programs: Programs, request_for: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OF_THE_PARENT", "leaked")
        env = {"PATH": "/usr/bin:/bin", "GIVEN": "täglich $HOME"}
        given = await transport.run(request_for(programs.shows_variable("GIVEN"), env=env))
        absent = await transport.run(request_for(programs.shows_variable("OF_THE_PARENT"), env=env))
        assert given.stdout.text() == "täglich $HOME\n"
        assert (absent.exit_code, absent.stdout.text()) == (1, "")

    async def test_output_beyond_what_is_kept_is_cut_in_the_middle_and_spooled_whole(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        data = bytes(range(256)) * 2_000
        result = await transport.run(request_for(programs.copies(), stdin=data, keep_bytes=1_001))
        out = result.stdout
        assert (out.truncated, out.total_bytes, out.spooled_bytes, out.spool_error) == (
            True,
            len(data),
            len(data),
            None,
        )
        assert (out.head, out.tail) == (data[:501], data[-500:])
        assert out.spool is not None
        assert out.spool.read_bytes() == data
        assert f"{len(data) - 1_001} bytes left out" in out.text()

    async def test_output_of_exactly_what_is_kept_is_not_truncated(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        result = await transport.run(request_for(programs.copies(), stdin=b"ab" * 500, keep_bytes=1_000))
        assert (result.stdout.truncated, result.stdout.head, result.stdout.spool) == (False, b"ab" * 500, None)

    async def test_beyond_the_spool_limit_bytes_are_still_counted_and_the_end_still_kept(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        data = bytes(range(256)) * 4_000
        request = request_for(programs.copies(), stdin=data, keep_bytes=100, spool_limit_bytes=70_000)
        out = (await transport.run(request)).stdout
        assert (out.total_bytes, out.spooled_bytes, out.tail) == (len(data), 70_000, data[-50:])
        assert out.spool is not None
        assert out.spool.read_bytes() == data[:70_000]

    async def test_output_is_shown_while_the_command_runs(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        ready, cancel = Ready(), asyncio.Event()
        running = asyncio.create_task(transport.run(request_for(programs.waits()), on_output=ready, cancel=cancel))
        await asyncio.wait_for(ready.seen.wait(), PATIENCE_S)
        assert not running.done()
        cancel.set()
        await running
        assert ready.text("stdout") == b"ready\n"

    async def test_what_is_shown_is_what_is_counted(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        ready = Ready()
        result = await transport.run(request_for(programs.floods(2_000_000), keep_bytes=1_000), on_output=ready)
        assert len(ready.text("stdout")) == result.stdout.total_bytes == 2_000_000

    async def test_a_time_limit_ends_the_command(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        started = time.monotonic()
        result = await transport.run(request_for(programs.waits(), timeout_s=0.2))
        assert (result.ended, result.exit_code) == (Ended.TIMEOUT, None)
        assert (result.tree_gone, result.leftover_pids) == (True, ())
        assert 0.2 <= result.duration_s <= time.monotonic() - started < PATIENCE_S

    async def test_cancel_ends_the_command_and_keeps_its_output(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        ready, cancel = Ready(), asyncio.Event()
        running = asyncio.create_task(transport.run(request_for(programs.waits()), on_output=ready, cancel=cancel))
        await asyncio.wait_for(ready.seen.wait(), PATIENCE_S)
        cancel.set()
        result = await asyncio.wait_for(running, PATIENCE_S)
        assert (result.ended, result.exit_code, result.tree_gone) == (Ended.CANCELLED, None, True)
        assert result.stdout.text() == "ready\n"

    async def test_a_cancel_before_the_start_starts_nothing(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        cancel, shown = asyncio.Event(), Ready()
        cancel.set()
        result = await transport.run(request_for(programs.prints("no")), on_output=shown, cancel=cancel)
        assert (result.ended, result.stdout.total_bytes, shown.chunks) == (Ended.CANCELLED, 0, [])

    async def test_a_cancelled_task_ends_the_command_and_raises(
        self, transport: Transport, programs: Programs, request_for: Any, tmp_path: Path
    ) -> None:
        ready = Ready()
        running = asyncio.create_task(transport.run(request_for(programs.waits(), keep_bytes=1), on_output=ready))
        await asyncio.wait_for(ready.seen.wait(), PATIENCE_S)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        spool = tmp_path / "spool"
        assert not spool.exists() or not list(spool.iterdir())

    async def test_many_at_once_keep_their_outputs_apart(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        results = await asyncio.gather(*(transport.run(request_for(programs.prints(f"<{n}>"))) for n in range(50)))
        assert [result.stdout.text() for result in results] == [f"<{n}>" for n in range(50)]

    async def test_an_unknown_program_is_named(self, transport: Transport, request_for: Any) -> None:
        with pytest.raises(OpsError, match="no-such-program-anywhere") as caught:
            await transport.run(request_for(("no-such-program-anywhere",)))
        assert caught.value.code == "program_not_found"

    @pytest.mark.parametrize("argv", [(), ("",)])
    async def test_an_empty_command_is_refused(
        self, transport: Transport, request_for: Any, argv: tuple[str, ...]
    ) -> None:
        with pytest.raises(OpsError) as caught:
            await transport.run(request_for(argv))
        assert caught.value.code == "program_not_startable"

    async def test_a_nul_byte_in_an_argument_is_refused(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        with pytest.raises(OpsError, match="NUL") as caught:
            await transport.run(request_for((*programs.exits(0), "a\0b")))
        assert caught.value.code == "program_not_startable"

    async def test_a_missing_working_directory_is_refused(
        self, transport: Transport, programs: Programs, request_for: Any
    ) -> None:
        with pytest.raises(OpsError, match="/no/such/folder") as caught:
            await transport.run(request_for(programs.exits(0), cwd=Path("/no/such/folder")))
        assert caught.value.code == "working_directory_invalid"
