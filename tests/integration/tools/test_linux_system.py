"""ps, pgrep, top, free, uptime, id, whoami, uname, hostname, lsb_release through their definitions and the service."""

from __future__ import annotations

import grp
import json
import os
import platform
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.clock import from_rfc3339
from opsconductor.model.execution import StepStatus
from tests.harness import Bench, automation
from tests.integration.tools.linux_checks import data, refused, says
from tests.needs import program, root

ABSENT_USER = "no-such-user-here"
ROOT_FOLDER = Path(__file__).parents[3]
SET_NAME = """
import asyncio, json, sys
from tests.harness import automation

async def main():
    async with automation() as service:
        before = await service.run("hostname", "show")
        changed = await service.run("hostname", "set", {"name": "renamed-by-test"})
        after = await service.run("hostname", "show")
        print(json.dumps([before.output.get("data"), changed.status, after.output.get("data")]))

asyncio.run(main())
"""


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with automation() as service:
        yield service


@pytest.fixture
def procps() -> None:
    for name in ("ps", "pgrep", "top", "free", "uptime"):
        program(name, "procps")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a command line that nothing else has."""
    with subprocess.Popen(["sleep", f"{100_000 + os.getpid()}"]) as process:
        yield process
        process.send_signal(signal.SIGKILL)


def seconds_since(moment: str) -> float:
    return (datetime.now(UTC) - from_rfc3339(moment)).total_seconds()


def memory_total() -> int:
    """Of /proc/meminfo, in bytes."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    return int(line.split()[1]) * 1024


def boot_time() -> datetime:
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return datetime.fromtimestamp(int(line.split()[1]), UTC)


# ps


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_ps_gives_processes_by_number_with_typed_values(bench: Bench, sleeper: subprocess.Popen[bytes]) -> None:
    [row] = data(await bench.run("ps", "by_pid", {"pids": [sleeper.pid, 4_194_304]}))
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{sleeper.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert row["pid"] == sleeper.pid
    assert row["ppid"] == os.getpid()
    assert row["user"] == pwd.getpwuid(os.geteuid()).pw_name
    assert row["program"] == "sleep"
    assert row["command"] == " ".join(map(str, sleeper.args if isinstance(sleeper.args, list) else []))
    assert row["virtual_bytes"] == int(status["VmSize"].split()[0]) * 1024
    assert row["threads"] == 1
    assert row["state"].startswith("S")
    assert -2 < seconds_since(row["started_at"]) < 120
    assert 0 <= row["elapsed_s"] < 120
    assert isinstance(row["cpu_percent"], float)
    assert not [key for key in row if "%" in key]


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_ps_lists_everything_with_the_largest_first(bench: Bench, sleeper: subprocess.Popen[bytes]) -> None:
    rows = data(await bench.run("ps", "list", {"largest": "rss"}))
    sizes = [row["resident_bytes"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert {1, os.getpid(), sleeper.pid} <= {row["pid"] for row in rows}
    rows = data(await bench.run("ps", "list", {"largest": "pcpu"}))
    shares = [row["cpu_percent"] for row in rows]
    assert shares == sorted(shares, reverse=True)
    plain = [row["pid"] for row in data(await bench.run("ps"))]
    assert plain == sorted(plain)


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_ps_selects_by_program_and_by_user(bench: Bench, sleeper: subprocess.Popen[bytes]) -> None:
    rows = data(await bench.run("ps", "by_program", {"program": "sleep"}))
    assert {row["program"] for row in rows} == {"sleep"}
    assert sleeper.pid in {row["pid"] for row in rows}
    rows = data(await bench.run("ps", "by_user", {"user": str(os.geteuid())}))
    assert {row["user"] for row in rows} == {pwd.getpwuid(os.geteuid()).pw_name}


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_ps_that_finds_nothing_succeeds_with_nothing(bench: Bench) -> None:
    assert data(await bench.run("ps", "by_program", {"program": "no-such-program"})) == []
    result = await bench.run("ps", "by_user", {"user": ABSENT_USER})
    assert data(result) == []
    assert "user name does not exist" in result.output["stderr"]


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_a_program_name_with_blanks_and_a_long_command_stay_whole(bench: Bench, tmp_path: Path) -> None:
    script = "import sys; open('/proc/self/comm', 'w').write('tmux: server'); print(flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", script, "x" * 3000, "two  words"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        [row] = data(await bench.run("ps", "by_pid", {"pids": [process.pid]}))
        process.kill()
    assert row["program"] == "tmux: server"
    assert row["command"].endswith("x" * 3000 + " two  words")


async def test_ps_refuses_an_option_as_a_user_or_program(bench: Bench) -> None:
    refused(await bench.run("ps", "by_user", {"user": "-e"}), "input_invalid")
    refused(await bench.run("ps", "by_program", {"program": "--help"}), "input_invalid")
    refused(await bench.run("ps", "by_pid", {"pids": [-1]}), "input_invalid")


# pgrep


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_pgrep_finds_processes_by_name_and_command(bench: Bench, sleeper: subprocess.Popen[bytes]) -> None:
    command = f"sleep {100_000 + os.getpid()}"
    inputs = {"pattern": f"^{command}$", "full": True}
    assert data(await bench.run("pgrep", "search", inputs)) == [{"pid": sleeper.pid, "command": command}]
    assert data(await bench.run("pgrep", "count", inputs)) == 1
    inputs = {"pattern": "SLEEP", "ignore_case": True, "exact": True, "parent": os.getpid(), "newest": True}
    assert data(await bench.run("pgrep", "search", inputs)) == [{"pid": sleeper.pid, "command": command}]


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_pgrep_that_finds_nothing_succeeds_with_nothing(bench: Bench) -> None:
    inputs = {"pattern": "no-such-thing", "user": str(os.geteuid())}
    assert data(await bench.run("pgrep", "search", inputs)) == []
    assert data(await bench.run("pgrep", "count", inputs)) == 0


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_pgrep_with_an_unknown_user_or_a_broken_pattern_fails(bench: Bench) -> None:
    says(await bench.run("pgrep", "search", {"pattern": "x", "user": ABSENT_USER}), "invalid user name")
    says(await bench.run("pgrep", "search", {"pattern": "a["}), "regex error")


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_a_pattern_that_looks_like_an_option_is_a_pattern(bench: Bench) -> None:
    assert data(await bench.run("pgrep", "search", {"pattern": "--no-such-option-or-process", "full": False})) == []
    refused(await bench.run("pgrep", "search", {"pattern": "x", "user": "-x"}), "input_invalid")


# top


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_top_shows_the_machine_and_its_processes_at_each_look(bench: Bench) -> None:
    inputs = {"iterations": 2, "delay_s": 0.2}
    frames = data(await bench.run("top", None, inputs))
    assert len(frames) == 2
    for frame in frames:
        assert frame["tasks"]["total"] == len(frame["processes"])
        assert sum(frame["cpu_percent"].values()) == pytest.approx(100, abs=2)
        assert frame["memory_bytes"]["total"] == memory_total()
        assert 0 < frame["memory_bytes"]["available"] <= memory_total()
        shares = [row["cpu_percent"] for row in frame["processes"]]
        assert shares == sorted(shares, reverse=True)
        assert all(row["resident_bytes"] % 1024 == 0 for row in frame["processes"])
    rows = {row["pid"]: row for row in frames[-1]["processes"]}
    assert rows[os.getpid()]["resident_bytes"] > 10_000_000
    assert rows[os.getpid()]["cpu_time_s"] > 0


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_top_selects_by_process_and_by_user(bench: Bench, sleeper: subprocess.Popen[bytes]) -> None:
    [frame] = data(await bench.run("top", None, {"iterations": 1, "pids": [sleeper.pid, os.getpid()]}))
    assert {row["pid"] for row in frame["processes"]} == {sleeper.pid, os.getpid()}
    me = str(os.geteuid())
    [frame] = data(await bench.run("top", None, {"iterations": 1, "user": me, "sort": "%MEM"}))
    shares = [row["memory_percent"] for row in frame["processes"]]
    assert shares == sorted(shares, reverse=True)
    assert sleeper.pid in {row["pid"] for row in frame["processes"]}


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_top_with_an_unknown_user_fails_with_its_words(bench: Bench) -> None:
    says(await bench.run("top", None, {"iterations": 1, "user": ABSENT_USER}), "Invalid user")


async def test_top_is_bounded(bench: Bench) -> None:
    refused(await bench.run("top", None, {"iterations": 21}), "input_invalid")
    refused(await bench.run("top", None, {"delay_s": 3600}), "input_invalid")
    refused(await bench.run("top", None, {"user": "-x"}), "input_invalid")


# free, uptime


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_free_gives_memory_and_swap_in_bytes(bench: Bench) -> None:
    rows = {row["type"]: row for row in data(await bench.run("free"))}
    assert set(rows) == {"Mem", "Swap"}
    memory = rows["Mem"]
    assert memory["total"] == memory_total()
    assert 0 < memory["available"] <= memory["total"]
    assert all(isinstance(value, int) for key, value in memory.items() if key != "type")


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_uptime_gives_seconds_and_load(bench: Bench) -> None:
    row = data(await bench.run("uptime"))
    up = float(Path("/proc/uptime").read_text().split()[0])
    assert row["uptime_total_seconds"] == pytest.approx(up, abs=90)
    assert isinstance(row["users"], int)
    assert row["load_15m"] == pytest.approx(os.getloadavg()[2], abs=0.5)


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_uptime_says_since_when_wherever_the_machine_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    since = from_rfc3339(data(await bench.run("uptime", "since")))
    assert abs(since - boot_time()) < timedelta(seconds=90)


@pytest.mark.integration
@pytest.mark.usefixtures("procps")
async def test_a_program_without_inputs_takes_none(bench: Bench) -> None:
    for tool in ("free", "uptime", "whoami", "uname", "lsb_release"):
        refused(await bench.run(tool, None, {"options": "--help"}), "input_unknown")


# id, whoami, uname


async def test_id_gives_numbers_and_names(bench: Bench) -> None:
    me = pwd.getpwuid(os.geteuid())
    row = data(await bench.run("id"))
    assert row["uid"] == {"id": me.pw_uid, "name": me.pw_name}
    assert row["gid"] == {"id": os.getegid(), "name": grp.getgrgid(os.getegid()).gr_name}
    assert {"id": os.getegid(), "name": grp.getgrgid(os.getegid()).gr_name} in row["groups"]
    other = data(await bench.run("id", None, {"user": "daemon"}))
    assert other["uid"] == {"id": pwd.getpwnam("daemon").pw_uid, "name": "daemon"}


async def test_id_of_an_unknown_user_fails_with_its_words(bench: Bench) -> None:
    says(await bench.run("id", None, {"user": ABSENT_USER}), "no such user")
    refused(await bench.run("id", None, {"user": "--help"}), "input_invalid")


async def test_whoami_gives_the_name(bench: Bench) -> None:
    assert data(await bench.run("whoami")) == pwd.getpwuid(os.geteuid()).pw_name


async def test_uname_gives_what_the_kernel_says(bench: Bench) -> None:
    row = data(await bench.run("uname"))
    known = platform.uname()
    assert (row["kernel_name"], row["node_name"]) == (known.system, known.node)
    assert (row["kernel_release"], row["kernel_version"]) == (known.release, known.version)
    assert row["machine"] == known.machine
    assert data(await bench.run("uname", "release")) == known.release


# hostname, lsb_release


@pytest.mark.integration
async def test_hostname_gives_names_and_addresses(bench: Bench) -> None:
    program("hostname")
    assert data(await bench.run("hostname")) == socket.gethostname()
    addresses = data(await bench.run("hostname", "addresses"))
    families = {socket.AF_INET if "." in address else socket.AF_INET6 for address in addresses}
    for address in addresses:
        socket.inet_pton(socket.AF_INET if "." in address else socket.AF_INET6, address)
    assert "127.0.0.1" not in addresses
    assert len(families) <= 2
    result = await bench.run("hostname", "fqdn")
    if result.status is StepStatus.COMPLETED:
        assert data(result) == socket.getfqdn() or data(result).startswith(socket.gethostname())
    else:
        says(result, "hostname:")


@pytest.mark.integration
def test_hostname_sets_the_name_in_a_namespace_of_its_own() -> None:
    program("hostname")
    program("unshare", "util-linux")
    root()
    before = socket.gethostname()
    done = subprocess.run(
        ["unshare", "--uts", sys.executable, "-c", SET_NAME],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=ROOT_FOLDER,
        env={**os.environ, "PYTHONPATH": str(ROOT_FOLDER)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [before, "completed", "renamed-by-test"]
    assert socket.gethostname() == before


@pytest.mark.integration
async def test_hostname_refuses_what_is_no_name(bench: Bench) -> None:
    inputs: list[dict[str, Any]] = [{"name": "-F/etc/passwd"}, {"name": "a b"}, {"name": "x" * 65}]
    for given in inputs:
        result = await bench.run("hostname", "set", given)
        assert result.error is not None
        assert result.error.code in ("input_invalid", "input_too_large", "option_like_argument")
        assert "stdout" not in result.output


@pytest.mark.integration
async def test_lsb_release_gives_what_the_system_says_of_itself(bench: Bench) -> None:
    program("lsb_release", "lsb-release")
    row = data(await bench.run("lsb_release"))
    known = platform.freedesktop_os_release()
    assert row["distributor_id"].casefold() == known["ID"].casefold()
    assert row["codename"] == known.get("VERSION_CODENAME", "n/a")
    assert row["release"] == known.get("VERSION_ID", "n/a")
