"""Many requests, many steps and odd output: nothing leaks, nothing is lost, nothing is forged."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.site import site_tools
from tests.cli import Home, alive

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SAY = """
tool_name: say
execution_location: automation-service
version: "1.0"
description: Print what is asked for, as odd as it may be.
platform: linux
category: custom
runs_on: target
inputs:
  format: {type: string, description: What printf gets., allow_leading_dash: true}
  word: {type: string, description: A secret that is printed., secret: true}
  marker: {type: string, description: What shows in the process list., default: none}
operations:
  print: {description: Print., effect: read, argv: [/bin/sh, -c, 'printf "$1"', say, "{format}"], timeout_s: 20}
  leave:
    description: Leave a process behind that holds the output.
    effect: read
    argv: [/bin/sh, -c, 'setsid sh -c "sleep 5" "$1" & echo said', say, "{marker}"]
    timeout_s: 20
  reveal:
    description: Print the secret.
    effect: read
    argv: [/bin/sh, -c, 'echo "$WORD"; echo "$WORD" >&2; printf "$WORD" | base64']
    env: {WORD: "{word}"}
    timeout_s: 20
default_operation: print
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "state", OPSCONDUCTOR_TOOLS_PATH=site_tools(tmp_path / "site", say=SAY))


def output_of(home: Home, *args: str) -> dict[str, Any]:
    result = home.run("exec", "say", "--json", *args)
    assert result.code == 0, result
    output: dict[str, Any] = result.json["step_results"][0]["output"]
    return output


class Client:
    """One kept connection."""

    def __init__(self, url: str, token: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def status(self, tool: str) -> str:
        step = {"tool": tool, "inputs": {}, "target": "local"}
        body = {"execution_id": str(uuid.uuid4()), "plan": {"steps": [step]}}
        self._connection.request("POST", "/execute-plan", json.dumps(body), self._headers)
        return str(json.loads(self._connection.getresponse().read())["status"])

    def close(self) -> None:
        self._connection.close()


def files_and_memory_kb(pid: int) -> tuple[int, int]:
    status = Path(f"/proc/{pid}/status").read_text()
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status.partition("VmRSS:")[2].split()[0])


def test_a_server_under_load_keeps_its_files_and_its_memory(home: Home) -> None:
    with home.serving("up") as server:
        clients = [Client(server.url, home.token) for _ in range(4)]
        for client in clients:
            assert {client.status("uname") for _ in range(25)} == {"completed"}
        files, memory_kb = files_and_memory_kb(server.process.pid)
        for client in clients:
            assert {client.status("uname") for _ in range(60)} == {"completed"}
        later_files, later_memory_kb = files_and_memory_kb(server.process.pid)
        for client in clients:
            client.close()
    assert later_files <= files + 2
    # Answers are remembered for repeats, within bounds: some 5 KB each.
    assert later_memory_kb - memory_kb < 240 * 10 + 4_000


def test_two_hundred_steps_at_once_each_keep_their_own_output(home: Home) -> None:
    steps = [
        {"id": f"s{number}", "tool": "say", "depends_on": [], "inputs": {"format": str(number)}}
        for number in range(200)
    ]
    plan = home.plan("plan.json", json.dumps({"name": "wide", "steps": steps}))
    result = home.run("run", plan, "--json")
    assert result.code == 0, result.err
    said = [step["output"]["stdout"] for step in result.json["step_results"]]
    assert said == [str(number) for number in range(200)]


def test_odd_bytes_come_out_as_text_and_never_as_control_of_a_document(home: Home) -> None:
    output = output_of(home, r"format=a\000b\377\033[31m\r\n{}")
    assert output["stdout"] == "a\x00b\ufffd\x1b[31m\r\n{}"
    assert output["stdout_bytes"] == 13


def test_a_process_left_behind_with_the_output_open_is_named_and_not_waited_for(home: Home, tmp_path: Path) -> None:
    marker = tmp_path.name + "-left"
    started = time.monotonic()
    output = output_of(home, "-o", "leave", f"marker={marker}")
    assert time.monotonic() - started < 4
    assert output["stdout"] == "said\n"
    assert output["open_streams"] == ["stdout", "stderr"]
    assert len(output["leftover_pids"]) >= 1 and alive(marker)


def test_a_secret_is_nowhere_in_what_is_shown_or_kept(home: Home) -> None:
    plan = """
name: told
inputs: {key: {type: string, secret: true}}
steps:
  - {id: a, tool: say, operation: reveal, inputs: {WORD: "{{ inputs.key }}"}}
  - {id: b, tool: say, inputs: {format: "key={{ steps.a.output.stdout[:3] }}"}, depends_on: [a]}
"""
    result = home.run("run", home.plan("plan.yaml", plan), "-i", "key=correcthorsebattery", "--json")
    assert result.code == 0, result
    steps = result.json["step_results"]
    assert steps[0]["output"]["stdout"].startswith("***\n") and steps[1]["output"]["stdout"].startswith("key=***")
    assert "correcthorse" not in result.out + result.err
    kept = [path for path in home.folder.rglob("*") if path.is_file() and b"correcthorse" in path.read_bytes()]
    assert kept == []
