"""The local transport against processes that do not want to end, much output and a full disk."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opsconductor.transports.base import CommandRequest, CommandResult, Ended
from opsconductor.transports.local import LocalTransport
from opsconductor.transports.process_tree import children_by_scan, children_of, find_process
from tests import needs

pytestmark = pytest.mark.integration

PATIENCE_S = 40.0
Make = Callable[..., CommandRequest]
Start = Callable[..., asyncio.Task[CommandResult]]

# A daemon by the book: fork, setsid, fork, everything closed; its parents are gone before it writes its pid.
DAEMON = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.chdir("/")
os.closerange(0, 64)
with open(sys.argv[1] + ".new", "w") as file: file.write(str(os.getpid()))
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(300)
"""


@pytest.fixture
def transport() -> LocalTransport:
    return LocalTransport(drain_s=0.2)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def request(*argv: str, **fields: Any) -> CommandRequest:
        fields = {"env": {"PATH": "/usr/bin:/bin"}, "timeout_s": PATIENCE_S, **fields}
        return CommandRequest(argv=argv, spool_dir=tmp_path / "spool", **fields)

    return request


def sh(script: str, *arguments: str) -> tuple[str, ...]:
    return ("sh", "-c", script, "sh", *arguments)


def daemon(pid_file: Path) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", DAEMON, str(pid_file))


def lives(pid: int) -> bool:
    info = find_process(pid)
    return info is not None and info.alive


async def pids_in(*files: Path) -> list[int]:
    """Wait until every file holds a pid."""
    async with asyncio.timeout(PATIENCE_S):
        while not all(file.exists() and file.read_text().strip() for file in files):
            await asyncio.sleep(0.005)
    return [int(file.read_text()) for file in files]


async def gone(*pids: int) -> None:
    """Wait until processes that end by themselves have ended."""
    async with asyncio.timeout(PATIENCE_S):
        while any(lives(pid) for pid in pids):
            await asyncio.sleep(0.005)


def end(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


async def cancelled_after(
    transport: LocalTransport, request: CommandRequest, *files: Path
) -> tuple[CommandResult, list[int]]:
    """Run, cancel once the files hold pids, and return the result and those pids."""
    cancel = asyncio.Event()
    running = asyncio.create_task(transport.run(request, cancel=cancel))
    pids = await pids_in(*files)
    assert all(lives(pid) for pid in pids)
    cancel.set()
    return await asyncio.wait_for(running, PATIENCE_S), pids


TREES = {
    "a child in its own session": 'setsid sh -c "echo \\$\\$ > $1; sleep 300" & sleep 300',
    "an orphan in its own session": '(setsid sh -c "echo \\$\\$ > $1; exec sleep 300" &) ; sleep 300',
    "a background child without TERM": 'sh -c "trap \\"\\" TERM; echo \\$\\$ > $1; while :; do sleep 1; done" & wait',
    "a stopped child": 'sh -c "echo \\$\\$ > $1; kill -STOP \\$\\$" & sleep 300',
    "an orphan that forgot its environment": '(env -i sh -c "echo \\$\\$ > $1; exec sleep 300" &) ; sleep 300',
    "a child in its own session that forgot its environment": 'env -i setsid sh -c "echo \\$\\$ > $1; sleep 300"; :',
}


@pytest.mark.parametrize("script", TREES.values(), ids=TREES.keys())
async def test_cancel_ends(transport: LocalTransport, make: Make, tmp_path: Path, script: str) -> None:
    file = tmp_path / "pid"
    result, (pid,) = await cancelled_after(transport, make(*sh(script, str(file)), grace_s=0.2), file)
    assert (result.ended, result.tree_gone, result.leftover_pids) == (Ended.CANCELLED, True, ())
    assert not lives(pid)


async def test_cancel_ends_a_daemon_that_cut_every_tie(transport: LocalTransport, make: Make, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program, *arguments = daemon(file)
    request = make(*sh('"$@"; sleep 300', program, *arguments))
    result, (pid,) = await cancelled_after(transport, request, file)
    assert (result.ended, result.tree_gone) == (Ended.CANCELLED, True)
    assert find_process(pid) is None, "ended, and its zombie was collected"


async def test_a_time_limit_ends_a_command_that_ignores_term(transport: LocalTransport, make: Make) -> None:
    script = "trap '' TERM; echo on; while :; do sleep 0.05; done"
    result = await transport.run(make(*sh(script), timeout_s=0.2, grace_s=0.3))
    assert (result.ended, result.signal, result.tree_gone) == (Ended.TIMEOUT, 9, True)
    assert result.duration_s >= 0.5
    assert result.stdout.text() == "on\n"


async def test_a_command_may_clean_up_after_term(transport: LocalTransport, make: Make, tmp_path: Path) -> None:
    """What the handler starts is not signalled before the grace time is over, and its output is kept."""
    script = "trap 'sleep 0.3; echo cleaned; exit 0' TERM; echo $$ > $1; while :; do sleep 0.05; done"
    file = tmp_path / "pid"
    result, _ = await cancelled_after(transport, make(*sh(script, str(file)), grace_s=PATIENCE_S), file)
    assert (result.ended, result.exit_code, result.signal) == (Ended.CANCELLED, None, None)
    assert result.stdout.text() == "cleaned\n"


async def test_a_burst_of_children_that_fork_on_is_ended(transport: LocalTransport, make: Make, tmp_path: Path) -> None:
    bomb = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for generation in range(6):
    if os.fork() == 0:
        if generation % 3 == 0:
            os.setsid()
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(300)
"""
    log, cancel = tmp_path / "pids", asyncio.Event()
    request = make(sys.executable, "-I", "-c", bomb, str(log), grace_s=0.05)
    running = asyncio.create_task(transport.run(request, cancel=cancel))
    async with asyncio.timeout(PATIENCE_S):
        while not log.exists():  # the first of 64 is there, others are still being forked
            await asyncio.sleep(0.001)
    cancel.set()
    result = await asyncio.wait_for(running, PATIENCE_S)
    assert (result.ended, result.tree_gone) == (Ended.CANCELLED, True)
    pids = [int(line) for line in log.read_text().split()]
    assert not any(lives(pid) for pid in pids)
    assert len(pids) > 1


async def test_a_cancelled_task_ends_the_tree_before_it_raises(
    transport: LocalTransport, make: Make, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    script = 'trap "" TERM; setsid sh -c "echo \\$\\$ > $1; sleep 300" & while :; do sleep 0.1; done'
    running = asyncio.create_task(transport.run(make(*sh(script, str(file)), grace_s=0.3)))
    (pid,) = await pids_in(file)
    running.cancel()
    await asyncio.sleep(0.05)
    running.cancel()  # an impatient caller changes nothing
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not lives(pid)


async def test_a_daemon_left_by_a_command_that_ended_well_goes_on(
    transport: LocalTransport, make: Make, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    result = await transport.run(make(*sh('"$@"; while ! [ -s "$5" ]; do sleep 0.01; done', *daemon(file))))
    (pid,) = await pids_in(file)
    assert (result.ended, result.exit_code, result.stdout.eof) == (Ended.EXITED, 0, True)
    assert (result.tree_gone, result.leftover_pids) == (False, (pid,))
    assert lives(pid)
    end(pid)
    await gone(pid)
    await transport.run(make("true"))
    assert find_process(pid) is None, "the zombie of an old daemon is collected at the next occasion"


async def test_a_background_child_that_holds_the_output_delays_for_a_short_time_only(
    transport: LocalTransport, make: Make
) -> None:
    started = time.monotonic()
    result = await transport.run(make(*sh("sleep 300 & echo done")))
    assert time.monotonic() - started < PATIENCE_S / 4
    assert (result.exit_code, result.stdout.text(), result.stdout.eof) == (0, "done\n", False)
    assert len(result.leftover_pids) == 1
    end(*result.leftover_pids)


async def test_a_background_child_that_never_stops_writing_is_cut_off(transport: LocalTransport, make: Make) -> None:
    result = await transport.run(make(*sh("yes & echo done"), keep_bytes=1000))
    assert (result.exit_code, result.stdout.eof, result.stdout.truncated) == (0, False, True)
    await gone(*result.leftover_pids)  # by SIGPIPE


async def test_cancel_of_one_command_leaves_the_others_and_their_orphans_alone(
    transport: LocalTransport, make: Make, tmp_path: Path
) -> None:
    script = '(setsid sh -c "echo \\$\\$ > $1; exec sleep 300" &) ; echo $$ > $2; sleep 300'
    cancels, tasks, files = [asyncio.Event() for _ in range(4)], [], []
    for number, cancel in enumerate(cancels):
        pair = (tmp_path / f"orphan{number}", tmp_path / f"main{number}")
        files.append(pair)
        tasks.append(asyncio.create_task(transport.run(make(*sh(script, *map(str, pair))), cancel=cancel)))
    pids = [await pids_in(*pair) for pair in files]
    cancels[1].set()
    result = await tasks[1]
    assert result.tree_gone
    assert [all(map(lives, pair)) for pair in pids] == [True, False, True, True]
    assert not any(map(lives, pids[1]))
    for cancel in cancels:
        cancel.set()
    assert all(result.tree_gone for result in await asyncio.gather(*tasks))
    assert not any(lives(pid) for pair in pids for pid in pair)


async def test_children_that_other_code_waits_for_keep_their_exit_status(transport: LocalTransport, make: Make) -> None:
    plain = subprocess.Popen(["sh", "-c", "exit 7"])
    own_session = subprocess.Popen(["sh", "-c", "exit 8"], start_new_session=True)
    other = await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.2; exit 9", start_new_session=True)
    living = subprocess.Popen(["sleep", "300"], start_new_session=True)
    await transport.run(make("sleep", "0.3"))
    result = await transport.run(make("sleep", "300", timeout_s=0.05))
    await transport.run(make("true"))
    assert result.ended is Ended.TIMEOUT
    assert living.poll() is None
    assert (plain.wait(), own_session.wait(), await other.wait()) == (7, 8, 9)
    living.kill()
    living.wait()


async def test_zombies_of_orphans_do_not_pile_up(transport: LocalTransport, make: Make) -> None:
    before = set(children_of(os.getpid()))
    for _ in range(3):
        await transport.run(make(*sh("(sleep 0.01 &) ; (sleep 0.02 &) ; sleep 0.1")))
    await transport.run(make("true"))
    assert set(children_of(os.getpid())) <= before


async def test_a_zombie_of_unknown_origin_is_collected_when_nobody_can_be_waiting_for_it(
    transport: LocalTransport, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It led its own session, as a child started by other code of this process may do."""
    before = set(children_of(os.getpid()))
    await transport.run(make(*sh("(setsid true &) ; sleep 0.2")))
    (zombie,) = set(children_of(os.getpid())) - before
    await transport.run(make("true"))
    assert not lives(zombie)
    assert find_process(zombie) is not None
    monkeypatch.setattr("opsconductor.transports.household._ZOMBIE_PATIENCE_S", 0.0)
    await transport.run(make("true"))
    assert find_process(zombie) is None


async def test_what_a_nested_transport_started_belongs_to_the_outer_command_too(
    transport: LocalTransport, make: Make, tmp_path: Path
) -> None:
    """The inner process is killed, its command goes on in a session and with an id of its own, and is still found."""
    inner = """
import asyncio, pathlib, sys
from opsconductor.transports.base import CommandRequest
from opsconductor.transports.local import LocalTransport
argv = ("sh", "-c", 'echo $$ > "$1"; exec sleep 300', "sh", sys.argv[1])
request = CommandRequest(argv=argv, env={"PATH": "/usr/bin:/bin"}, timeout_s=300.0, spool_dir=pathlib.Path(sys.argv[1]))
asyncio.run(LocalTransport().run(request))
"""
    file = tmp_path / "pid"
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path)}
    running = asyncio.create_task(transport.run(make(sys.executable, "-c", inner, str(file), env=env)))
    (pid,) = await pids_in(file)
    (main,) = transport._household.mains
    os.kill(main, signal.SIGKILL)
    result = await running
    assert (result.ended, result.leftover_pids) == (Ended.SIGNALLED, (pid,))
    end(pid)


async def test_an_orphan_of_unknown_origin_is_not_killed_and_makes_the_end_unconfirmed(
    transport: LocalTransport, make: Make, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    program, *arguments = daemon(file)
    request = make(*sh('env -i "$@"; sleep 300', program, *arguments))
    result, (pid,) = await cancelled_after(transport, request, file)
    assert (result.ended, result.tree_gone, result.leftover_pids) == (Ended.CANCELLED, False, (pid,))
    assert lives(pid)
    end(pid)
    later = await transport.run(make("sleep", "300", timeout_s=0.01))
    assert later.tree_gone


async def test_two_hundred_at_once(transport: LocalTransport, make: Make) -> None:
    async with asyncio.timeout(PATIENCE_S):
        results = await asyncio.gather(*(transport.run(make(*sh("sleep 0.2; echo $1", str(n)))) for n in range(200)))
    assert [result.stdout.text() for result in results] == [f"{n}\n" for n in range(200)]
    assert all(result.exit_code == 0 and result.tree_gone for result in results)


async def test_two_hundred_cancelled_at_once(transport: LocalTransport, make: Make) -> None:
    cancel = asyncio.Event()
    tasks = [asyncio.create_task(transport.run(make(*sh("sleep 300 & wait")), cancel=cancel)) for _ in range(200)]
    await asyncio.sleep(0.5)
    cancel.set()
    async with asyncio.timeout(PATIENCE_S):
        results = await asyncio.gather(*tasks)
    assert {(result.ended, result.tree_gone) for result in results} == {(Ended.CANCELLED, True)}


def test_both_ways_of_finding_children_agree() -> None:
    started = [subprocess.Popen(["sleep", "300"]) for _ in range(3)]
    try:
        wanted = {process.pid for process in started}
        assert wanted <= set(children_of(os.getpid()))
        assert set(children_of(os.getpid())) == set(children_by_scan(os.getpid()))
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
async def test_a_gigabyte_of_output_takes_little_memory(tmp_path: Path) -> None:
    """In a process of its own, whose greatest memory the kernel tells afterwards."""
    code = """
import asyncio, pathlib, sys
from opsconductor.transports.base import CommandRequest
from opsconductor.transports.local import LocalTransport
def peak():
    # Not ru_maxrss, which a vfork child takes over from its parent.
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
transport, size = LocalTransport(), 2**30
def run(count):
    argv = ("head", "-c", str(count), "/dev/zero")
    spool_dir = pathlib.Path(sys.argv[1])
    request = CommandRequest(argv=argv, env={"PATH": "/usr/bin:/bin"}, timeout_s=50.0, spool_dir=spool_dir)
    return asyncio.run(transport.run(request)).stdout
run(1)
before = peak()
out = run(size)
assert (out.total_bytes, out.spooled_bytes, len(out.head) + len(out.tail)) == (size, size, 2**20), out.total_bytes
print(peak() - before, peak())
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, timeout=55)
    growth, peak = map(int, done.stdout.split())
    (spool,) = tmp_path.iterdir()
    assert spool.stat().st_size == 2**30
    spool.unlink()
    assert growth < 8 * 2**20
    assert peak < 40 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    needs.root()
    mount = needs.program("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False).returncode:
        needs.absent("may not mount", "run the tests with CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_does_not_end_the_command_and_is_told(
    transport: LocalTransport, make: Make, small_disk: Path
) -> None:
    request = CommandRequest(
        argv=sh("head -c 5000000 /dev/zero; printf last"),
        env={"PATH": "/usr/bin:/bin"},
        timeout_s=PATIENCE_S,
        keep_bytes=1000,
        spool_dir=small_disk / "spool",
    )
    result = await transport.run(request)
    out = result.stdout
    assert (result.ended, result.exit_code) == (Ended.EXITED, 0)
    assert (out.total_bytes, out.truncated, out.tail[-4:]) == (5_000_004, True, b"last")
    assert "of its disk free" in (out.spool_error or "")
    assert out.spool is not None
    assert out.spool.stat().st_size == out.spooled_bytes < 2**20 + 1
