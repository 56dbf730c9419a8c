"""What bad input gets, through the real command: one clear error with its place, nothing half done, nobody hanging."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.acceptance.site import site_tools
from tests.cli import Home, Result
from tests.http_peer import Script, answers, endless, hangs, misbehaving, resets, says

# Each test starts processes: together too much for the everyday subset.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One state folder for all tests of this file, with the site's tools."""
    folder = tmp_path_factory.mktemp("bad")
    return Home(folder / "home", OPSCONDUCTOR_TOOLS_PATH=site_tools(folder / "tools"))


def one_refusal(result: Result, code: str) -> str:
    """Assert that nothing was accepted, once for programs and once for people; the error's text."""
    assert result.code == 2, result
    error = result.json["error"]
    codes = {error["code"], *(problem["code"] for problem in result.problems)}
    assert code in codes, result
    assert result.err.count("error") >= 1 and "Traceback" not in result.err, result
    assert len(result.err) < 20_000 and len(result.out) < 100_000, "an error is short enough to read"
    text: str = error["message"]
    return text


# One tool


@pytest.mark.parametrize(
    ("arguments", "code", "says_what"),
    [
        (["df", "pth=/"], "input_unknown", "path"),
        (["df", "path="], "input_invalid", "path"),
        (["cat"], "input_missing", "paths"),
        (["head", "path=/etc/passwd", "lines=many"], "input_invalid", "many"),
        (["head", "path=/etc/passwd", "lines=-1"], "input_invalid", "-1"),
        (["head", "path=/etc/passwd", "lines:=1.5"], "input_invalid", "1.5"),
        (["head", "path=/etc/passwd", "lines:=true"], "input_invalid", "True"),
        (["head", "path=/etc/passwd", "lines:=null", "bogus:=[]"], "input_unknown", "bogus"),
        (["df", "path:={}"], "input_invalid", "path"),
        (["df", "path:=[1]"], "input_invalid", "path"),
        (["cat", "paths=--help"], "option_like_argument", "--help"),
        (["cat", 'paths:=["a\\u0000b"]'], "input_invalid", "paths"),
        (["df", "path=a", "path=b"], "input_invalid", "path"),
        (["df", "path=/", "-o", "usge"], "operation_unknown", "usage"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_name(
    home: Home, arguments: list[str], code: str, says_what: str
) -> None:
    result = home.run("exec", *arguments, "--json")
    text = one_refusal(result, code)
    assert says_what in text + result.out, result


def test_what_is_refused_is_not_in_the_history(home: Home) -> None:
    before = home.history()
    one_refusal(home.run("exec", "cat", "--json"), "input_missing")
    assert home.history() == before


def test_an_argument_of_128_kib_is_refused_before_linux_does(home: Home) -> None:
    plan = {"steps": [{"tool": "cat", "inputs": {"paths": ["/" + "x" * 131_072]}}]}
    result = home.run("run", "-", "--json", stdin=json.dumps(plan).encode())
    assert "131" in one_refusal(result, "input_too_large") or "131" in result.out


def test_bytes_that_are_not_utf_8_on_the_command_line(home: Home) -> None:
    one_refusal(home.run("exec", "cat", b"paths=\xff\xfe", "--json"), "input_invalid")
    assert home.run("exec", b"\xff\xfe", "--json").code in (1, 2)
    assert home.run("run", b"\xff.yaml", "--json").code == 2
    assert home.run(b"\xff").code == 2
    assert "Traceback" not in home.run("route", b"\xff\xfe").err + home.run("tools", "search", b"\xff").err


# Plans


BOMB = "\n".join(
    [
        "a: &a [x,x,x,x,x,x,x,x,x,x]",
        *(f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]" for p, n in zip("abcdefg", "bcdefgh", strict=True)),
    ]
)
STEP = "  - {id: a, tool: uname}\n"


@pytest.mark.parametrize(
    ("document", "code", "line"),
    [
        (b"", "plan_invalid", 1),
        (b"steps: []\n", "plan_empty", 1),
        (b"name: x\n", "plan_empty", None),
        (b"[]\n", "plan_invalid", 1),
        (b"just words\n", "plan_invalid", 1),
        (b"steps: 7\n", "plan_invalid", 1),
        (b"steps:\n  - tool: uname\n    tool: id\n", "yaml_invalid", 3),
        (b'{"steps": [{"tool": "uname", "tool": "id"}]}', "yaml_invalid", 1),
        (b"name: \xff\xfe\nsteps: []\n", "yaml_invalid", 1),
        (b"\xff\xfes\x00t\x00e\x00p\x00s\x00", "yaml_invalid", None),
        (b"steps: [\x00]\n", "yaml_invalid", 1),
        (b"steps: [{tool: uname\n", "yaml_invalid", None),
        (b"steps:\n\t- tool: uname\n", "yaml_invalid", 2),
        (b"name: x\nsteps: !!python/object/apply:os.system ['id']\n", "yaml_invalid", 2),
        (b"steps:\n  - !include /etc/passwd\n", "yaml_invalid", 2),
        (BOMB.encode(), "document_too_large", None),
        (b"x: " + b"[" * 5000 + b"]" * 5000, "document_too_large", 1),
        (b"steps:\n" + b"  - {tool: uname}\n" * 10_001, "plan_too_large", None),
        (b"#" * 5 * 1024**2, "document_too_large", None),
        (b"stepps:\n  - {tool: uname}\n", "plan_invalid", 1),
        (b"stepps:\n  - {tool: uname}\n", "plan_empty", 1),
        (b"steps:\n  - {tool: uname, wen: 'x'}\n", "step_invalid", 2),
        (b"steps:\n  - {inputs: {}}\n", "step_invalid", 2),
        (b"steps:\n  - {id: a, tool: uname}\n  - {id: a, tool: uname}\n", "step_invalid", 2),
        (b"steps:\n  - {id: a, tool: uname, depends_on: [b]}\n", "step_invalid", 2),
        (b"steps:\n  - {id: a, tool: uname, depends_on: [a]}\n", "plan_cycle", 2),
        (
            b"steps:\n  - {id: a, tool: uname, depends_on: [b]}\n  - {id: b, tool: uname, depends_on: [a]}\n",
            "plan_cycle",
            2,
        ),
        (b"steps:\n  - {id: a, tool: df, inputs: {path: '{{ steps.zz.output }}'}}\n", "expression_invalid", 2),
        (b"steps:\n  - {id: a, tool: df, inputs: {path: '{{ 1 +'}}\n", "expression_invalid", 2),
        (b"steps:\n  - {id: a, tool: df, when: '{% for %}'}\n", "step_invalid", 2),
        (b"steps:\n  - {id: a, tool: df, timeout_s: -1}\n", "step_invalid", 2),
        (b"steps:\n  - {id: a, tool: df, timeout_s: .nan}\n", "yaml_invalid", 2),
        (b"steps:\n  - {id: a, tool: uname, retry: {attempts: 3}}\n", "plan_feature_unsupported", 2),
        (b"steps:\n  - {id: a, tool: uname, env: {LD_PRELOAD: /x.so}}\n", "env_name_not_allowed", 2),
    ],
)
def test_a_document_that_is_no_plan_is_refused_with_its_place(
    home: Home, tmp_path: Path, document: bytes, code: str, line: int | None
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(document)
    result = home.run("run", path, "--json")
    one_refusal(result, code)
    if line is not None:
        assert line in [p["line"] for p in result.problems if p["code"] == code], result
        assert f"bad.yaml:{line}" in result.err, result


def test_an_endless_plan_is_refused_and_not_read_to_its_end(home: Home) -> None:
    one_refusal(home.run("run", "/dev/zero", "--json"), "document_too_large")


def test_all_errors_of_a_plan_come_at_once(home: Home, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = (
        f"steps:\n  - {{id: m, tool: mark, inputs: {{path: {mark}}}}}\n"
        "  - {id: a, tool: df, inputs: {pth: /}}\n"
        "  - {id: b, tool: cat}\n"
        "  - {id: c, tool: head, inputs: {path: /x, lines: many}}\n"
    )
    result = home.run("run", home.plan("many.yaml", text), "--json")
    assert result.code == 2 and not mark.exists()
    assert [(p["line"], p["step"], p["code"]) for p in result.problems] == [
        (3, "a", "input_unknown"),
        (4, "b", "input_missing"),
        (5, "c", "input_invalid"),
    ]
    assert result.problems[0]["suggestion"] == "path"
    words = home.run("run", home.plan("many.yaml", text))
    assert words.err.count("many.yaml:") == 3 and "did you mean 'path'" in words.err


def test_an_unknown_tool_fails_its_step_with_the_nearest_name(home: Home) -> None:
    result = home.run("run", home.plan("unknown.yaml", f"steps:\n{STEP}  - {{id: b, tool: unmae}}\n"), "--json")
    assert result.code == 1
    error = result.json["step_results"][1]["error"]
    assert error["code"] == "tool_not_found" and "uname" in error["message"]
    assert "unknown.yaml:3" in result.err, "the warning has its place"


def test_what_a_plan_asks_for_and_is_not_acted_on_is_said(home: Home) -> None:
    result = home.run("run", home.plan("older.yaml", f"estimated_duration: 5m\nsteps:\n{STEP}"), "--json")
    assert result.code == 0 and "estimated_duration" in result.err and "older.yaml:1" in result.err, result


# Services that misbehave


Peer = Callable[[str], Awaitable[Result]]


def _html(status: str) -> Script:
    return answers(b"<html><h1>It is broken</h1></html>", status=status, media_type="text/html")


GIGABYTE = endless(
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n{"a": "',
    b"x" * 1024**2,
    1024,
)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (resets, "service_connection_lost"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "service_answer_invalid"),
        (_html("500 Internal Server Error"), "service_answer_invalid"),
        (_html("200 OK"), "service_answer_invalid"),
        (_html("404 Not Found"), "service_answer_invalid"),
        (answers(b"{}"), "service_answer_invalid"),
        (answers(b'{"execution_id": "x", "status": "comp'), "service_answer_invalid"),
        (answers(b"[" * 100_000), "service_answer_invalid"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{"), "service_"),
        (answers(b"", status="302 Found", extra=("Location: http://127.0.0.1:1/",)), "service_answer_invalid"),
        (GIGABYTE, "service_answer_invalid"),
    ],
)
async def test_a_service_that_misbehaves_leaves_doubt_for_changes_and_none_for_reads(
    home: Home, tmp_path: Path, script: Script, code: str
) -> None:
    mark = tmp_path / "mark"
    async with misbehaving(script) as url:
        env = {"AUTOMATION_SERVICE_URL": url, "OPSCONDUCTOR_MAX_RESPONSE_BYTES": "1048576"}
        change = await asyncio.to_thread(home.run, "exec", "mark", f"path={mark}", "--json", env=env)
        read = await asyncio.to_thread(home.run, "exec", "uname", "--json", env=env)
    assert change.json["status"] == "outcome_unknown" and change.code == 4, change
    [step] = change.json["step_results"]
    assert step["error"]["context"]["cause"].startswith(code), change
    assert step["error"]["retry"] == "unknown" and "look at" in step["error"]["message"]
    [step] = read.json["step_results"]
    assert (read.code, step["status"]) == (1, "failed") and step["error"]["code"].startswith(code), read
    assert not mark.exists() and "Traceback" not in change.err + read.err


async def test_a_service_that_is_slow_is_given_up_at_the_limit(home: Home) -> None:
    async with misbehaving(hangs) as url:
        env = {"AUTOMATION_SERVICE_URL": url, "OPSCONDUCTOR_ANSWER_GRACE_S": "0.5"}
        result = await asyncio.to_thread(home.run, "exec", "uname", "--timeout", "0.5", "--json", env=env)
    [step] = result.json["step_results"]
    assert result.code == 1 and step["error"]["code"] == "service_connection_lost", result


@pytest.mark.parametrize("status", ["401 Unauthorized", "503 Service Unavailable"])
async def test_a_service_that_refuses_says_why_and_nothing_is_in_doubt(home: Home, status: str, tmp_path: Path) -> None:
    code = {"401": "credential_invalid", "503": "service_not_ready"}[status[:3]]
    body = json.dumps({"code": code, "detail": "no", "status": int(status[:3])}).encode()
    script = answers(body, status=status, media_type="application/problem+json")
    async with misbehaving(script) as url:
        env = {"AUTOMATION_SERVICE_URL": url}
        result = await asyncio.to_thread(home.run, "exec", "mark", f"path={tmp_path / 'm'}", "--json", env=env)
    [step] = result.json["step_results"]
    assert step["error"]["code"] == code and step["status"] in ("failed", "unreachable"), result
    assert result.code == (5 if code == "service_not_ready" else 1), result


async def test_a_server_that_misbehaves_is_one_error(home: Home) -> None:
    for script in (_html("500 Oops"), _html("200 OK"), answers(b"{}"), says(b"nonsense\r\n\r\n"), resets):
        async with misbehaving(script) as url:
            env = {"OPSCONDUCTOR_URL": url, "OPSCONDUCTOR_TOKEN": "t"}
            for command in (["exec", "uname"], ["executions", "list"], ["assets", "list"]):
                result = await asyncio.to_thread(home.run, *command, "--json", env=env)
                assert result.code in (1, 4, 5) and set(result.json) == {"error"}, result
                assert "Traceback" not in result.err
