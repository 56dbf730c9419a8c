"""CONTRACTS §8 through the real command: exit codes, one JSON document, words on stderr, and what runs nothing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.acceptance.site import site_tools
from tests.cli import Home, Result, alive, descendants, finish, runs

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One state folder for all tests of this file, with the site's tools."""
    folder = tmp_path_factory.mktemp("cli")
    return Home(folder / "home", OPSCONDUCTOR_TOOLS_PATH=site_tools(folder / "tools"))


def refused(result: Result, code: str, exit_code: int = 2) -> str:
    """Assert a refusal as programs and people get it, and give its message."""
    assert result.code == exit_code, result
    error = result.json["error"]
    assert error["code"] == code, result
    assert error["message"] and "Traceback" not in result.err
    assert result.err.strip(), "people are told on stderr"
    message: str = error["message"]
    return message


# Results


def test_exec_prints_the_programs_own_output_and_nothing_else(home: Home) -> None:
    result = home.run("exec", "uname")
    assert (result.code, result.err) == (0, ""), result
    assert result.out.startswith("Linux ")


def test_exec_json_is_the_response_with_route_and_times(home: Home) -> None:
    document = home.run("exec", "uname", "--json").json
    assert document["status"] == "completed" and document["plan"] == "exec uname"
    assert document["result"] == {"total_steps": 1, "successful_steps": 1, "failed_steps": 0}
    [step] = document["step_results"]
    assert (step["service"], step["route_reason"], step["target"]) == ("automation-service", "metadata", "local")
    assert step["output"]["exit_code"] == 0 and step["output"]["stdout"].startswith("Linux")
    assert document["started_at"] <= step["started_at"] <= step["completed_at"] <= document["completed_at"]
    assert document["error_message"] is None and document["error_details"] is None


def test_exec_takes_lists_repeated_names_and_json_values(home: Home) -> None:
    first, second = home.plan("one.txt", "1\n"), home.plan("two.txt", "2\n")
    repeated = home.run("exec", "cat", f"paths={first}", f"paths={second}")
    assert (repeated.code, repeated.out) == (0, "1\n2\n"), repeated
    as_json = home.run("exec", "cat", f"paths:={json.dumps([str(second), str(first)])}")
    assert (as_json.code, as_json.out) == (0, "2\n1\n"), as_json
    bracket = home.run("exec", "cat", f"paths={json.dumps([str(first)])}")
    assert (bracket.code, bracket.out) == (0, "1\n"), bracket
    assert "JSON" in refused(home.run("exec", "cat", "paths:=[", "--json"), "request_invalid")


@pytest.mark.parametrize("spelling", ["uname", "UNAME", "Uname"])
def test_a_tools_name_is_found_in_any_spelling(home: Home, spelling: str) -> None:
    assert home.run("exec", spelling).code == 0


def test_run_json_is_the_response_of_the_plan(home: Home) -> None:
    plan = home.plan("two.yaml", "name: two\nsteps:\n  - {id: a, tool: uname}\n  - {id: b, tool: id}\n")
    document = home.run("run", plan, "--json").json
    assert document["plan"] == "two" and document["started_at"] < document["completed_at"]
    assert [step["id"] for step in document["step_results"]] == ["a", "b"]
    assert {step["service"] for step in document["step_results"]} == {"automation-service"}
    assert {step["route_reason"] for step in document["step_results"]} == {"metadata"}


def test_run_reads_standard_input_and_plan_inputs(home: Home) -> None:
    plan = (
        b"name: typed\ninputs: {path: {type: string}}\nsteps: [{id: a, tool: df, inputs: {path: '{{ inputs.path }}'}}]"
    )
    result = home.run("run", "-", "-i", "path=/", "--json", stdin=plan)
    assert result.code == 0 and "/" in result.json["step_results"][0]["output"]["argv"], result
    missing = home.run("run", "-", "--json", stdin=plan)
    assert "path" in refused(missing, "input_missing")


def test_a_json_plan_with_a_byte_order_mark_or_without_is_a_plan(home: Home) -> None:
    document = json.dumps({"name": "j", "steps": [{"tool": "uname"}]})
    assert home.run("run", home.plan("plan.json", document)).code == 0
    assert home.run("run", home.plan("bom.json", b"\xef\xbb\xbf" + document.encode())).code in (0, 2)


@pytest.mark.slow
def test_output_in_a_pipe_has_no_escapes(home: Home) -> None:
    plan = home.plan(
        "plain.yaml", "name: plain\nsteps:\n  - {tool: uname}\n  - {tool: cat, inputs: {paths: [/nope]}}\n"
    )
    for env in ({}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color"}):
        result = home.run("run", plan, env=env)
        assert result.code == 1 and "\x1b" not in result.out + result.err, result
        assert "✓ step_1" in result.err and "✗ step_2" in result.err
        assert "failed — 1 of 2 steps completed, 1 failed" in result.out
    assert "\x1b" not in home.run("tools", "list").out


# Exit codes


def test_a_step_that_fails_is_exit_code_one_with_its_output(home: Home) -> None:
    result = home.run("exec", "cat", "paths=/does/not/exist", "--json")
    assert result.code == 1
    [step] = result.json["step_results"]
    assert step["status"] == "failed" and step["error"]["code"] == "command_failed"
    assert "No such file" in step["output"]["stderr"] and step["output"]["exit_code"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["exec"],
        ["exec", "uname", "word"],
        ["exec", "uname", "=x"],
        ["exec", "uname", "--timeout", "0"],
        ["exec", "uname", "--frobnicate"],
        ["run"],
        ["run", "no-such-plan.yaml"],
        ["run", "/"],
        ["explain", "no-such-plan.yaml"],
        ["executions", "list", "--limit", "0"],
        ["executions", "list", "--status", "merry"],
        ["executions", "show"],
        ["assets", "delete", "web-1"],
        ["serve", "nonsense-service"],
        ["tools", "frobnicate"],
    ],
)
def test_wrong_usage_is_exit_code_two_with_one_json_document(home: Home, arguments: list[str]) -> None:
    result = home.run(*arguments, "--json") if arguments[0] != "serve" else home.run(*arguments)
    assert result.code == 2, result
    assert "Traceback" not in result.err and result.err
    if arguments[0] != "serve":
        assert set(result.json) == {"error"}


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["executions", "show", "nope"], "not_found", 2),
        (["executions", "logs", "nope"], "not_found", 2),
        (["executions", "show", "../../etc/passwd"], "not_found", 2),
        (["assets", "show", "nope"], "asset_not_found", 1),
        (["tools", "show", "nope"], "tool_not_found", 2),
        (["assets", "list", "-s", "env in ("], "selector_invalid", 2),
        (["assets", "create", "hostname=bad host", "type=server"], "asset_invalid", 2),
    ],
)
def test_what_is_not_there_is_one_error(home: Home, arguments: list[str], code: str, exit_code: int) -> None:
    result = home.run(*arguments, "--json")
    assert result.code == exit_code, result
    assert result.json["error"]["code"] in (code, "input_invalid"), result


@pytest.mark.slow
def test_a_setting_that_cannot_be_read_names_its_variable(home: Home) -> None:
    for command in (["exec", "uname"], ["tools", "list"], ["route", "df"], ["executions", "list"]):
        result = home.run(*command, "--json", env={"OPSCONDUCTOR_MAX_PLAN_STEPS": "many"})
        assert "OPSCONDUCTOR_MAX_PLAN_STEPS" in refused(result, "request_invalid")


def test_a_state_folder_that_cannot_be_made_is_named(home: Home) -> None:
    result = home.run("exec", "uname", "--json", env={"OPSCONDUCTOR_HOME": "/proc/nowhere"})
    assert "/proc/nowhere" in refused(result, "journal_unavailable", exit_code=1)


def test_a_server_that_is_not_there_is_exit_code_five(home: Home) -> None:
    result = home.run("exec", "uname", "--json", env={"OPSCONDUCTOR_URL": "http://127.0.0.1:1"})
    assert "127.0.0.1:1" in refused(result, "service_unreachable", exit_code=5)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["garbage", "ftp://x", "http://", "http://[::1", "http://h:99999"])
def test_a_server_url_that_cannot_be_read_is_usage(home: Home, url: str) -> None:
    refused(home.run("exec", "uname", "--json", env={"OPSCONDUCTOR_URL": url}), "request_invalid")


def test_a_service_that_is_not_there_is_exit_code_five_and_nothing_ran_here(home: Home, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    result = home.run("exec", "mark", f"path={mark}", "--json", env={"AUTOMATION_SERVICE_URL": "http://127.0.0.1:1"})
    assert result.code == 5, result
    [step] = result.json["step_results"]
    assert (step["status"], step["error"]["code"]) == ("unreachable", "service_unreachable")
    assert not mark.exists()


# Targets


def test_on_local_says_where_it_ran(home: Home) -> None:
    result = home.run("exec", "uname", "--on", "local", "--json")
    assert result.code == 0 and result.json["step_results"][0]["target"] == "local", result


def test_a_target_that_nobody_knows_is_an_error_and_runs_nothing(home: Home, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    result = home.run("exec", "mark", f"path={mark}", "--on", "unknown-host", "--json")
    assert result.code == 1, result
    [step] = result.json["step_results"]
    assert step["error"]["code"] == "target_unknown" and "unknown-host" in step["error"]["message"]
    assert not mark.exists()


@pytest.mark.slow
def test_a_target_behind_ssh_is_not_run_here_instead(home: Home, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    made = home.run("assets", "create", "hostname=far-1", "type=server", "transport=ssh", "if_exists=update", "--json")
    assert made.code == 0, made
    result = home.run("exec", "mark", f"path={mark}", "--on", "far-1", "--json")
    assert result.json["step_results"][0]["error"]["code"] == "transport_unavailable", result
    assert result.code == 1 and not mark.exists()


def test_exit_code_tells_about_the_plan_when_nobody_reads(home: Home) -> None:
    process = home.start("exec", "cat", "paths=/does/not/exist", "--json")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert finish(process).code == 1


def test_several_targets_each_have_their_own_result(home: Home) -> None:
    result = home.run("exec", "uname", "--on", "local", "--on", "unknown-host", "--json")
    assert result.code == 1
    assert [step["status"] for step in result.json["step_results"]] == ["completed", "failed"]
    assert result.json["status"] == "partial"


def test_a_tool_that_runs_from_its_service_takes_no_other_target(home: Home) -> None:
    assert "--on" in refused(home.run("exec", "asset-query", "--on", "far-1", "--json"), "request_invalid")
    assert home.run("exec", "asset-query", "--on", "local").code == 0


# What runs nothing


@pytest.mark.slow
def test_explain_and_dry_run_show_the_command_and_run_nothing(home: Home, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    plan = home.plan("mark.yaml", f"name: mark\nsteps:\n  - {{id: m, tool: mark, inputs: {{path: {mark}}}}}\n")
    before = home.history()
    for arguments in (["explain", str(plan)], ["run", str(plan), "--dry-run"]):
        [step] = home.run(*arguments, "--json").json["steps"]
        assert step["argv"] == ["touch", "--", str(mark)]
        assert (step["target"], step["effect"], step["service"]) == ("local", "change", "automation-service")
        words = home.run(*arguments)
        assert str(mark) in words.out.replace("\n", "").replace(" ", "") and "nothing was run" in words.err
    assert not mark.exists() and home.history() == before
    assert home.run("run", plan).code == 0
    assert mark.exists(), "the same plan, really run, makes the mark"


# Afterwards


@pytest.mark.slow
def test_history_shows_pages_details_and_output(home: Home) -> None:
    ids = [home.run("exec", "uname", "--json").json["execution_id"] for _ in range(3)]
    page = home.run("executions", "list", "--limit", "2", "--json").json
    assert [row["execution_id"] for row in page["executions"]] == [ids[2], ids[1]]
    following = home.run("executions", "list", "--limit", "1", "--before", page["next_before_id"], "--json").json
    assert [row["execution_id"] for row in following["executions"]] == [ids[0]]
    assert {row["status"] for row in page["executions"]} == {"completed"}
    shown = home.run("executions", "show", ids[0], "--json").json
    assert shown["steps"][0]["target"] == "local" and shown["steps"][0]["route_reason"] == "metadata"
    logs = home.run("executions", "logs", ids[0], "--json").json["logs"]
    assert [entry["stream"] for entry in logs] == ["stdout"] and logs[0]["text"].startswith("Linux")
    words = home.run("executions", "logs", ids[0])
    assert "Linux" in words.out and words.code == 0
    assert ids[1] in home.run("executions", "list").out
    assert home.run("executions", "list", "--tool", "uname", "--text", "zz", "--json").json["executions"] == []


def test_logs_of_a_loop_are_those_of_its_items(home: Home) -> None:
    plan = b"steps: [{id: a, tool: cat, for_each: [/etc/passwd, /nope], inputs: {paths: ['{{ item }}']}}]"
    document = home.run("run", "-", "--json", stdin=plan).json
    logs = home.run("executions", "logs", document["execution_id"], "--json").json["logs"]
    assert [(entry["id"], entry["stream"]) for entry in logs] == [("a[0]", "stdout"), ("a[1]", "stderr")]
    assert "root:" in logs[0]["text"] and "/nope" in logs[1]["text"]


def test_history_of_a_fresh_machine_is_empty(tmp_path: Path) -> None:
    fresh = Home(tmp_path / "fresh")
    assert fresh.run("executions", "list", "--json").json == {"executions": [], "next_before_id": None}
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o700


# Every command's JSON


@pytest.mark.parametrize(
    "arguments",
    [
        ["tools", "list"],
        ["tools", "search", "disk", "space"],
        ["tools", "search", "zzzzqqq"],
        ["tools", "show", "Get-Service"],
        ["tools", "lint"],
        ["route", "df"],
        ["executions", "list"],
        ["assets", "list"],
        ["doctor"],
    ],
)
def test_json_is_one_document_on_stdout(home: Home, arguments: list[str]) -> None:
    result = home.run(*arguments, "--json")
    assert isinstance(result.json, dict)
    assert result.raw_out.endswith(b"}\n") and "Traceback" not in result.err
    words = home.run(*arguments)
    assert words.code == result.code and not words.out.lstrip().startswith("{")


def test_a_reader_that_goes_away_is_no_error(home: Home) -> None:
    process = home.start("tools", "list", "--json")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) == 0 and b"Traceback" not in error and b"Exception" not in error


# Interrupts


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_ends_its_processes_and_tells_so(tmp_path: Path, number: signal.Signals) -> None:
    home = Home(tmp_path / "home", OPSCONDUCTOR_TOOLS_PATH=site_tools(tmp_path / "tools"))
    marker = f"oc-interrupted-{number.name}-{tmp_path.name}"
    first = f"{{id: a, tool: pause, inputs: {{seconds: 59, marker: {marker}}}}}"
    text = f"name: long\nsteps:\n  - {first}\n  - {{tool: uname}}\n"
    process = home.start("run", home.plan("long.yaml", text), "--json")
    while not (running := alive(marker)):
        assert process.poll() is None, finish(process)
    children = [pid for child in running for pid in descendants(child)]
    process.send_signal(number)
    result = finish(process)
    assert result.code == 130, result
    assert result.json["status"] == "cancelled"
    assert [step["status"] for step in result.json["step_results"]] == ["cancelled", "cancelled"]
    assert not alive(marker) and not list(filter(runs, children))
    assert [row["status"] for row in home.history()] == ["cancelled"]


def test_exec_on_a_selector_runs_once_for_each_asset_that_fits(home: Home) -> None:
    for name, tag in (("here-1", "mine"), ("here-2", "mine"), ("other", "else")):
        made = home.run("assets", "create", f"hostname={name}", f"tags={tag}", "transport=local")
        assert made.code == 0, made
    result = home.run("exec", "uname", "--on", "tag=mine", "--on", "here-2", "--json")
    assert result.code == 0, result
    assert [step["target"] for step in result.json["step_results"]] == ["here-1", "here-2"]
    nothing = home.run("exec", "uname", "--on", "tag=nobody", "--json")
    assert (nothing.code, nothing.json["error"]["code"]) == (2, "target_unknown")
    wrong = home.run("exec", "uname", "--on", "tag=", "--json")
    assert (wrong.code, wrong.json["error"]["code"]) == (2, "selector_invalid")
