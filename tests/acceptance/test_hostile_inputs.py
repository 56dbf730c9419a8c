"""Inputs that broke systems of this kind, against every tool of the catalog, the service, the server and the command.

hostile_inputs.jsonl has one a line: `id`, `kind`, and `text` or `repeat` (a text and how often). `$CANARY` stands for a
file that exists only when an input was obeyed.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import pytest

from opsconductor.bootstrap.services import AUTOMATION, COMMUNICATION
from opsconductor.catalog.inputs import check_inputs
from opsconductor.catalog.render import render_command
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import PlanRequest, StepRequest
from opsconductor.model.tool import Effect, InputSpec, Operation, ToolDefinition
from tests.acceptance.site import site_tools
from tests.cli import PROGRAM, Home, http
from tests.harness import service, shipped_catalog

pytestmark = pytest.mark.timeout(120)


class Hostile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file."""

    id: str
    kind: str
    text: str = ""
    repeat: tuple[str, int] = ("", 0)

    def value(self, canary: Path) -> str:
        """The input, with the canary's path in it."""
        return (self.text + self.repeat[0] * self.repeat[1]).replace("$CANARY", str(canary))


def hostile(*kinds: str) -> list[Hostile]:
    """The inputs of these kinds."""
    lines = Path(__file__).with_name("hostile_inputs.jsonl").read_bytes().splitlines()
    found = [msgspec.json.decode(line, type=Hostile) for line in lines]
    return [one for one in found if one.kind in kinds]


def by_id(*kinds: str) -> pytest.MarkDecorator:
    """A parameter for each input of these kinds."""
    return pytest.mark.parametrize("bad", hostile(*kinds), ids=lambda bad: bad.id)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Where an obeyed input leaves its mark; the test fails when anything of that name is there at its end."""
    folder = tmp_path / "cage"
    folder.mkdir()
    yield folder / "canary"
    assert list(folder.iterdir()) == [], "an input was obeyed"


# Every tool, rendered


def text_inputs(definition: ToolDefinition) -> Iterator[tuple[str, str, Operation, InputSpec]]:
    """(operation, input) of every operation that is a command, for each input that people write."""
    for operation_name, operation in definition.operations.items():
        if operation.argv is None:
            continue
        for name, spec in definition.inputs.items():
            texts = spec.type == "string" or (spec.type == "array" and spec.items in (None, "string"))
            if texts and spec.source == "caller":
                yield operation_name, name, operation, spec


def rendered(
    definition: ToolDefinition, operation: str, name: str, spec: InputSpec, value: str
) -> tuple[tuple[str, ...], str] | None:
    """The command and its stdin with `value` in one input and the rest from the example; None when it is refused."""
    base = (
        dict(definition.operations[operation].examples[0].inputs) if definition.operations[operation].examples else {}
    )
    try:
        checked = check_inputs(definition, operation, {**base, name: [value] if spec.type == "array" else value})
        command = render_command(definition, operation, checked)
    except OpsError as error:
        assert error.code in {
            "input_invalid",
            "input_too_large",
            "input_unknown",
            "input_missing",
            "option_like_argument",
        }
        return None
    return command.argv, (command.stdin or b"").decode()


@pytest.mark.slow
@by_id("command", "option", "template", "output")
def test_no_tool_lets_a_value_become_more_than_one_argument(bad: Hostile, canary: Path) -> None:
    value = bad.value(canary)
    refused = passed = 0
    for entry in shipped_catalog().entries():
        for operation_name, name, operation, spec in text_inputs(entry.definition):
            found = rendered(entry.definition, operation_name, name, spec, value)
            where = f"{entry.tool_name} {operation_name} {name}"
            if found is None:
                refused += 1
                continue
            argv, _ = found
            passed += 1
            assert operation.argv is not None and argv[0] == operation.argv[0], f"{where}: the program is fixed"
            with_value = [element for element in argv if value in element]
            others = [element for element in argv if element not in with_value]
            # What is left of the value must not have spread over further arguments.
            assert not any(str(canary) in element for element in others), f"{where}: {argv}"
            if value.startswith("-") and not spec.allow_leading_dash:
                assert not any(element.startswith(value) for element in argv), f"{where}: {argv}"
    assert refused > 0, "no tool looks at this input"
    assert passed > 0 or bad.id in ("cmdinj-14", "cmdinj-15") or bad.kind == "option", "no tool takes it as text"


def test_no_definition_puts_a_value_where_a_program_or_a_script_stands() -> None:
    shells = {"sh", "bash", "dash", "zsh", "ksh", "env", "xargs", "/bin/sh", "/bin/bash", "cmd", "cmd.exe"}
    for entry in shipped_catalog().entries():
        for operation_name, operation in entry.definition.operations.items():
            argv = operation.argv
            if not argv:
                continue
            assert isinstance(argv[0], str) and "{" not in argv[0], f"{entry.tool_name} {operation_name}"
            if argv[0] in shells and entry.id != argv[0]:
                flat = [element for part in argv for element in ([part] if isinstance(part, str) else part)]
                scripts = [flat[place + 1] for place, element in enumerate(flat[:-1]) if element == "-c"]
                assert not any("{" in script for script in scripts), f"{entry.tool_name} {operation_name}"


# The same inputs are alive


@by_id("command")
def test_a_naive_shell_runner_obeys_them(bad: Hostile, tmp_path: Path) -> None:
    canary = tmp_path / "obeyed"
    value = bad.value(canary)
    if "\0" in value or len(value) > 100_000:
        with pytest.raises((ValueError, OSError)):
            subprocess.run(["true", value], check=False)
        return
    for line in (f"true {value}", f'true "{value}"'):
        subprocess.run(["sh", "-c", line], check=False, stderr=subprocess.DEVNULL)
    assert canary.exists(), "this input proves nothing"


def test_a_naive_argument_list_obeys_options(tmp_path: Path) -> None:
    canary = tmp_path / "obeyed"
    [bad] = [one for one in hostile("option") if one.text == "-o$CANARY"]
    subprocess.run(["sort", bad.value(canary), "/dev/null"], check=True)
    assert canary.exists(), "this input proves nothing"


# Executed for real


@pytest.mark.integration
@pytest.mark.slow
async def test_commands_that_really_run_obey_nothing(canary: Path) -> None:
    ran = 0
    async with service(AUTOMATION) as bench:
        jobs = []
        for entry in shipped_catalog().entries():
            if entry.execution_location != AUTOMATION or entry.category != "linux":
                continue
            for operation_name, name, operation, spec in text_inputs(entry.definition):
                if operation.effect is not Effect.READ or operation.not_executable or operation.argv is None:
                    continue
                if shutil.which(str(operation.argv[0])) is None:
                    continue
                base = dict(operation.examples[0].inputs) if operation.examples else {}
                for bad in hostile("command", "option"):
                    value = bad.value(canary)
                    given = {**base, name: [value] if spec.type == "array" else value}
                    jobs.append((entry.definition.tool_name, operation_name, given))
        slots = asyncio.Semaphore(8)

        async def one(tool: str, operation: str, given: dict[str, Any]) -> bool:
            async with slots:
                result = await bench.run(tool, operation, given, target="local", timeout_s=2)
            assert str(result.status) in ("completed", "failed", "timeout"), result
            return "argv" in result.output

        ran = sum(await asyncio.gather(*(one(*job) for job in jobs)))
    assert len(jobs) > 200 and ran > 50, f"{ran} of {len(jobs)} were started; the rest were refused"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A site with a tool that says what it is told."""
    folder = tmp_path_factory.mktemp("hostile")
    say = """
tool_name: say
execution_location: automation-service
version: "1.0"
description: Print a text as it is.
platform: linux
category: custom
runs_on: target
inputs:
  text: {type: string, description: What to print., required: true, multiline: true, allow_leading_dash: true}
operations:
  say: {description: Print it., effect: read, argv: [printf, "%s", "{text}"]}
"""
    return Home(folder / "home", OPSCONDUCTOR_TOOLS_PATH=site_tools(folder / "tools", say=say))


SAY = "inputs: {text: {type: string}}\nsteps:\n  - {id: s, tool: say, inputs: {text: '{{ inputs.text }}'}}\n"


@pytest.mark.slow
@by_id("command", "option", "template", "output")
def test_what_a_person_passes_arrives_letter_by_letter(home: Home, bad: Hostile, canary: Path) -> None:
    value = bad.value(canary)
    if len(value) > 100_000:
        plan = json.dumps({"steps": [{"tool": "say", "inputs": {"text": value}}]}).encode()
        result = home.run("run", "-", "--json", stdin=plan)
        assert result.code == 2 and "input_too_large" in result.out, result
        return
    given = json.dumps(value)
    result = home.run("run", "-", "-i", f"text:={given}", "--json", stdin=SAY.encode())
    if "\0" in value:
        assert result.code == 2 and "input_invalid" in result.out, result
        return
    assert result.code == 0, result
    assert result.json["step_results"][0]["output"]["stdout"] == value


@pytest.mark.slow
@by_id("template")
def test_expressions_reach_nothing_but_the_plans_values(home: Home, bad: Hostile, canary: Path) -> None:
    value = bad.value(canary)
    document = {"steps": [{"id": "s", "tool": "say", "inputs": {"text": value}, "when": "{{ " + value + " }}"}]}
    result = home.run("explain", "-", "--json", stdin=json.dumps(document).encode())
    assert result.code == 2 and result.json["error"]["code"] in ("expression_invalid", "step_invalid", "plan_invalid")
    document = {"steps": [{"id": "s", "tool": "say", "inputs": {"text": value}}]}
    literal = home.run("run", "-", "--json", stdin=json.dumps(document).encode())
    if literal.code == 0:
        assert literal.json["step_results"][0]["output"]["stdout"] == value
    else:
        assert literal.code in (1, 2) and "expression_invalid" in literal.out, literal


def test_environment_names_are_an_allow_list(home: Home) -> None:
    names = [bad.text for bad in hostile("environment")]
    steps = [{"id": f"s{n}", "tool": "uname", "env": {name: "/x"}} for n, name in enumerate(names)]
    result = home.run("run", "-", "--json", stdin=json.dumps({"steps": steps}).encode())
    assert result.code == 2
    assert [(p["code"], p["found"]) for p in result.problems] == [("env_name_not_allowed", name) for name in names]


async def test_a_service_keeps_the_same_allow_list_for_itself() -> None:
    async with service(AUTOMATION) as bench:
        for bad in hostile("environment"):
            step = StepRequest(tool="uname", id="s", env={bad.text: "/x"})
            response = await bench.service.execute_plan(PlanRequest(execution_id=str(uuid4()), steps=(step,)))
            error = response.step_results[0].error
            assert error is not None and error.code == "env_name_not_allowed"


@by_id("destination")
async def test_webhooks_go_nowhere_that_nobody_allowed(bad: Hostile, canary: Path) -> None:
    async with service(COMMUNICATION) as bench:
        result = await bench.run("webhook-sender", None, {"url": bad.value(canary), "payload": {"a": 1}}, timeout_s=10)
    assert result.error is not None and str(result.status) == "failed"
    assert result.error.code in ("destination_not_allowed", "input_invalid"), result


# What people see


@pytest.mark.slow
@by_id("output")
def test_a_terminal_shows_output_and_does_not_obey_it(home: Home, bad: Hostile, canary: Path) -> None:
    value = bad.value(canary)
    tools = Path(home.env["OPSCONDUCTOR_TOOLS_PATH"])
    payload = tools.parent / f"payload-{bad.id}"
    payload.write_text(value + "\n")
    shown = on_a_terminal(home, "exec", "cat", f"paths={payload}")
    assert value.split("\x1b")[-1].strip() in shown or "\\x1b" in shown
    if "\x1b" in value:
        assert value not in shown and "\\x1b]" in shown
    piped = home.run("exec", "cat", f"paths={payload}", "--json")
    assert piped.json["step_results"][0]["output"]["stdout"] == value + "\n", "what is recorded is what was printed"
    plan: dict[str, Any] = {"name": "say", "steps": [{"id": "s", "tool": "cat", "inputs": {"paths": [str(payload)]}}]}
    plan["outputs"] = {"shown": "{{ steps.s.output.stdout }}"}
    words = home.run("run", "-", stdin=json.dumps(plan).encode())
    assert "\x1b" not in words.out + words.err and words.code == 0, words


def on_a_terminal(home: Home, *args: str) -> str:
    """What a terminal receives from a command."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=home.environment({"TERM": "xterm"})
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # EIO: the last process closed the terminal
            break
        if not chunk:
            break
        received += chunk
    os.close(ours)
    process.wait(20)
    return received.decode("utf-8", "replace")


# The server


@pytest.mark.integration
def test_requests_that_are_no_requests_are_refused_and_the_server_lives(home: Home, canary: Path) -> None:
    with home.serving("up") as server:
        for bad in hostile("parser"):
            text = bad.value(canary)
            for body in (text.encode(), json.dumps({"document": text}).encode()):
                status = raw_post(server.url, "/execute-plan", body, home.token)
                assert status in (400, 413, 422), (bad.id, status)
        for bad in hostile("path"):
            name = bad.value(canary)
            for path in ("/api/v1/executions/{}", "/api/v1/executions/{}/logs", "/executions/{}/cancel", "/{}"):
                method: dict[str, Any] = {"body": {}} if path.endswith("cancel") else {}
                status, answer = http(server.url, path.format(quote(name, safe="")), token=home.token, **method)
                assert status in (404, 405) and b"root:" not in answer, (bad.id, path, status)
            wanted = {"execution_id": name, "plan": {"steps": [{"tool": "uname"}]}}
            status, answer = http(server.url, "/execute-plan", wanted, token=home.token)
            assert (status, json.loads(answer)["code"]) == (422, "request_invalid"), (bad.id, answer)
        status, answer = http(server.url, "/api/v1/executions?user=admin")
        assert status == 401
        status, answer = http(server.url, "/api/v1/executions?user=admin", token=home.token)
        assert (status, json.loads(answer)["field"]) == (422, "user")
        assert http(server.url, "/health", Range="bytes=" + "0-0," * 1000)[0] in (200, 400, 431)
        assert http(server.url, "/ready")[0] == 200


def raw_post(url: str, path: str, body: bytes, token: str) -> int:
    """The status that a body of any bytes gets."""
    import urllib.error
    import urllib.request

    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return refusal.code
