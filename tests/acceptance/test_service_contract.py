"""CONTRACTS §3 as an existing client sees it: automation-service with the shipped catalog, called by plain urllib.

The client knows a URL and the request's shape, and nothing of ours.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from opsconductor.bootstrap.clock import IdSource
from opsconductor.bootstrap.services import AUTOMATION, ServiceFactory
from opsconductor.security.tokens import ServiceToken
from opsconductor.services.kit.app import create_app
from opsconductor.settings import load
from tests.harness import shipped_catalog
from tests.http_peer import serving

TOKEN = "the-token"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")
PROBLEM_MEMBERS = {"type", "title", "status", "code", "detail", "field", "problems", "retry"}


class Client:
    """What an existing client does."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def send(
        self, path: str, document: Any = None, *, authorization: str | None = f"Bearer {TOKEN}", **headers: str
    ) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if authorization is not None:
            sent["Authorization"] = authorization
        body = None if document is None else json.dumps(document).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data=body, headers=sent)
        return await asyncio.to_thread(_exchange, request)

    async def execute(self, *steps: dict[str, Any], **headers: str) -> dict[str, Any]:
        """The answer to a plan that is accepted."""
        status, media_type, body = await self.send("/execute-plan", plan(*steps), **headers)
        assert (status, media_type) == (200, "application/json"), body
        document: dict[str, Any] = json.loads(body)
        return document


def _exchange(request: urllib.request.Request) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.headers.get_content_type(), refusal.read()


def plan(*steps: dict[str, Any], execution_id: str | None = None) -> dict[str, Any]:
    """Exactly what existing clients send."""
    return {
        "execution_id": execution_id or str(uuid4()),
        "plan": {"steps": list(steps)},
        "tenant_id": "acme",
        "actor_id": 7,
    }


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    settings = load({"OPSCONDUCTOR_HOME": str(tmp_path), "OPSCONDUCTOR_DEFAULT_TARGET": "local"})
    service = ServiceFactory(settings, shipped_catalog, IdSource()).make(AUTOMATION)
    app = create_app(service, name=AUTOMATION, authenticator=ServiceToken(TOKEN), version="1")
    async with serving(app) as server:
        yield Client(server.url)
        await service.close()


async def test_the_answer_has_every_member_of_the_contract(client: Client) -> None:
    document = await client.execute({"tool": "uname", "inputs": {}})
    assert set(document) >= {
        "execution_id",
        "status",
        "result",
        "step_results",
        "completed_at",
        "error_message",
        "error_details",
    }
    assert (document["status"], document["error_message"], document["error_details"]) == ("completed", None, None)
    assert document["result"] == {"total_steps": 1, "successful_steps": 1, "failed_steps": 0}
    assert TIME.fullmatch(document["completed_at"])
    step = document["step_results"][0]
    assert (step["step_index"], step["tool"], step["status"], step["error"]) == (0, "uname", "completed", None)
    assert TIME.fullmatch(step["started_at"])
    assert TIME.fullmatch(step["completed_at"])
    assert isinstance(step["duration_ms"], int)
    assert step["output"]["exit_code"] == 0
    assert "Linux" in step["output"]["stdout"]
    assert step["output"]["stderr"] == ""


async def test_inputs_may_be_called_parameters(client: Client) -> None:
    document = await client.execute({"tool": "cat", "parameters": {"path": "/etc/hostname"}})
    assert document["step_results"][0]["output"]["stdout"] == Path("/etc/hostname").read_text()


async def test_a_step_that_fails_is_a_200_that_says_so(client: Client) -> None:
    document = await client.execute({"tool": "cat", "inputs": {"path": "/nonexistent"}}, {"tool": "uname"})
    assert document["status"] == "failed"
    assert [step["status"] for step in document["step_results"]] == ["failed", "skipped"]
    assert document["error_details"]["code"] == "command_failed"
    assert "No such file" in document["step_results"][0]["output"]["stderr"]


async def test_a_name_that_is_no_tool_is_never_run_as_a_command(client: Client, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    document = await client.execute({"tool": f"touch {mark}", "inputs": {}})
    assert document["step_results"][0]["error"]["code"] == "tool_not_found"
    assert not mark.exists()


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic " + base64.b64encode(b"svc:wrong").decode()])
async def test_without_the_credential_nothing_runs(client: Client, tmp_path: Path, authorization: str | None) -> None:
    mark = tmp_path / "mark"
    step = {"tool": "chmod", "inputs": {"path": str(mark), "mode": "0600"}}
    mark.touch(0o644)
    status, media_type, body = await client.send("/execute-plan", plan(step), authorization=authorization)
    assert (status, media_type) == (401, "application/problem+json")
    assert json.loads(body)["code"] in ("credential_missing", "credential_invalid")
    assert mark.stat().st_mode & 0o777 == 0o644


async def test_basic_with_the_token_as_password_is_enough(client: Client) -> None:
    basic = "Basic " + base64.b64encode(f"svc:{TOKEN}".encode()).decode()
    document = await client.execute({"tool": "uname", "inputs": {}}, authorization=basic)
    assert document["status"] == "completed"


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"priority": 1}, 422, "request_invalid", "priority"),
        ({"plan": {"steps": []}}, 422, "plan_empty", "plan.steps"),
        ({"plan": {"steps": {}}}, 422, "request_invalid", "plan.steps"),
        ({"plan": None}, 422, "request_invalid", "plan"),
        ({"plan": {"steps": [{"inputs": {}}]}}, 422, "request_invalid", "plan.steps[0]"),
        ({"plan": {"steps": [{"tool": "df", "when": "x"}]}}, 422, "plan_feature_unsupported", "plan.steps[0].when"),
        ({"execution_id": "../x"}, 422, "request_invalid", "execution_id"),
        ({"actor_id": []}, 422, "request_invalid", "actor_id"),
    ],
)
async def test_a_malformed_request_is_a_problem_that_names_its_field(
    client: Client, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    found, media_type, body = await client.send("/execute-plan", plan({"tool": "uname"}) | change)
    document = json.loads(body)
    assert (found, media_type) == (status, "application/problem+json")
    assert set(document) >= PROBLEM_MEMBERS
    assert (document["code"], document["field"], document["retry"]) == (code, field, "no")


async def test_what_older_plans_carry_is_taken_and_named_in_warnings(client: Client) -> None:
    asked = plan({"tool": "uname", "inputs": {}, "execution_order": 1, "success_criteria": ["x"]})
    asked["plan"] |= {"preconditions": ["y"], "rollback_plan": [], "observability": {}, "estimated_duration": "1m"}
    status, _, body = await client.send("/execute-plan", asked)
    document = json.loads(body)
    assert (status, document["status"]) == (200, "completed")
    named = {"success_criteria", "preconditions", "rollback_plan", "observability", "estimated_duration"}
    assert {warning["field"].rpartition(".")[2] for warning in document["warnings"]} == named
    assert "warnings" not in await client.execute({"tool": "uname", "inputs": {}})


async def test_a_repeat_gets_the_recorded_answer_and_another_body_is_refused(client: Client) -> None:
    same = {"Idempotency_Key": "key-1"}
    asked = plan({"tool": "uname", "inputs": {}})
    first = await client.send("/execute-plan", asked, **same)
    assert await client.send("/execute-plan", asked, **same) == first
    other = plan({"tool": "hostname", "inputs": {}}, execution_id=asked["execution_id"])
    status, _, body = await client.send("/execute-plan", other, **same)
    assert (status, json.loads(body)["code"]) == (422, "idempotency_key_reused")


async def test_events_are_streamed_on_request(client: Client) -> None:
    status, media_type, body = await client.send(
        "/execute-plan", plan({"tool": "uname", "inputs": {}}), Accept="application/x-ndjson"
    )
    events = [json.loads(line) for line in body.splitlines()]
    assert (status, media_type) == (200, "application/x-ndjson")
    assert [event["event"] for event in events] == ["step.started", "step.output", "step.finished", "plan.finished"]
    assert "Linux" in events[1]["text"]
    assert events[-1]["response"]["status"] == "completed"


async def test_a_service_tells_how_it_is_and_what_it_can_do(client: Client) -> None:
    assert (await client.send("/health", authorization=None))[0] == 200
    status, _, body = await client.send("/ready", authorization=None)
    assert (status, json.loads(body)) == (200, {"ready": True, "missing": []})
    listed = json.loads((await client.send("/tools"))[2])["tools"]
    assert {"tool", "operation", "effect", "executable", "reason"} <= set(listed[0])
    assert all(entry["executable"] or entry["reason"] for entry in listed)
    status, media_type, page = await client.send("/metrics")
    assert (status, media_type) == (200, "text/plain")
    assert b"opsconductor_http_requests_total" in page


async def test_cancelling_what_does_not_run_is_a_404(client: Client) -> None:
    status, _, body = await client.send("/executions/no-such/cancel", {})
    assert (status, json.loads(body)["code"]) == (404, "not_found")
