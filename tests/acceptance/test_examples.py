"""Every plan in examples/ runs through the real command and does what it says."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from opsconductor.interfaces.receivers.mail import MailReceiver
from opsconductor.interfaces.receivers.webhook import WebhookReceiver
from tests.cli import ROOT, Home, Result
from tests.communication import certificate
from tests.needs import program

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A fresh machine."""
    return Home(tmp_path / "home", OPSCONDUCTOR_EGRESS_ALLOW="127.0.0.1")


async def run(home: Home, name: str, *inputs: str, **env: str) -> dict[str, Any]:
    """Run an example to success; its response."""
    words = [word for pair in inputs for word in ("-i", pair)]
    result: Result = await asyncio.to_thread(
        home.run, "run", EXAMPLES / f"{name}.yaml", *words, "--json", env=env, timeout_s=60
    )
    assert result.code == 0, result
    document: dict[str, Any] = result.json
    assert document["status"] == "completed" and "output_errors" not in document, document.get("output_errors")
    assert all(value is not None for value in (document["outputs"] or {}).values())
    return document


def statuses(document: dict[str, Any]) -> dict[str, str]:
    """Step → status."""
    return {step["id"]: step["status"] for step in document["step_results"]}


def test_there_are_enough_examples_and_each_is_run_here() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.yaml")}
    here = Path(__file__).read_text()
    assert len(names) >= 6
    assert {name for name in names if f'"{name}"' not in here} == set()


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
def test_each_example_says_how_it_is_run(name: str) -> None:
    head = (EXAMPLES / f"{name}.yaml").read_text().splitlines()[:3]
    assert all(line.startswith("#") for line in head[:2]) and any(f"run examples/{name}.yaml" in line for line in head)


async def test_first_look_uses_all_four_services_and_delivers(home: Home) -> None:
    document = await run(home, "first-look")
    assert set(statuses(document).values()) == {"completed"}
    assert {step["service"] for step in document["step_results"]} == {
        "automation-service",
        "asset-service",
        "network-analyzer-service",
        "communication-service",
    }
    steps = {step["id"]: step for step in document["step_results"]}
    assert steps["kernel"]["target"] == steps["disk"]["target"] == "this-machine"
    assert os.uname().nodename in document["outputs"]["machine"]
    assert [len(document["received"][name]["received"]) for name in ("hook", "inbox")] == [1, 1]


async def test_first_look_reads_well(home: Home) -> None:
    result = await asyncio.to_thread(home.run, "run", EXAMPLES / "first-look.yaml")
    assert result.code == 0 and "8 of 8 steps completed" in result.out
    assert "Findings" in result.out and result.err.count("✓") == 8
    again = await asyncio.to_thread(home.run, "run", EXAMPLES / "first-look.yaml")
    assert again.code == 0, "running it twice is fine"


async def test_account_audit(home: Home) -> None:
    document = await run(home, "account-audit")
    assert set(statuses(document).values()) == {"completed"} and "root" in document["outputs"]["groups"]


async def test_inventory_changes_nothing_the_second_time(home: Home) -> None:
    first = await run(home, "inventory", "environment=test")
    before = home.run("assets", "list", "--json").json["assets"]
    second = await run(home, "inventory", "environment=test")
    after = home.run("assets", "list", "--json").json["assets"]
    assert first["outputs"] == second["outputs"] == {"web_servers": 2}
    assert [a["id"] for a in before] == [a["id"] for a in after] and len(after) == 3


async def test_log_errors_counts_and_shows(home: Home, tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("fine\nERROR one\nfine\nfatal: two\nlast line\n")
    document = await run(home, "log-errors", f"file={log}")
    assert document["outputs"] == {"lines_that_match": 2, "last_line": "last line"}
    log.write_text("all is well\n")
    quiet = await run(home, "log-errors", f"file={log}")
    assert quiet["outputs"]["lines_that_match"] == 0


async def test_process_triage(home: Home) -> None:
    program("ps", "procps")
    program("free", "procps")
    program("ss", "iproute2")
    document = await run(home, "process-triage")
    assert set(statuses(document).values()) == {"completed"}
    assert int(document["outputs"]["processes"]) > 1


async def test_disk_pressure_tells_when_the_limit_is_reached_and_not_before(home: Home, tmp_path: Path) -> None:
    hook = WebhookReceiver()
    address = await hook.start()
    given = (f"path={tmp_path}", f"webhook_url={address['url']}")
    quiet = await run(home, "disk-pressure", *given, "limit_percent=100")
    loud = await run(home, "disk-pressure", *given, "limit_percent=1")
    received = (await hook.stop())["received"]
    assert statuses(quiet) == {"usage": "completed", "inodes": "completed", "largest": "skipped", "tell": "skipped"}
    assert set(statuses(loud).values()) == {"completed"}
    assert len(received) == 1 and str(tmp_path) in str(received[0])


@asynccontextmanager
async def web_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A web service on loopback; gives its port."""
    from aiohttp import web

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="fine")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_endpoint_check_of_a_web_service_that_answers(home: Home) -> None:
    async with web_server() as port:
        document = await run(home, "endpoint-check", "host=127.0.0.1", f"port={port}")
    assert document["outputs"] == {"reachable": True, "status": 200}
    assert statuses(document)["certificate"] == statuses(document)["tell"] == "skipped"


async def test_endpoint_check_reads_a_certificate(home: Home, tmp_path: Path) -> None:
    program("openssl")
    server_side, _ = certificate(tmp_path)
    async with web_server(server_side) as port:
        document = await run(home, "endpoint-check", "host=127.0.0.1", f"port={port}", "scheme=https")
    certificate_step = document["step_results"][2]
    assert certificate_step["status"] == "completed" and "localhost" in str(certificate_step["output"]["data"])


async def test_endpoint_check_mails_when_nothing_answers(home: Home) -> None:
    async with web_server() as port:
        pass
    mail = MailReceiver()
    address = await mail.start()
    env = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(address["port"]),
        "SMTP_USE_TLS": "none",
        "SMTP_FROM": "ops@example.com",
    }
    document = await run(home, "endpoint-check", "host=127.0.0.1", f"port={port}", "mail_to=me@example.com", **env)
    received = (await mail.stop())["received"]
    assert document["outputs"] == {"reachable": False, "status": "no answer"}
    assert len(received) == 1 and "127.0.0.1 does not answer" in str(received[0])
