"""Processes that are killed, frozen or told to stop in the middle of a step: history stays true, nothing runs twice."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.site import site_tools
from tests.cli import Home, alive, finish, http

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TALLY = """
tool_name: tally
execution_location: automation-service
version: "1.0"
description: Write down when it starts and when it ends.
platform: linux
category: custom
runs_on: target
inputs:
  path: {type: string, format: path, description: The file to write to., required: true}
  seconds: {type: number, description: How long it takes., default: 0, minimum: 0, maximum: 60, unit: seconds}
operations:
  count:
    description: Start, wait, end.
    effect: change
    idempotent: false
    argv: [/bin/sh, -c, 'echo start >> "$1"; sleep "$2"; echo end >> "$1"', tally, "{path}", "{seconds}"]
    timeout_s: 60
"""
PLAN = """
name: two counts
steps:
  - {id: first, tool: tally, timeout_s: %(limit)s, inputs: {path: "%(path)s", seconds: %(seconds)s}}
  - {id: second, tool: tally, depends_on: [first], inputs: {path: "%(path)s.second"}}
"""
TOKEN = "t" * 40


class Place:
    """A state folder with the tool, and the file in which the tool leaves its marks."""

    def __init__(self, folder: Path) -> None:
        tools = site_tools(folder / "site", tally=TALLY)
        common = {"OPSCONDUCTOR_TOOLS_PATH": tools, "OPSCONDUCTOR_SERVICE_TOKEN": TOKEN}
        self.home = Home(folder / "state", **common)
        self.service = Home(folder / "service", OPSCONDUCTOR_DEFAULT_TARGET="local", **common)
        self.path = folder / "marks"
        self.path.touch()

    @property
    def marks(self) -> list[str]:
        return self.path.read_text().split()

    def until(self, *marks: str) -> None:
        """Wait until the tool has left these marks."""
        wait_for(lambda: self.marks == list(marks))

    def plan(self, seconds: float, limit: float = 60) -> Path:
        return self.home.plan("plan.yaml", PLAN % {"path": self.path, "seconds": seconds, "limit": limit})

    def exec(self, seconds: float) -> tuple[str, ...]:
        return ("exec", "tally", f"path={self.path}", f"seconds={seconds}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def wait_for(condition: Callable[[], bool], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def request(place: Place, seconds: float) -> dict[str, Any]:
    step = {"id": "first", "tool": "tally", "inputs": {"path": str(place.path), "seconds": seconds}, "target": "local"}
    return {"execution_id": "0190a0b0-0000-7000-8000-000000000001", "plan": {"steps": [step]}}


def test_after_a_kill_of_run_its_step_is_in_doubt_and_its_child_may_go_on(place: Place) -> None:
    process = place.home.start("run", place.plan(1))
    place.until("start")
    process.kill()
    finish(process)
    (row,) = place.home.history()
    shown = place.home.run("executions", "show", row["execution_id"], "--json").json
    assert [step["status"] for step in shown["steps"]] == ["outcome_unknown", "skipped"]
    assert "go on" in shown["steps"][0]["error"]["message"]
    place.until("start", "end")  # as the record says, it may go on
    assert [row["status"] for row in place.home.history()] == ["outcome_unknown"]
    assert place.marks == ["start", "end"]


def test_a_server_that_is_killed_leaves_its_client_a_doubt_with_the_way_to_clear_it(place: Place) -> None:
    with place.home.serving("up") as server:
        client = place.home.start(*place.exec(1), "--json")
        place.until("start")
        server.process.kill()
        result = finish(client)
    assert result.code == 4, result
    (row,) = place.home.history()
    assert row["status"] == "outcome_unknown"
    assert f"executions show {row['execution_id']}" in result.json["error"]["message"]
    with place.home.serving("up"):
        assert [row["status"] for row in place.home.history()] == ["outcome_unknown"]
    assert place.marks in (["start"], ["start", "end"])


def test_a_server_told_to_stop_lets_the_step_end_and_its_client_know(place: Place) -> None:
    with place.home.serving("up") as server:
        client = place.home.start(*place.exec(1))
        place.until("start")
        server.process.send_signal(signal.SIGTERM)
        result = finish(client)
        assert server.end() == 0
    assert result.code == 0, result
    assert place.marks == ["start", "end"]
    assert [row["status"] for row in place.home.history()] == ["completed"]


def test_a_service_killed_in_a_step_leaves_a_doubt_and_never_repeats_it(place: Place) -> None:
    with place.service.serving("serve", "automation-service") as service:
        process = place.home.start("run", place.plan(1), "--json", env={"AUTOMATION_SERVICE_URL": service.url})
        place.until("start")
        service.process.kill()
        result = finish(process)
    assert result.code == 4, result
    assert [step["status"] for step in result.json["step_results"]] == ["outcome_unknown", "skipped"]
    key = place.home.run("executions", "show", result.json["execution_id"], "--json").json["steps"][0]["dispatch_id"]
    inputs = {"path": str(place.path), "seconds": 1}
    step = {"id": "first", "tool": "tally", "inputs": inputs, "timeout_s": 60}
    body = {"execution_id": result.json["execution_id"], "plan": {"steps": [step], "name": "two counts"}}
    with place.service.serving("serve", "automation-service") as service:
        headers = {"Idempotency_Key": key, "OpsConductor_Version": "1"}
        for _ in range(3):
            status, answer = http(service.url, "/execute-plan", body, token=TOKEN, **headers)
            assert (status, json.loads(answer).get("status")) in ((200, "outcome_unknown"), (422, 422)), answer
    assert place.marks.count("start") == 1


def test_a_service_that_is_frozen_beyond_the_limit_leaves_a_doubt(place: Place) -> None:
    with place.service.serving("serve", "automation-service") as service:
        env = {"AUTOMATION_SERVICE_URL": service.url, "OPSCONDUCTOR_ANSWER_GRACE_S": "0.5"}
        process = place.home.start("run", place.plan(1, limit=1.5), "--json", env=env)
        place.until("start")
        os.kill(service.process.pid, signal.SIGSTOP)
        try:
            result = finish(process)
        finally:
            os.kill(service.process.pid, signal.SIGCONT)
    assert result.code == 4, result
    assert [step["status"] for step in result.json["step_results"]] == ["outcome_unknown", "skipped"]
    assert [row["status"] for row in place.home.history()] == ["outcome_unknown"]


def test_a_server_that_is_told_many_times_still_ends_what_it_runs_and_says_so(place: Place) -> None:
    with place.home.serving("up") as server:
        client = place.home.start(*place.exec(37), "--json")
        place.until("start")
        while server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        assert server.process.returncode == 0
        finish(client)
    assert alive(str(place.path)) == []
    assert [row["status"] for row in place.home.history()] == ["cancelled"]
    assert place.marks == ["start"]


@pytest.mark.parametrize("what", [("serve", "automation-service"), ("up",)])
def test_a_hundred_repeats_at_once_do_the_work_once(place: Place, what: tuple[str, ...]) -> None:
    with place.service.serving(*what) as server, ThreadPoolExecutor(16) as pool:
        body = request(place, 0.3)

        def send(_number: int) -> tuple[int, Any]:
            status, answer = http(server.url, "/execute-plan", body, token=TOKEN, Idempotency_Key="one")
            return status, json.loads(answer).get("status")

        answers = set(pool.map(send, range(100)))
    assert place.marks == ["start", "end"]
    assert answers <= {(200, "completed"), (409, 409)} and (200, "completed") in answers
