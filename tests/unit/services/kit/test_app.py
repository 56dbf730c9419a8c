from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from starlette.applications import Starlette

from opsconductor.model.errors import OpsError, Problem, from_problems
from opsconductor.model.limits import DocumentLimits
from opsconductor.security.tokens import ServiceToken
from opsconductor.services.kit.app import create_app
from opsconductor.services.kit.http_limits import HttpLimits
from opsconductor.services.kit.problem import problem_document
from opsconductor.services.kit.running_work import RunningWork
from opsconductor.telemetry.adapter import OpsTelemetry
from opsconductor.telemetry.metrics import Metrics
from tests.asgi import BEARER, JSON_TYPE, TOKEN, Answer, call
from tests.memory_service import MemoryService

NDJSON = ("Accept", "application/x-ndjson")
MODERN = ("OpsConductor-Version", "1")


class Site:
    """One application around a service in memory."""

    def __init__(self, **options: Any) -> None:
        self.service = MemoryService()
        self.work = RunningWork()
        self.telemetry = OpsTelemetry(Metrics())
        self.app: Starlette = create_app(
            self.service,
            name="automation-service",
            authenticator=ServiceToken(TOKEN),
            version="9.9",
            work=self.work,
            telemetry=self.telemetry,
            **options,
        )

    async def execute(self, *steps: dict[str, Any], headers: tuple[tuple[str, str], ...] = (), **top: Any) -> Answer:
        body = {"execution_id": "e-1", "plan": {"steps": list(steps)}, "tenant_id": "acme", "actor_id": 7} | top
        return await call(
            self.app, "POST", "/execute-plan", body=json.dumps(body).encode(), headers=(BEARER, JSON_TYPE, *headers)
        )


@pytest.fixture
def site() -> Site:
    return Site()


async def test_a_plan_is_executed_and_answered_in_the_words_of_the_contract(site: Site) -> None:
    answer = await site.execute({"tool": "echo", "inputs": {"host": "web-1"}})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    document = answer.json()
    assert document["execution_id"] == "e-1"
    assert document["status"] == "completed"
    assert document["result"] == {"total_steps": 1, "successful_steps": 1, "failed_steps": 0}
    assert document["step_results"][0]["output"] == {"data": {"host": "web-1"}}
    assert {"error", "started_at", "completed_at", "duration_ms"} <= set(document["step_results"][0])
    assert document["error_message"] is None


async def test_a_failed_step_is_a_200_that_says_failed(site: Site) -> None:
    answer = await site.execute({"tool": "fail"})
    assert answer.status == 200
    assert answer.json()["status"] == "failed"
    assert answer.json()["error_details"]["code"] == "command_failed"


async def test_the_steering_headers_reach_the_service(site: Site) -> None:
    steering = (
        ("Idempotency-Key", "k-1"),
        ("OpsConductor-Deadline", "2030-01-01T00:00:00+02:00"),
        ("OpsConductor-Epoch", "4"),
    )
    await site.execute({"tool": "echo", "parameters": {"a": 1}, "name": "said"}, headers=steering)
    request = site.service.requests[0]
    assert (request.idempotency_key, request.epoch) == ("k-1", 4)
    assert request.deadline_at == "2029-12-31T22:00:00.000000Z"
    assert request.steps[0].inputs == {"a": 1}
    assert (request.tenant_id, request.actor_id) == ("acme", 7)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Idempotency-Key", "two words"),
        ("Idempotency-Key", "k" * 513),
        ("OpsConductor-Deadline", "tomorrow"),
        ("OpsConductor-Deadline", "2030-01-01T00:00:00"),
        ("OpsConductor-Epoch", "-1"),
        ("OpsConductor-Epoch", "1.5"),
    ],
)
async def test_a_steering_header_that_cannot_be_read_is_refused_by_name(site: Site, header: str, value: str) -> None:
    answer = await site.execute({"tool": "echo"}, headers=((header, value),))
    assert (answer.status, answer.code, answer.json()["field"]) == (422, "request_invalid", header)
    assert site.service.requests == []


def _basic(user: str, password: str) -> tuple[str, str]:
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


@pytest.mark.parametrize(
    "credential", [BEARER, ("Authorization", f"bearer {TOKEN}"), _basic("svc", TOKEN), _basic("", TOKEN)]
)
async def test_the_token_is_taken_as_bearer_and_as_the_password_of_basic(
    site: Site, credential: tuple[str, str]
) -> None:
    assert (await call(site.app, "GET", "/tools", headers=[credential])).status == 200


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        ([], "credential_missing"),
        ([("Authorization", "Bearer wrong")], "credential_invalid"),
        ([("Authorization", "Bearer ")], "credential_invalid"),
        ([("Authorization", TOKEN)], "credential_invalid"),
        ([("Authorization", f"Digest {TOKEN}")], "credential_invalid"),
        ([_basic(TOKEN, "")], "credential_invalid"),
        ([("Authorization", "Basic !!!")], "credential_invalid"),
        ([("Authorization", "Bearer \xff\xfe")], "credential_invalid"),
        ([BEARER, ("Authorization", "Bearer wrong")], "credential_invalid"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/execute-plan"),
        ("POST", f"/execute-plan?token={TOKEN}&access_token={TOKEN}"),
        ("POST", "/executions/e-1/cancel"),
        ("GET", "/tools"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
    ],
)
async def test_without_the_credential_nothing_runs_anywhere(
    site: Site, credentials: list[tuple[str, str]], code: str, method: str, path: str
) -> None:
    body = b'{"execution_id":"e-1","plan":{"steps":[{"tool":"echo"}]}}'
    answer = await call(site.app, method, path, body=body, headers=[*credentials, JSON_TYPE])
    assert (answer.status, answer.code) == (401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert TOKEN not in answer.body.decode()
    assert site.service.requests == []


async def test_health_and_ready_need_no_credential_and_tell_no_more_than_that(site: Site) -> None:
    assert (await call(site.app, "GET", "/health", headers=[])).json() == {"status": "alive"}
    assert (await call(site.app, "GET", "/ready", headers=[])).json() == {"ready": True, "missing": []}
    site.service.is_ready = False
    answer = await call(site.app, "GET", "/ready", headers=[])
    assert (answer.status, answer.json()) == (503, {"ready": False, "missing": ["a disk"]})


async def test_while_it_drains_it_is_alive_not_ready_and_takes_no_work(site: Site) -> None:
    await site.work.drain(0)
    assert (await call(site.app, "GET", "/health", headers=[])).status == 200
    assert (await call(site.app, "GET", "/ready", headers=[])).status == 503
    answer = await site.execute({"tool": "echo"})
    assert (answer.status, answer.code, answer.json()["retry"]) == (503, "service_not_ready", "safe")
    assert site.service.requests == []


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        (b"", 400, "request_malformed", "truncated"),
        (b"not json", 400, "request_malformed", "byte 4"),
        (b'{"execution_id": "e", "plan": {"steps": []}} trailing', 400, "request_malformed", "trailing"),
        (b'{"a": 1, "a": 2}', 400, "request_malformed", "'a' stands twice"),
        (b'{"plan": {"steps": [{"tool": "a", "tool": "b"}]}}', 400, "request_malformed", "'tool' stands twice"),
        (b'{"a": "\\u0061", "\\u0061": 2}', 400, "request_malformed", "stands twice"),
        (b'{"a": NaN}', 400, "request_malformed", "byte 6"),
        (b'{"a": -Infinity}', 400, "request_malformed", "byte 7"),
        (b'{"a": 1e999}', 400, "request_malformed", "out of range"),
        (b'{"a": "\xff"}', 400, "request_malformed", "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', 400, "request_malformed", "byte 0"),
        ('{"a": 1}'.encode("utf-16"), 400, "request_malformed", "byte 0"),
        (b'{"a": "\\ud800"}', 400, "request_malformed", "acceptable JSON"),
        (b"[" * 10_000, 400, "request_malformed", "nests deeper"),
        (b'{"a":' * 10_000, 400, "request_malformed", "nests deeper"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", 400, "request_malformed", "nests deeper than 32"),
        (b"[1]", 422, "request_invalid", "expected an object"),
        (b"null", 422, "request_invalid", "expected an object"),
        (b'"' + b'\\"' * 500_000, 400, "request_malformed", "truncated"),
    ],
)
async def test_a_body_that_is_not_one_strict_json_object_is_refused_at_once(
    site: Site, body: bytes, status: int, code: str, said: str
) -> None:
    begin = time.perf_counter()
    answer = await call(site.app, "POST", "/execute-plan", body=body)
    assert (answer.status, answer.code) == (status, code)
    assert said in answer.json()["detail"]
    assert time.perf_counter() - begin < 1


async def test_a_body_with_too_many_values_is_refused_before_they_are_built() -> None:
    site = Site(limits=HttpLimits(document=DocumentLimits(max_nodes=1000)))
    answer = await call(site.app, "POST", "/execute-plan", body=b'{"a":[' + b"[]," * 5000 + b"[]]}")
    assert (answer.status, answer.code) == (413, "request_too_large")
    text = b'"' + b",[{" * 5000 + b'"'
    answer = await call(site.app, "POST", "/execute-plan", body=b'{"a":' + text + b"}")
    assert answer.code == "request_invalid", "commas in a text are not values"


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused_before_the_rest_of_it_is_taken(declared: bool) -> None:
    site = Site(limits=HttpLimits(document=DocumentLimits(max_bytes=1000)))
    length = [("Content-Length", "1000000")] if declared else []
    parts = [b"{" + b" " * 600, b" " * 600]
    answer = await call(
        site.app,
        "POST",
        "/execute-plan",
        body=[] if declared else parts,
        headers=[BEARER, JSON_TYPE, *length],
        hang=True,
    )
    assert (answer.status, answer.code) == (413, "request_too_large")


async def test_a_body_that_never_ends_is_given_up() -> None:
    site = Site(limits=HttpLimits(body_timeout_s=0.05))
    answer = await call(site.app, "POST", "/execute-plan", body=[b"{"], hang=True)
    assert (answer.status, answer.code) == (400, "request_malformed")
    assert "within 0.05 s" in answer.json()["detail"]


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; charset=latin-1"],
)
async def test_a_body_that_is_not_declared_as_json_is_refused(site: Site, content_type: str) -> None:
    body = b'{"execution_id":"e-1","plan":{"steps":[{"tool":"echo"}]}}'
    headers = [BEARER, *([("Content-Type", content_type)] if content_type else [])]
    answer = await call(site.app, "POST", "/execute-plan", body=body, headers=headers)
    assert (answer.status, answer.code) == (415, "media_type_unsupported")
    assert site.service.requests == []


async def test_every_error_of_a_request_is_named_with_its_field(site: Site) -> None:
    answer = await site.execute({"tool": 5}, {"tool": "echo", "inputs": []}, {"tol": "df"}, "df", tenant="x")  # type: ignore[arg-type]
    document = answer.json()
    assert (answer.status, document["code"], document["field"]) == (422, "request_invalid", "tenant")
    assert document["problems"][0]["suggestion"] == "tenant_id"
    answer = await site.execute({"tool": 5}, {"tool": "echo", "inputs": []}, {"tol": "df"}, "df")  # type: ignore[arg-type]
    fields = [problem["field"] for problem in answer.json()["problems"]]
    assert fields == ["plan.steps[0].tool", "plan.steps[1].inputs", "plan.steps[2].tol", "plan.steps[3]"]
    assert site.service.requests == []


async def test_an_error_document_has_all_its_members(site: Site) -> None:
    answer = await site.execute()
    assert (answer.status, answer.code) == (422, "plan_empty")
    assert {"type", "title", "status", "code", "detail", "field", "problems", "retry"} <= set(answer.json())
    assert answer.json()["type"] == "urn:opsconductor:error:plan_empty"
    assert answer.json()["status"] == 422


def test_an_error_that_names_no_field_has_that_of_its_first_problem() -> None:
    problems = [Problem(code="input_unknown", message="m", field="inputs.hots"), Problem(code="x", message="n")]
    assert problem_document(from_problems("plan_invalid", problems)).field == "inputs.hots"
    assert problem_document(OpsError("not_found", "m")).field is None


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/execute-plan", 405, "method_not_allowed"),
        ("PUT", "/execute-plan", 405, "method_not_allowed"),
        ("DELETE", "/tools", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/health/", 404, "not_found"),
        ("GET", "/../etc/passwd", 404, "not_found"),
        ("POST", "/executions/nobody/cancel", 404, "not_found"),
    ],
)
async def test_what_is_not_offered_is_a_problem(site: Site, method: str, path: str, status: int, code: str) -> None:
    answer = await call(site.app, method, path)
    assert (answer.status, answer.code) == (status, code)
    assert status != 405 or answer.headers["allow"]


async def test_a_running_execution_is_cancelled_and_told_so(site: Site) -> None:
    running = asyncio.ensure_future(site.execute({"tool": "wait"}))
    await site.service.waiting.wait()
    answer = await call(site.app, "POST", "/executions/e-1/cancel")
    assert (answer.status, answer.json()) == (202, {"execution_id": "e-1", "cancel_requested": True})
    assert (await running).json()["status"] == "cancelled"


async def test_tools_are_listed_with_the_service_that_has_them(site: Site) -> None:
    answer = await call(site.app, "GET", "/tools")
    assert answer.json() == {
        "service": "automation-service",
        "version": "9.9",
        "tools": [{"tool": "echo", "executable": True}],
    }


async def test_a_defect_is_a_500_without_its_details(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    answer = await site.execute({"tool": "defect"})
    assert (answer.status, answer.code, answer.json()["retry"]) == (500, "internal_error", "unknown")
    assert b"secret detail" not in answer.body
    assert "secret detail" in caplog.text, "the log has what the answer leaves out"


async def test_answers_are_neither_cached_nor_sniffed_nor_framed(site: Site) -> None:
    for answer in (
        await call(site.app, "GET", "/health", headers=[]),
        await call(site.app, "GET", "/tools", headers=[]),
        await site.execute({"tool": "defect"}),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:3003", "[::1]:3003", "LOCALHOST:1"])
async def test_a_loopback_server_answers_to_its_own_names(host: str) -> None:
    site = Site(allowed_hosts=["localhost", "127.0.0.1", "[::1]"])
    assert (await call(site.app, "GET", "/health", headers=[("Host", host)])).status == 200


@pytest.mark.parametrize("host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil"])
async def test_a_loopback_server_refuses_names_that_a_web_page_may_have_made_up(host: str) -> None:
    site = Site(allowed_hosts=["localhost", "127.0.0.1", "[::1]"])
    answer = await call(site.app, "GET", "/tools", headers=[("Host", host), BEARER])
    assert (answer.status, answer.code) == (421, "host_not_allowed")


async def test_an_older_client_gets_statuses_it_knows_and_the_truth_as_the_code(site: Site) -> None:
    answer = await site.execute({"tool": "doubt"}, {"tool": "away"})
    document = answer.json()
    assert (document["status"], document["error_details"]["code"]) == ("timeout", "outcome_unknown")
    assert [step["status"] for step in document["step_results"]] == ["timeout", "failed"]
    assert [step["error"]["code"] for step in document["step_results"]] == ["outcome_unknown", "target_unreachable"]
    assert [step["error"]["context"]["status"] for step in document["step_results"]] == [
        "outcome_unknown",
        "unreachable",
    ]


async def test_a_client_that_says_its_version_gets_statuses_as_they_are(site: Site) -> None:
    answer = await site.execute({"tool": "doubt"}, {"tool": "away"}, headers=(MODERN,))
    assert answer.json()["status"] == "outcome_unknown"
    assert [step["status"] for step in answer.json()["step_results"]] == ["outcome_unknown", "unreachable"]


def _events(answer: Answer) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]


async def test_events_are_streamed_one_json_a_line_with_the_result_last(site: Site) -> None:
    events = _events(await site.execute({"tool": "chatter", "inputs": {"lines": 2, "width": 3}}, headers=(NDJSON,)))
    names = [event["event"] for event in events]
    assert names == ["step.started", "step.output", "step.output", "step.finished", "plan.finished"]
    assert events[1]["text"] == "xxx"
    assert events[-1]["response"]["status"] == "completed"


async def test_events_come_while_the_step_still_runs(site: Site) -> None:
    running = asyncio.ensure_future(site.execute({"tool": "wait"}, headers=(NDJSON,)))
    await site.service.waiting.wait()
    site.service.release.set()
    assert [event["event"] for event in _events(await running)] == ["step.started", "step.finished", "plan.finished"]


async def test_an_older_client_gets_older_statuses_in_the_stream_too(site: Site) -> None:
    events = _events(await site.execute({"tool": "doubt"}, headers=(NDJSON,)))
    assert events[1]["result"]["status"] == "timeout"
    assert events[2]["response"]["status"] == "timeout"
    assert events[2]["response"]["error_details"]["code"] == "outcome_unknown"


async def test_a_refusal_before_the_first_event_of_a_stream_has_its_own_status(site: Site) -> None:
    running = asyncio.ensure_future(site.execute({"tool": "wait"}))
    await site.service.waiting.wait()
    answer = await site.execute({"tool": "wait"}, headers=(NDJSON,))
    assert (answer.status, answer.code) == (409, "execution_in_progress")
    site.service.release.set()
    await running


async def test_a_recorded_answer_is_streamed_as_its_last_event_alone(site: Site) -> None:
    await site.execute({"tool": "echo"})
    events = _events(await site.execute({"tool": "echo"}, headers=(NDJSON,)))
    assert [event["event"] for event in events] == ["plan.finished"]
    assert len(site.service.requests) == 1


async def test_a_defect_in_the_middle_of_a_stream_ends_it_with_a_problem(site: Site) -> None:
    events = _events(await site.execute({"tool": "defect"}, headers=(NDJSON,)))
    assert [event["event"] for event in events] == ["step.started", "problem"]
    assert events[1]["problem"]["code"] == "internal_error"
    assert "secret detail" not in json.dumps(events)


async def test_one_hundred_requests_with_one_key_do_the_work_once(site: Site) -> None:
    same = (("Idempotency-Key", "k"),)
    racing = [asyncio.ensure_future(site.execute({"tool": "wait"}, headers=same)) for _ in range(100)]
    await site.service.waiting.wait()
    site.service.release.set()
    answers = await asyncio.gather(*racing)
    assert len(site.service.requests) == 1
    assert {answer.status for answer in answers} <= {200, 409}


async def test_a_drain_that_runs_out_of_time_cancels_what_is_left_and_says_that_the_end_is_unknown(site: Site) -> None:
    running = asyncio.ensure_future(site.execute({"tool": "wait"}))
    streaming = asyncio.ensure_future(site.execute({"tool": "wait"}, headers=(NDJSON,), execution_id="e-2"))
    while site.work.count < 2:
        await asyncio.sleep(0)
    assert await site.work.drain(0.01) == 2
    assert (await running).code == "outcome_unknown"
    assert _events(await streaming)[-1]["problem"]["code"] == "outcome_unknown"


async def test_the_metrics_page_counts_requests_by_pattern_and_never_by_path(site: Site) -> None:
    await site.execute({"tool": "echo"})
    await call(site.app, "POST", "/executions/made-up-id/cancel")
    await call(site.app, "BREW", "/made-up-path")
    site.telemetry.step_finished("automation-service", "echo", "completed", 0.1)
    site.telemetry.routed("x", "automation-service", "fallback:unknown_tool")
    page = (await call(site.app, "GET", "/metrics")).body.decode()
    assert 'opsconductor_http_requests_total{method="POST",route="/execute-plan",status="200"} 1.0' in page
    assert 'route="/executions/{execution_id}/cancel",status="404"} 1.0' in page
    assert 'opsconductor_http_requests_total{method="other",route="other",status="404"} 1.0' in page
    assert 'opsconductor_steps_total{service="automation-service",status="completed"} 1.0' in page
    assert 'opsconductor_routing_fallback_total{reason="fallback:unknown_tool"} 1.0' in page
    assert "made-up" not in page
