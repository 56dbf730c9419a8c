"""The fake keeps to the transports' suite, so that what passes with it has a chance with the real ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from opsconductor.transports.base import CommandRequest, Transport
from opsconductor.transports.fake import FakeProcess, FakeTransport, printing
from tests.conformance.transport import Programs, TransportConformance


async def _cat(process: FakeProcess) -> int:
    process.write(process.stdin)
    return 0


async def _exit(process: FakeProcess) -> int:
    return int(process.argv[1])


async def _wait(process: FakeProcess) -> int:
    process.write(b"ready\n")
    await asyncio.Event().wait()
    return 0


async def _print(process: FakeProcess) -> int:
    process.write(process.argv[1].encode())
    process.write(process.argv[2].encode(), "stderr")
    return 0


async def _flood(process: FakeProcess) -> int:
    process.write(bytes(int(process.argv[1])))
    return 0


async def _variable(process: FakeProcess) -> int:
    value = process.env.get(process.argv[1])
    process.write(b"" if value is None else f"{value}\n".encode())
    return 1 if value is None else 0


class FakePrograms:
    """The suite's behaviours as fake programs."""

    def prints(self, stdout: str, stderr: str = "") -> tuple[str, ...]:
        return ("print", stdout, stderr)

    def exits(self, code: int) -> tuple[str, ...]:
        return ("exit", str(code))

    def dies(self, signal: int) -> tuple[str, ...]:
        return ("exit", str(-signal))

    def copies(self) -> tuple[str, ...]:
        return ("cat",)

    def ignores_stdin(self) -> tuple[str, ...]:
        return ("exit", "0")

    def floods(self, size_bytes: int) -> tuple[str, ...]:
        return ("flood", str(size_bytes))

    def waits(self) -> tuple[str, ...]:
        return ("wait",)

    def shows_variable(self, name: str) -> tuple[str, ...]:
        return ("variable", name)


class TestFakeTransport(TransportConformance):
    @pytest.fixture
    def transport(self) -> Transport:
        return FakeTransport(
            {"print": _print, "exit": _exit, "cat": _cat, "flood": _flood, "wait": _wait, "variable": _variable}
        )

    @pytest.fixture
    def programs(self) -> Programs:
        return FakePrograms()


async def test_requests_are_remembered_and_fixed_output_is_given(tmp_path: Path) -> None:
    transport = FakeTransport({"df": printing("Filesystem\n", stderr="warning", exit_code=1)})
    request = CommandRequest(argv=("df", "/"), env={}, timeout_s=1.0, spool_dir=tmp_path)
    result = await transport.run(request)
    assert (result.stdout.text(), result.stderr.text(), result.exit_code) == ("Filesystem\n", "warning", 1)
    assert transport.requests == [request]
