"""The local transport: the suite of all transports, and what only processes of this machine can show."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.transports.base import CommandRequest, Ended, ProcessLimits, Transport
from opsconductor.transports.local import LocalTransport
from opsconductor.transports.process_tree import MARKER
from opsconductor.transports.spawn import find_program
from tests import needs
from tests.conformance.transport import PATIENCE_S, Programs, TransportConformance
from tests.unit.transports.local_programs import LocalPrograms

Make = Callable[..., CommandRequest]


class TestLocalTransport(TransportConformance):
    @pytest.fixture
    def transport(self) -> Transport:
        return LocalTransport()

    @pytest.fixture
    def programs(self) -> Programs:
        return LocalPrograms()


class TestLocalTransportWithASlowDisk(TransportConformance):
    """Every spool write counts as slow, so that all of them go through threads."""

    @pytest.fixture
    def transport(self) -> Transport:
        return LocalTransport(slow_write_s=0.0)

    @pytest.fixture
    def programs(self) -> Programs:
        return LocalPrograms()


@pytest.fixture
def transport() -> LocalTransport:
    return LocalTransport(drain_s=0.2)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def request(*argv: str, **fields: Any) -> CommandRequest:
        fields = {"env": {"PATH": "/usr/bin:/bin"}, "timeout_s": PATIENCE_S, **fields}
        return CommandRequest(argv=argv, spool_dir=tmp_path / "spool", **fields)

    return request


async def refusal(transport: LocalTransport, request: CommandRequest) -> OpsError:
    with pytest.raises(OpsError) as caught:
        await transport.run(request)
    return caught.value


async def test_an_unknown_program_is_told_with_the_path_that_was_searched(
    transport: LocalTransport, make: Make
) -> None:
    error = await refusal(transport, make("nosuch", env={"PATH": "/usr/bin:/opt/x"}))
    assert (error.code, error.context["path"]) == ("program_not_found", "/usr/bin:/opt/x")
    assert "'nosuch'" in error.message
    assert "/usr/bin:/opt/x" in error.message


async def test_the_requests_path_is_searched_and_not_ours(
    transport: LocalTransport, make: Make, tmp_path: Path
) -> None:
    program = tmp_path / "greet"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    assert (await transport.run(make("greet", env={"PATH": str(tmp_path)}))).stdout.text() == "hello\n"
    error = await refusal(transport, make("ls", env={"PATH": str(tmp_path)}))
    assert error.code == "program_not_found"


def test_relative_folders_of_a_path_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ls").write_text("#!/bin/sh\n")
    (tmp_path / "ls").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_program("ls", ".::/usr/bin:/bin", None) in {"/usr/bin/ls", "/bin/ls"}


async def test_a_program_named_with_a_slash_is_found_from_the_working_directory(
    transport: LocalTransport, make: Make, tmp_path: Path
) -> None:
    program = tmp_path / "here"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    assert (await transport.run(make("./here", cwd=tmp_path))).stdout.text() == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("content", "mode_and_told"),
    [
        ("#!/bin/sh\n", (0o644, "chmod")),
        ("no program at all\n", (0o755, "#!")),
        ("#!/no/such/interpreter\n", (0o755, "interpreter")),
    ],
)
async def test_a_file_that_cannot_be_executed_says_why(
    transport: LocalTransport, make: Make, tmp_path: Path, content: str, mode_and_told: tuple[int, str]
) -> None:
    mode, told = mode_and_told
    program = tmp_path / "broken"
    program.write_text(content)
    program.chmod(mode)
    error = await refusal(transport, make(str(program)))
    assert error.code == "program_not_startable"
    assert told in error.message


async def test_a_directory_is_no_program(transport: LocalTransport, make: Make) -> None:
    assert (await refusal(transport, make("/usr"))).code == "program_not_found"


@pytest.mark.parametrize("argv", [("true", "x" * 131_072), ("true", *["y" * 100_000] * 100)])
async def test_arguments_that_the_kernel_refuses_are_told(
    transport: LocalTransport, make: Make, argv: tuple[str, ...]
) -> None:
    error = await refusal(transport, make(*argv))
    assert error.code == "program_not_startable"
    assert "too long" in error.message
    assert len(error.message) < 500


async def test_an_argument_of_the_greatest_length_is_started(transport: LocalTransport, make: Make) -> None:
    result = await transport.run(make("printf", "%s", "x" * 131_071))
    assert result.stdout.total_bytes == 131_071


@pytest.mark.parametrize("env", [{"A=B": "c"}, {"": "c"}, {"A": "b\0c"}, {"A\0": "b"}])
async def test_an_impossible_environment_is_refused(transport: LocalTransport, make: Make, env: dict[str, str]) -> None:
    assert (await refusal(transport, make("true", env={"PATH": "/usr/bin", **env}))).code == "program_not_startable"


async def test_an_argument_that_is_no_text_is_refused(transport: LocalTransport, make: Make) -> None:
    assert (await refusal(transport, make("true", "\ud800"))).code == "program_not_startable"


async def test_arguments_are_never_read_by_a_shell(transport: LocalTransport, make: Make) -> None:
    result = await transport.run(make("printf", "%s|", "$HOME", "a b", "; id", "*", "`id`", ""))
    assert result.stdout.text() == "$HOME|a b|; id|*|`id`||"


async def test_the_environment_holds_what_was_given_and_the_commands_id(transport: LocalTransport, make: Make) -> None:
    result = await transport.run(make("env", env={"PATH": "/usr/bin:/bin", "A": "1"}))
    names = {line.split("=")[0] for line in result.stdout.text().splitlines()}
    assert names == {"PATH", "A", MARKER}


async def test_a_file_as_working_directory_is_refused(transport: LocalTransport, make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (await refusal(transport, make("true", cwd=tmp_path / "file"))).code == "working_directory_invalid"


async def test_an_unknown_user_is_refused(transport: LocalTransport, make: Make) -> None:
    error = await refusal(transport, make("true", user="nobody-of-that-name"))
    assert error.code == "program_not_startable"
    assert "nobody-of-that-name" in error.message


async def test_another_user_has_its_own_ids_and_groups(transport: LocalTransport, make: Make) -> None:
    needs.root()
    result = await transport.run(make("sh", "-c", "id -un; id -gn; id -Gn", user="nobody"))
    assert result.stdout.text() == "nobody\nnogroup\nnogroup\n"


async def test_only_root_may_start_as_another(
    transport: LocalTransport, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 12_345)
    error = await refusal(transport, make("true", user="root"))
    assert error.code == "program_not_startable"
    assert "only root" in error.message


async def test_limits_hold_from_the_first_instruction(transport: LocalTransport, make: Make) -> None:
    limits = ProcessLimits(cpu_s=7, memory_bytes=2**30, open_files=64, file_size_bytes=4_096)
    result = await transport.run(make("sh", "-c", "cat /proc/self/limits", limits=limits))
    shown = {line[:26].strip(): line[26:].split()[:2] for line in result.stdout.text().splitlines()}
    assert shown["Max cpu time"] == ["7", "7"]
    assert shown["Max address space"] == [str(2**30)] * 2
    assert shown["Max open files"] == ["64", "64"]
    assert shown["Max file size"] == ["4096", "4096"]


async def test_a_limit_above_our_own_is_ours(transport: LocalTransport, make: Make) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    result = await transport.run(make("sh", "-c", "ulimit -n", limits=ProcessLimits(open_files=hard + 1)))
    assert result.stdout.text() == f"{hard}\n"


async def test_a_command_has_no_files_of_others(transport: LocalTransport, make: Make) -> None:
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    others, cancel = [make("sleep", "300", stdin=b"x") for _ in range(5)], asyncio.Event()
    running = [asyncio.create_task(transport.run(other, cancel=cancel)) for other in others]
    await asyncio.sleep(0)
    result = await transport.run(make("ls", "/proc/self/fd"))
    cancel.set()
    await asyncio.gather(*running)
    os.close(inherited)
    assert result.stdout.text().split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


async def test_a_command_has_usual_signals_and_its_own_session(transport: LocalTransport, make: Make) -> None:
    result = await transport.run(make("cat", "/proc/self/status", "/proc/self/stat"))
    ignored = next(line for line in result.stdout.text().splitlines() if line.startswith("SigIgn"))
    assert int(ignored.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0
    stat = result.stdout.text().splitlines()[-1].split()
    assert stat[0] == stat[4] == stat[5]


async def test_nothing_of_a_command_is_left_in_this_process(transport: LocalTransport, make: Make) -> None:
    await transport.run(make("true"))
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        await transport.run(make("sh", "-c", "cat; echo err >&2", stdin=b"x" * 100_000, keep_bytes=10))
        await transport.run(make("sleep", "300", timeout_s=0.01))
        await refusal(transport, make("/usr"))
        await refusal(transport, make("true", "x" * 131_072))
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert transport._household.mains == frozenset()


async def test_a_stream_closed_early_is_no_end(transport: LocalTransport, make: Make) -> None:
    result = await transport.run(make("sh", "-c", "exec >&- 2>&-; sleep 0.1; exit 4"))
    assert (result.ended, result.exit_code, result.stdout.eof) == (Ended.EXITED, 4, True)


async def test_interleaved_streams_keep_their_own_order(transport: LocalTransport, make: Make) -> None:
    script = "i=0; while [ $i -lt 500 ]; do echo $i; echo $i >&2; i=$((i+1)); done"
    result = await transport.run(make("sh", "-c", script))
    wanted = "".join(f"{n}\n" for n in range(500))
    assert (result.stdout.text(), result.stderr.text()) == (wanted, wanted)


async def test_two_large_streams_at_once_do_not_block_each_other(transport: LocalTransport, make: Make) -> None:
    script = "head -c 3000000 /dev/zero & head -c 2000000 /dev/zero >&2; wait"
    result = await transport.run(make("sh", "-c", script, keep_bytes=1000))
    assert (result.stdout.total_bytes, result.stderr.total_bytes) == (3_000_000, 2_000_000)
    assert (result.stdout.spooled_bytes, result.stderr.spooled_bytes) == (3_000_000, 2_000_000)


async def test_a_kill_from_outside_is_told_as_a_signal(transport: LocalTransport, make: Make) -> None:
    shown: list[bytes] = []
    script = make("sh", "-c", "sleep 300 & echo $$; wait")

    def kill(_stream: str, chunk: bytes) -> None:
        shown.append(chunk)
        os.kill(int(chunk), signal.SIGKILL)

    result = await transport.run(script, on_output=kill)
    assert (result.ended, result.signal, result.exit_code) == (Ended.SIGNALLED, 9, None)
    # The sleep was left behind, holds the streams open, and is told.
    assert (result.tree_gone, len(result.leftover_pids), result.stdout.eof) == (False, 1, False)
    os.kill(result.leftover_pids[0], signal.SIGKILL)


async def test_an_exit_before_the_limit_is_looked_at_is_an_exit(transport: LocalTransport, make: Make) -> None:
    """The limit is reached while the loop is busy and the command has ended by itself: it did not time out."""
    running = asyncio.create_task(transport.run(make("sh", "-c", "exit 5", timeout_s=0.05)))
    await asyncio.sleep(0)
    subprocess.run(["sleep", "0.2"], check=True)  # blocks the loop on purpose
    result = await running
    assert (result.ended, result.exit_code) == (Ended.EXITED, 5)


async def test_a_stolen_exit_status_is_unknown_and_never_a_success(transport: LocalTransport, make: Make) -> None:
    running = asyncio.create_task(transport.run(make("sh", "-c", "exit 5")))
    await asyncio.sleep(0)
    (pid,) = transport._household.mains
    os.waitpid(pid, 0)
    with pytest.raises(OpsError) as caught:
        await running
    assert caught.value.code == "outcome_unknown"


async def test_no_free_file_descriptor_is_a_refusal_and_leaves_no_process(
    transport: LocalTransport, make: Make
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    first_free = min(set(range(len(used) + 1)) - set(used))
    seen: set[str] = set()
    for limit in range(first_free, used[-1] + 16):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            result = await transport.run(make("true", stdin=b"", timeout_s=5.0))
            seen.add(result.ended)
        except OpsError as error:
            seen.add(error.code)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen == {"program_not_startable", "exited"}
    assert transport._household.mains == frozenset()


def test_starting_does_not_copy_this_process(tmp_path: Path) -> None:
    """What the kernel is asked for: vfork, whose cost does not grow with memory, unless user or limits are given."""
    strace = needs.program("strace")
    code = (
        "import asyncio, pathlib\n"
        "from opsconductor.transports.base import CommandRequest\n"
        "from opsconductor.transports.local import LocalTransport\n"
        "request = CommandRequest(argv=('true',), env={}, timeout_s=9.0, spool_dir=pathlib.Path('/nonexistent'))\n"
        "assert asyncio.run(LocalTransport().run(request)).exit_code == 0\n"
    )
    trace = tmp_path / "trace"
    subprocess.run(
        [strace, "-f", "-e", "trace=clone,clone3,fork,vfork", "-o", str(trace), sys.executable, "-c", code], check=True
    )
    starts = [line for line in trace.read_text().splitlines() if "fork(" in line or "clone" in line]
    assert any("vfork(" in line or "CLONE_VFORK" in line for line in starts), starts


async def test_a_faulty_sink_costs_no_output(transport: LocalTransport, make: Make) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

    def faulty(_stream: str, _chunk: bytes) -> None:
        raise ValueError("a defect of the caller")

    result = await transport.run(make("head", "-c", "900000", "/dev/zero", keep_bytes=10), on_output=faulty)
    assert (result.stdout.total_bytes, result.stdout.spooled_bytes) == (900_000, 900_000)
    assert told
    assert all(isinstance(context["exception"], ValueError) for context in told)
