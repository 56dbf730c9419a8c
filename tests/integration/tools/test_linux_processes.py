"""kill, pkill, killall, nice and renice on processes that the tests start, and on no others."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from tests.harness import service
from tests.needs import program, root

pytestmark = pytest.mark.integration
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def sleeper(tmp_path: Path) -> Path:
    """A copy of sleep under a name that no other process has (15 characters)."""
    for name, package in (("pkill", "procps"), ("killall", "psmisc"), ("renice", "bsdutils"), ("ps", "procps")):
        program(name, package)
    path = tmp_path / f"oc{uuid4().hex[:13]}"
    shutil.copy(program("sleep", "coreutils"), path)
    return path


@pytest.fixture
def start(sleeper: Path) -> Iterator[Start]:
    """Starts the sleeper; each process is gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([str(sleeper), *(arguments or ("600",))])
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(10)


async def _run(tool: str, operation: str, **inputs: Any) -> StepResult:
    async with service() as bench:
        return await bench.run(tool, operation, inputs)


async def test_kill_sends_the_signal_to_these_processes_alone(start: Start) -> None:
    first, second, third = start(), start(), start()
    result = await _run("kill", "send", pids=[first.pid, second.pid], signal="INT")
    assert result.status is StepStatus.COMPLETED, result.error
    assert (first.wait(10), second.wait(10)) == (-signal.SIGINT, -signal.SIGINT)
    assert third.poll() is None


async def test_kill_fails_when_a_process_is_not_there(start: Start) -> None:
    gone = start()
    gone.kill()
    gone.wait(10)
    result = await _run("kill", "send", pids=[gone.pid])
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert "No such process" in result.error.message


@pytest.mark.parametrize("pid", [1, 0, -1, -4242, "1; true", "-1"])
async def test_kill_cannot_name_groups_everyone_or_the_first_process(pid: object) -> None:
    result = await _run("kill", "send", pids=[pid], signal="CONT")
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert result.error.code == "input_invalid"


async def test_kill_shows_who_has_the_numbers(start: Start, sleeper: Path) -> None:
    process = start()
    result = await _run("kill", "processes", pids=[process.pid, 4194304])
    assert result.status is StepStatus.COMPLETED, result.error
    (row,) = result.output["data"]
    assert (row["pid"], row["ppid"], row["command"]) == (process.pid, os.getpid(), f"{sleeper} 600")


async def test_kill_knows_the_signals() -> None:
    result = await _run("kill", "signals")
    assert result.status is StepStatus.COMPLETED, result.error
    assert {"TERM", "KILL", "HUP"} <= set(result.output["data"])


async def test_pkill_previews_and_then_ends_what_has_the_name(start: Start, sleeper: Path) -> None:
    process = start()
    preview = await _run("pkill", "preview", pattern=sleeper.name)
    assert [row["pid"] for row in preview.output["data"]] == [process.pid]
    assert process.poll() is None
    result = await _run("pkill", "send", pattern=sleeper.name)
    assert result.status is StepStatus.COMPLETED, result.error
    assert process.wait(10) == -signal.SIGTERM
    after = await _run("pkill", "preview", pattern=sleeper.name)
    assert (after.status, after.output["data"]) == (StepStatus.COMPLETED, [])


async def test_pkill_by_command_line_spares_others_and_itself(start: Start, sleeper: Path) -> None:
    meant, other = start("601"), start("602")
    result = await _run("pkill", "send_part", pattern=f"{sleeper.name} 601", full=True, signal="KILL")
    assert result.status is StepStatus.COMPLETED, result.error
    assert meant.wait(10) == -signal.SIGKILL
    assert other.poll() is None
    preview = await _run("pkill", "preview_part", pattern=sleeper.name, full=True)
    assert [row["pid"] for row in preview.output["data"]] == [other.pid]


async def test_pkill_whole_name_does_not_take_a_part_of_it(start: Start, sleeper: Path) -> None:
    process = start()
    result = await _run("pkill", "send", pattern=sleeper.name[:-1])
    assert result.status is StepStatus.FAILED
    assert process.poll() is None


@pytest.mark.parametrize("pattern", [".*", ".", "a", "", "x|.", "-1", "[a-z][a-z]", "^..", "ab*"])
async def test_pkill_refuses_patterns_that_fit_nearly_everything(pattern: str) -> None:
    result = await _run("pkill", "send", pattern=pattern, signal="CONT")
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert result.error.code in ("input_invalid", "option_like_argument")


async def test_killall_ends_every_process_with_the_name(start: Start, sleeper: Path) -> None:
    first, second = start(), start()
    preview = await _run("killall", "preview", name=sleeper.name)
    assert {row["pid"] for row in preview.output["data"]} == {first.pid, second.pid}
    result = await _run("killall", "send", name=sleeper.name, signal="HUP")
    assert result.status is StepStatus.COMPLETED, result.error
    assert (first.wait(10), second.wait(10)) == (-signal.SIGHUP, -signal.SIGHUP)


async def test_killall_spares_the_processes_of_other_users(start: Start, sleeper: Path) -> None:
    process = start()
    result = await _run("killall", "send", name=sleeper.name, user="nobody")
    assert result.status is StepStatus.FAILED
    assert process.poll() is None


async def test_nice_starts_a_program_with_the_adjusted_niceness() -> None:
    before = await _run("nice", "show")
    assert before.status is StepStatus.COMPLETED, before.error
    result = await _run("nice", "run", command=["nice"], adjustment=3)
    assert result.status is StepStatus.COMPLETED, result.error
    assert int(result.output["stdout"]) == min(before.output["data"] + 3, 19)


async def test_nice_takes_what_follows_the_program_for_its_arguments() -> None:
    result = await _run("nice", "run", command=["printf", "%s|", "-n", "a b", "$(id)"])
    assert result.output["stdout"] == "-n|a b|$(id)|"
    assert (await _run("nice", "run", command=["--version"])).status is StepStatus.FAILED


async def test_renice_sets_and_resets_the_niceness(start: Start) -> None:
    root()
    process = start()
    result = await _run("renice", "set", pids=[process.pid], priority=7)
    assert result.status is StepStatus.COMPLETED, result.error
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 7
    again = await _run("renice", "set", pids=[process.pid], priority=7)
    assert again.status is StepStatus.COMPLETED, again.error
    shown = await _run("renice", "show", pids=[process.pid])
    assert [row["nice"] for row in shown.output["data"]] == [7]
    await _run("renice", "reset", pids=[process.pid])
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 0


async def test_renice_takes_negative_priorities(start: Start) -> None:
    root()
    process = start()
    result = await _run("renice", "set", pids=[process.pid], priority=-3)
    assert result.status is StepStatus.COMPLETED, result.error
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == -3
