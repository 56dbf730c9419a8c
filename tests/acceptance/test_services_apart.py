"""The four services and the gateway as processes of their own, spoken to over HTTP and through the command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.acceptance.site import site_tools
from tests.cli import Home, Server, http

pytestmark = [pytest.mark.integration, pytest.mark.timeout(150)]
TOKEN = "the-one-token-of-this-house"
SERVICES = ("automation-service", "communication-service", "asset-service", "network-analyzer-service")

LAB = """
tool_name: lab-robot
execution_location: axis-lab-service
version: "1.0"
description: Move the arm of the lab's robot.
platform: any
category: custom
runs_on: service
inputs: {angle: {type: integer, description: Degrees from rest., minimum: 0, maximum: 90, default: 0}}
operations:
  move: {description: Move it., effect: change, idempotent: true, argv: ["true", "{angle}"]}
"""


class House:
    """Everything that runs, and a client's home that knows the gateway alone."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        tools = site_tools(folder / "tools", lab_robot=LAB)
        self.env = {"OPSCONDUCTOR_SERVICE_TOKEN": TOKEN, "OPSCONDUCTOR_TOOLS_PATH": tools}
        self.stack, self.folder = stack, folder
        self.services: dict[str, Server] = {}
        # asset-service first: the others ask it for targets.
        for name in sorted(SERVICES):
            extra = {"OPSCONDUCTOR_EGRESS_ALLOW": "127.0.0.0/8"} if name == "communication-service" else {}
            self.services[name] = self._serve(name, {**self.urls(), **extra})
        self.lab = stack.enter_context(lab_service())
        self.gateway = self.serve_gateway("gateway", {**self.urls(), "AXIS_LAB_SERVICE_URL": self.lab.url})
        self.client = Home(folder / "client", OPSCONDUCTOR_URL=self.gateway.url, OPSCONDUCTOR_TOKEN=TOKEN)

    def _serve(self, name: str, env: dict[str, str]) -> Server:
        home = Home(self.folder / name, **self.env)
        return self.stack.enter_context(home.serving("serve", name, env=env))

    def serve_gateway(self, folder: str, env: dict[str, str], *, ready: bool = True) -> Server:
        """A gateway of the house with services at these URLs."""
        home = Home(self.folder / folder, **self.env)
        return self.stack.enter_context(home.serving("serve", "gateway", env=env, ready=ready))

    def urls(self) -> dict[str, str]:
        """The `*_SERVICE_URL`s of what runs."""
        return {name.upper().replace("-", "_") + "_URL": server.url for name, server in self.services.items()}


class LabService:
    """A service that knows the contract and nothing of ours: what it was sent, and how it answered."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []


@contextlib.contextmanager
def lab_service() -> Iterator[LabService]:
    """The standard library's HTTP server, answering `POST /execute-plan` as CONTRACTS §3 says."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    lab = LabService()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            lab.requests.append((dict(self.headers), body))
            [step] = body["plan"]["steps"]
            given = step.get("inputs") or step.get("parameters") or {}
            at = "2030-01-01T00:00:00.000000Z"
            result = {
                "step_index": 0,
                "id": step.get("id"),
                "tool": step["tool"],
                "status": "completed",
                "output": {"data": {"moved_to": given.get("angle", 0)}},
                "error": None,
                "started_at": at,
                "completed_at": at,
                "duration_ms": 1,
            }
            answer = json.dumps(
                {
                    "execution_id": body["execution_id"],
                    "status": "completed",
                    "result": {"total_steps": 1, "successful_steps": 1, "failed_steps": 0},
                    "step_results": [result],
                    "completed_at": at,
                    "error_message": None,
                    "error_details": None,
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Nothing on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    lab.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield lab
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Six processes for all tests of this file."""
    with contextlib.ExitStack() as stack:
        yield House(tmp_path_factory.mktemp("house"), stack)


def steps(host: str, port: int, hook: str) -> list[dict[str, Any]]:
    """A step for each of the four services, and one for the lab's."""
    return [
        {
            "id": "register",
            "tool": "asset-create",
            "inputs": {"hostname": host, "type": "server", "transport": "local", "if_exists": "update"},
        },
        {"id": "kernel", "tool": "UNAME", "inputs": {"host": host}},
        {"id": "endpoint", "tool": "tcp_analyzer", "inputs": {"host": "127.0.0.1", "port": port}},
        {
            "id": "tell",
            "tool": "webhook-sender",
            "inputs": {"url": hook, "payload": {"kernel": "{{ steps.kernel.output.data.node_name }}"}},
        },
        {"id": "robot", "tool": "Lab Robot", "inputs": {"angle": 45}},
    ]


def finished_steps(server: Server) -> dict[str, float]:
    """Tool → how many steps this service finished, from its own metrics."""
    status, page = http(server.url, "/metrics", token=TOKEN)
    assert status == 200
    found: dict[str, float] = {}
    for tool, value in re.findall(
        r'^opsconductor_step_duration_seconds_count\{tool="([^"]*)"\} (\S+)$', page.decode(), re.MULTILINE
    ):
        found[tool] = float(value)
    return found


@contextlib.asynccontextmanager
async def receiver() -> Any:
    """A webhook receiver; gives its port and what it was sent."""
    from aiohttp import web

    got: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.json_response({"ok": True})

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], got
    finally:
        await runner.cleanup()


async def test_each_step_is_executed_by_the_service_that_owns_its_tool(house: House) -> None:
    before = {name: finished_steps(server) for name, server in house.services.items()}
    async with receiver() as (port, got), aiohttp.ClientSession() as session:
        body = {
            "execution_id": str(uuid4()),
            "plan": {"name": "apart", "steps": steps("machine-1", port, f"http://127.0.0.1:{port}/hook")},
            "tenant_id": "acme",
            "actor_id": 7,
        }
        headers = {"Authorization": f"Bearer {TOKEN}", "OpsConductor-Version": "1"}
        async with session.post(f"{house.gateway.url}/execute-plan", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            document = await answer.json()
    assert document["status"] == "completed", document
    assert [(s["id"], s["service"], s["route_reason"]) for s in document["step_results"]] == [
        ("register", "asset-service", "metadata"),
        ("kernel", "automation-service", "metadata"),
        ("endpoint", "network-analyzer-service", "metadata"),
        ("tell", "communication-service", "metadata"),
        ("robot", "axis-lab-service", "metadata"),
    ]
    assert document["step_results"][1]["target"] == "machine-1"
    assert document["step_results"][4]["output"]["data"] == {"moved_to": 45}
    assert got == [{"kernel": document["step_results"][1]["output"]["data"]["node_name"]}]
    headers_sent, request = house.lab.requests[-1]
    assert headers_sent["Authorization"] == f"Bearer {TOKEN}" and request["tenant_id"] == "acme"
    expected = {
        "asset-service": {"asset_create": 1, "asset_query": 1},  # the query is automation-service asking for machine-1
        "automation-service": {"uname": 1},
        "network-analyzer-service": {"tcp_analyzer": 1},
        "communication-service": {"webhook_sender": 1},
    }
    for name, server in house.services.items():
        after = finished_steps(server)
        new = {tool: count - before[name].get(tool, 0) for tool, count in after.items()}
        assert {tool: count for tool, count in new.items() if count} == expected[name], name


async def test_the_command_talks_to_the_gateway_by_url_and_token(house: House) -> None:
    async with receiver() as (port, got):
        document = {"name": "by command", "steps": steps("machine-2", port, f"http://127.0.0.1:{port}/hook")}
        plan = house.client.plan("apart.json", json.dumps(document))
        result = await asyncio.to_thread(house.client.run, "run", plan, "--json")
    assert result.code == 0 and len(got) == 1, result
    assert result.json["step_results"][4]["service"] == "axis-lab-service"
    shown = house.client.run("executions", "show", result.json["execution_id"], "--json").json
    assert shown["status"] == "completed" and len(shown["steps"]) == 5
    assert house.client.run("assets", "list", "-s", "hostname=machine-2", "--json").json["assets"]
    assert not (house.client.folder / "journal.sqlite3").exists(), "nothing was run by the client"


def test_the_gateway_has_no_target_by_default(house: House, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    result = house.client.run("exec", "mark", f"path={mark}", "--json")
    assert (result.code, result.json["error"]["code"]) == (2, "target_missing"), result
    assert not mark.exists()
    assert house.client.run("exec", "uname", "--on", "local", "--json").code == 0
    unknown = house.client.run("exec", "mark", f"path={mark}", "--on", "nobody-knows", "--json")
    assert unknown.json["step_results"][0]["error"]["code"] == "target_unknown" and not mark.exists()


def test_a_wrong_or_absent_credential_runs_nothing(house: House, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    body = {
        "execution_id": str(uuid4()),
        "plan": {"steps": [{"tool": "mark", "inputs": {"path": str(mark), "host": "local"}}]},
    }
    for server in (house.gateway, *house.services.values()):
        for token, code in ((None, "credential_missing"), ("wrong", "credential_invalid")):
            status, answer = http(server.url, "/execute-plan", body, token=token)
            assert (status, json.loads(answer)["code"]) == (401, code)
    assert not mark.exists()
    result = house.client.run("exec", "uname", "--on", "local", "--json", env={"OPSCONDUCTOR_TOKEN": "wrong"})
    assert (result.code, result.json["error"]["code"]) == (2, "credential_invalid"), result
    assert "wrong" not in result.err.replace("wrong token", "")


def test_a_credential_in_the_url_is_enough(house: House) -> None:
    with_password = house.gateway.url.replace("http://", f"http://svc:{TOKEN}@")
    env = {"OPSCONDUCTOR_URL": with_password, "OPSCONDUCTOR_TOKEN": ""}
    result = house.client.run("exec", "uname", "--on", "local", "--json", env=env)
    assert result.code == 0, result
    local = Home(
        house.folder / "basic",
        AUTOMATION_SERVICE_URL=house.urls()["AUTOMATION_SERVICE_URL"].replace("http://", f"http://svc:{TOKEN}@"),
    )
    result = local.run("exec", "uname", "--on", "local", "--json")
    assert result.code == 0 and TOKEN not in result.out + result.err, result
    shown = local.run("executions", "show", result.json["execution_id"], "--json")
    assert TOKEN not in shown.out
    assert TOKEN.encode() not in (local.folder / "journal.sqlite3").read_bytes()


def test_an_older_client_gets_the_statuses_it_knows(house: House) -> None:
    body = {
        "execution_id": str(uuid4()),
        "plan": {"steps": [{"tool": "uname", "parameters": {"host": "local"}}]},
        "tenant_id": "acme",
        "actor_id": "ann",
    }
    for url in (house.gateway.url, house.services["automation-service"].url):
        status, answer = http(url, "/execute-plan", {**body, "execution_id": str(uuid4())}, token=TOKEN)
        document = json.loads(answer)
        assert (status, document["status"]) == (200, "completed"), document
        assert document["step_results"][0]["output"]["stdout"].startswith("Linux")


def test_unknown_keys_of_a_request_are_refused_by_name(house: House) -> None:
    body = {"execution_id": str(uuid4()), "plan": {"steps": [{"tool": "uname"}]}, "frobnicate": 1}
    for server in (house.gateway, house.services["automation-service"]):
        status, answer = http(server.url, "/execute-plan", body, token=TOKEN)
        assert status == 422 and "frobnicate" in json.loads(answer)["detail"]


def test_a_service_that_is_down_is_unreachable_and_the_others_work(house: House) -> None:
    with contextlib.ExitStack() as stack:
        apart = House.__new__(House)
        apart.env, apart.stack, apart.folder, apart.services = house.env, stack, house.folder, dict(house.services)
        lonely = apart._serve("network-analyzer-service", {})
        urls = {**house.urls(), "NETWORK_ANALYZER_SERVICE_URL": lonely.url}
        gateway = apart.serve_gateway("gateway-2", urls)
        client = Home(house.folder / "client-2", OPSCONDUCTOR_URL=gateway.url, OPSCONDUCTOR_TOKEN=TOKEN)
        port = int(gateway.url.rpartition(":")[2])
        plan = {
            "steps": [
                {
                    "id": "net",
                    "tool": "tcp-analyzer",
                    "inputs": {"host": "127.0.0.1", "port": port},
                    "on_failure": "continue",
                },
                {"id": "os", "tool": "uname", "inputs": {"host": "local"}, "depends_on": []},
                {"id": "inv", "tool": "asset-list", "depends_on": []},
            ]
        }
        text = json.dumps(plan).encode()
        assert client.run("run", "-", "--json", stdin=text).code == 0
        lonely.process.kill()
        lonely.process.wait(10)
        result = client.run("run", "-", "--json", stdin=text)
        assert result.code == 5, result
        assert [s["status"] for s in result.json["step_results"]] == ["unreachable", "completed", "completed"]
        error = result.json["step_results"][0]["error"]
        assert error["code"] == "service_unreachable" and lonely.url in error["message"], error
        assert result.json["status"] == "partial"
        status, body = http(gateway.url, "/tools", token=TOKEN)
        told = [tool for tool in json.loads(body)["tools"] if tool["service"] == "network-analyzer-service"]
        assert (status, len(told) > 40) == (200, True), "its operations are still listed"
        assert not any(tool["executable"] for tool in told) and lonely.url in told[0]["reason"]
        status, page = http(gateway.url, "/ready", token=TOKEN)
        assert status == 200 and b"network-analyzer-service" in page, "the others can be reached through the gateway"
