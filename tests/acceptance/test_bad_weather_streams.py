"""Standard streams that are closed, full or read by nobody: what is done is done, and its exit code stays true."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.site import site_tools
from tests.cli import PROGRAM, Home

pytestmark = pytest.mark.integration

PLAN = """
name: three marks
steps:
  - {id: one, tool: mark, inputs: {path: "%(folder)s/one"}}
  - {id: two, tool: mark, inputs: {path: "%(folder)s/two"}, depends_on: [one]}
  - {id: three, tool: mark, inputs: {path: "%(folder)s/three"}, depends_on: [two]}
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "state", OPSCONDUCTOR_TOOLS_PATH=site_tools(tmp_path / "site"))


@pytest.fixture
def full() -> Iterator[int]:
    fd = os.open("/dev/full", os.O_WRONLY)
    yield fd
    os.close(fd)


def shell(home: Home, line: str) -> subprocess.CompletedProcess[bytes]:
    """A command line with redirections, which only a shell can make; `$0` is the program."""
    return subprocess.run(
        ["/bin/bash", "-c", line, str(PROGRAM)],
        env=home.environment(),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "code"), [("exec uname", 0), ("exec ls paths=/absent", 1), ("tools list", 0)])
def test_closed_streams_change_nothing_but_what_is_heard(home: Home, closed: str, command: str, code: int) -> None:
    done = shell(home, f"$0 {command} {closed}")
    assert done.returncode == code, done
    assert b"Traceback" not in done.stderr


def test_a_plan_on_a_closed_standard_input_is_an_empty_plan(home: Home) -> None:
    done = shell(home, "$0 run - <&-")
    assert done.returncode == 2 and b"Traceback" not in done.stderr, done


@pytest.mark.parametrize("command", ["exec uname", "exec uname --json", "executions list", "tools list", "--help"])
def test_output_that_cannot_be_written_is_one_error_and_no_trace(home: Home, full: int, command: str) -> None:
    done = subprocess.run(
        [PROGRAM, *command.split()],
        env=home.environment(),
        stdout=full,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1, done
    assert done.stderr.startswith(b"error: the result could not be written to standard output"), done.stderr
    assert b"Traceback" not in done.stderr


def test_a_plan_runs_to_its_end_although_nobody_can_be_told(home: Home, tmp_path: Path, full: int) -> None:
    plan = home.plan("plan.yaml", PLAN % {"folder": tmp_path})
    done = subprocess.run(
        [PROGRAM, "run", plan], env=home.environment(), stdout=subprocess.PIPE, stderr=full, timeout=30, check=False
    )
    assert done.returncode == 0 and b"completed" in done.stdout, done
    assert (tmp_path / "three").exists()


def test_a_reader_of_the_progress_that_leaves_does_not_stop_the_plan(home: Home, tmp_path: Path) -> None:
    plan = home.plan("plan.yaml", PLAN % {"folder": tmp_path})
    done = shell(home, f"$0 run {plan} 2>&1 | head -c 1; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0, done
    assert (tmp_path / "three").exists()
    assert [row["status"] for row in home.history()] == ["completed"]
