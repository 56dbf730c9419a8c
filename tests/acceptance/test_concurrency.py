"""Several commands and servers on one state folder: all work, one history, and the truth after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from tests.acceptance.site import MARK, site_tools
from tests.cli import Home, Result, Server, alive, descendants, finish, http, runs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A fresh state folder with the site's tools."""
    return Home(tmp_path / "home", OPSCONDUCTOR_TOOLS_PATH=site_tools(tmp_path / "tools"))


def wait_until_running(marker: str, process: subprocess.Popen[bytes]) -> list[int]:
    """Wait until the tool `pause` shows in the process list, and give its processes."""
    while not (found := [pid for pid in alive(marker) if pid != process.pid]):
        assert process.poll() is None, finish(process)
    return found


def test_eight_commands_at_once_on_a_fresh_machine_share_one_history(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: home.run("exec", "uname", "--json", timeout_s=60), range(8)))
    assert [result.code for result in results] == [0] * 8, [r for r in results if r.code]
    ids = {result.json["execution_id"] for result in results}
    rows = home.history()
    assert {row["execution_id"] for row in rows} == ids and len(ids) == 8
    assert {row["status"] for row in rows} == {"completed"}


def test_eight_commands_change_one_inventory_at_once(home: Home) -> None:
    def create(number: int) -> Result:
        return home.run("assets", "create", f"hostname=web-{number}", "type=server", "--json", timeout_s=60)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(create, range(8)))
    assert [result.code for result in results] == [0] * 8, [r for r in results if r.code]
    listing = home.run("assets", "list", "--json").json
    assert {asset["hostname"] for asset in listing["assets"]} == {f"web-{number}" for number in range(8)}


def test_a_command_hands_over_to_the_server_of_its_machine(home: Home) -> None:
    text = (
        "name: handed over\nsteps:\n  - {id: p, tool: pause, inputs: {seconds: 1, marker: MARKER}}\n  - {tool: uname}\n"
    )
    marker = f"oc-handed-{os.getpid()}"
    with home.serving("up") as server:
        process = home.start("run", home.plan("handed.yaml", text.replace("MARKER", marker)), "--json")
        running = wait_until_running(marker, process)
        mine, servers = descendants(process.pid), descendants(server.process.pid)
        assert set(running) & set(servers) and not set(running) & set(mine), "the server executes it"
        result = finish(process)
        assert result.code == 0 and [s["target"] for s in result.json["step_results"]] == ["local", "local"], result
        assert [row["execution_id"] for row in home.history()] == [result.json["execution_id"]]
        detached = home.run("run", home.plan("quick.yaml", "steps: [{tool: uname}]"), "--detach", "--json")
        assert detached.code == 0 and detached.json["status"] == "queued"
        while (shown := home.run("executions", "show", detached.json["execution_id"], "--json").json)["status"] in (
            "queued",
            "running",
            "approved",
        ):
            pass
        assert shown["status"] == "completed"
    assert len(home.history()) == 2, "the history is the same without the server"


def test_detach_without_a_server_is_refused(home: Home) -> None:
    result = home.run("run", home.plan("quick.yaml", "steps: [{tool: uname}]"), "--detach", "--json")
    assert result.code == 5 and "up" in result.json["error"]["message"], result
    assert home.history() == []


def test_an_interrupted_command_cancels_what_it_handed_over(home: Home) -> None:
    marker = f"oc-cancel-{os.getpid()}"
    with home.serving("up"):
        process = home.start("exec", "pause", "seconds=59", f"marker={marker}", "--json")
        wait_until_running(marker, process)
        process.send_signal(signal.SIGINT)
        result = finish(process)
        assert (result.code, result.json["status"]) == (130, "cancelled"), result
        assert not [pid for pid in alive(marker) if runs(pid)]
        assert home.run("exec", "uname").code == 0, "the server goes on"


def test_cancel_by_id_from_another_command(home: Home) -> None:
    marker = f"oc-byid-{os.getpid()}"
    with home.serving("up"):
        process = home.start("exec", "pause", "seconds=59", f"marker={marker}", "--json")
        wait_until_running(marker, process)
        [row] = home.history()
        assert row["status"] == "running"
        assert home.run("executions", "cancel", row["execution_id"], "--json").json["cancelling"] is True
        result = finish(process)
        assert (result.code, result.json["status"]) == (130, "cancelled"), result
    again = home.run("executions", "cancel", row["execution_id"], "--json")
    assert again.code == 1 and again.json["cancelling"] is False


def test_a_second_server_on_one_state_folder_is_refused(home: Home) -> None:
    with home.serving("up") as server:
        refused = home.run("up", "--port", "0", timeout_s=20)
        assert refused.code == 2 and str(home.folder) in refused.err and "Traceback" not in refused.err, refused
        assert home.run("exec", "uname").code == 0
        taken = Home(home.folder.parent / "other").run("up", "--port", server.url.rpartition(":")[2], timeout_s=20)
        assert taken.code == 2 and "Traceback" not in taken.err, taken
    with home.serving("up") as following:
        assert http(following.url, "/health")[0] == 200


def test_sigterm_drains_the_server_and_its_clients_hear_the_result(home: Home) -> None:
    marker = f"oc-drain-{os.getpid()}"
    with home.serving("up") as server:
        process = home.start("exec", "pause", "-o", "look", "seconds=2", f"marker={marker}", "--json")
        wait_until_running(marker, process)
        assert server.end() == 0, server.log
        result = finish(process)
    assert (result.code, result.json["status"]) == (0, "completed"), result
    assert home.history()[0]["status"] == "completed"
    assert not (home.folder / "server.sock").exists()


def kill_in_the_middle(home: Home, operation: str, server: Server | None = None) -> None:
    """SIGKILL the process that drives a plan while its second step runs; end what it left behind."""
    marker = f"oc-killed-{os.getpid()}-{operation}"
    document = {
        "name": "killed",
        "steps": [
            {"id": "before", "tool": "uname"},
            {"id": "middle", "tool": "pause", "operation": operation, "inputs": {"seconds": 59, "marker": marker}},
            {"id": "after", "tool": "uname"},
        ],
    }
    process = home.start("run", home.plan("killed.json", json.dumps(document)), "--json")
    left = wait_until_running(marker, process)
    driver = process if server is None else server.process
    below = [below for pid in left for below in descendants(pid)]
    driver.kill()
    driver.wait(10)
    finish(process)
    for pid in {*left, *below}:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("operation", ["wait", "look"])
def test_after_a_kill_the_next_command_tells_the_truth(home: Home, operation: str) -> None:
    assert home.run("exec", "uname").code == 0
    kill_in_the_middle(home, operation)
    rows = home.history()
    assert [(row["plan"], row["status"]) for row in rows] == [
        ("killed", "outcome_unknown"),
        ("exec uname", "completed"),
    ]
    shown = home.run("executions", "show", rows[0]["execution_id"], "--json").json
    assert [step["status"] for step in shown["steps"]] == ["completed", "outcome_unknown", "skipped"]
    assert shown["steps"][1]["error"]["code"] == "outcome_unknown"
    assert home.run("executions", "logs", rows[0]["execution_id"]).out.startswith("── before (uname, stdout)\nLinux")
    assert home.run("exec", "uname").code == 0 and len(home.history()) == 3


def test_after_a_kill_of_the_server_commands_work_without_it(home: Home) -> None:
    with home.serving("up") as server:
        kill_in_the_middle(home, "wait", server)
    assert (home.folder / "server.sock").exists(), "the kill left the socket"
    assert [row["status"] for row in home.history()] == ["outcome_unknown"]
    assert home.run("exec", "uname").code == 0
    with home.serving("up") as server:
        assert http(server.url, "/ready")[0] == 200
        assert len(home.history()) == 2


def test_an_execution_that_another_command_runs_is_left_alone(home: Home) -> None:
    marker = f"oc-alone-{os.getpid()}"
    process = home.start("exec", "pause", "-o", "look", "seconds=3", f"marker={marker}", "--json")
    wait_until_running(marker, process)
    [row] = home.history()
    assert row["status"] == "running"
    assert home.run("exec", "uname").code == 0
    assert finish(process).json["status"] == "completed"
    assert {row["status"] for row in home.history()} == {"completed"}


def test_an_edited_definition_takes_effect_while_the_server_runs(home: Home, tmp_path: Path) -> None:
    with home.serving("up"):
        assert home.run("exec", "mark", f"path={tmp_path / 'one'}").code == 0
        changed = MARK.replace("argv: [touch", "argv: [mkdir").replace("Make an empty file", "Make a folder")
        (tmp_path / "tools" / "mark.yaml").write_text(changed)
        for number in range(20):
            made = tmp_path / f"made-{number}"
            assert home.run("exec", "mark", f"path={made}").code == 0
            if made.is_dir():
                break
        assert made.is_dir(), "the new definition is not used after twenty commands"
        (tmp_path / "tools" / "brand_new.yaml").write_text(MARK.replace("tool_name: mark", "tool_name: brand-new"))
        codes = [home.run("exec", "brand-new", f"path={tmp_path / 'new'}").code for _ in range(12)]
        assert codes[-1] == 0, codes


def test_a_token_that_others_can_read_is_refused_with_the_way_out(home: Home) -> None:
    assert home.run("exec", "uname").code == 0
    (home.folder / "service-token").chmod(0o644)
    result = home.run("exec", "uname", "--json")
    assert result.code == 1 and "chmod 600" in result.json["error"]["message"], result


def test_a_damaged_journal_is_refused_and_left_as_it_is(home: Home) -> None:
    assert home.run("exec", "uname").code == 0
    journal = home.folder / "journal.sqlite3"
    for path in home.folder.glob("journal.sqlite3*"):
        path.unlink()
    journal.write_bytes(b"this is no journal" * 500)
    result = home.run("exec", "uname", "--json")
    assert (result.code, result.json["error"]["code"]) == (1, "journal_unavailable"), result
    assert journal.read_bytes() == b"this is no journal" * 500


def test_a_repeated_request_does_its_work_once(home: Home, tmp_path: Path) -> None:
    plan = {"steps": [{"id": "m", "tool": "mark", "inputs": {"path": str(tmp_path / "once")}}]}
    body = {"execution_id": str(uuid4()), "plan": plan, "tenant_id": "acme", "actor_id": 7}
    with home.serving("up") as server:
        first = http(server.url, "/execute-plan", body, token=home.token)
        (tmp_path / "once").unlink()
        second = http(server.url, "/execute-plan", body, token=home.token)
        assert first[0] == second[0] == 200 and json.loads(first[1]) == json.loads(second[1])
        assert not (tmp_path / "once").exists(), "the work happened once"
        other = {**body, "plan": {"steps": [{"tool": "uname"}]}}
        status, answer = http(server.url, "/execute-plan", other, token=home.token)
        assert (status, json.loads(answer)["code"]) == (422, "idempotency_key_reused")
    assert len(home.history()) == 1
