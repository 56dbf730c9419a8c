from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from opsconductor.engine.ports import ServiceClient
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError, Retry
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.outcome import Event, PlanRequest, StepRequest
from opsconductor.security.tokens import ServiceToken
from opsconductor.services.kit.app import create_app
from opsconductor.services.kit.http_client import HttpServiceClient
from opsconductor.services.kit.http_limits import ClientLimits
from tests.asgi import TOKEN
from tests.http_peer import Script, answers, endless, hangs, misbehaving, resets, says, serving
from tests.memory_service import MemoryService

LIMITS = ClientLimits(answer_grace_s=0.2, control_timeout_s=0.2, max_response_bytes=200_000, max_event_bytes=100_000)
ECHO = StepRequest(tool="echo", id="a", inputs={"x": 1}, timeout_s=30)
REQUEST = PlanRequest(execution_id="e-1", steps=(ECHO,), tenant_id="acme", actor_id="seven", plan_name="p")
GOOD = (
    b'{"execution_id":"e-1","status":"completed","result":{"total_steps":1,"successful_steps":1,"failed_steps":0},'
    b'"step_results":[{"step_index":0,"id":"a","tool":"echo","status":"completed"}],"completed_at":"2026-01-01T00:00:00Z"}'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
STARTED = b'{"event":"step.started","at":"","execution_id":"e-1","step_index":0}\n'


@pytest.fixture
async def service() -> MemoryService:
    return MemoryService()


@pytest.fixture
async def client(service: MemoryService) -> AsyncIterator[HttpServiceClient]:
    app = create_app(service, name="automation-service", authenticator=ServiceToken(TOKEN), version="1")
    async with serving(app) as server:
        made = HttpServiceClient(server.url, TOKEN)
        yield made
        await made.close()


async def failure(script: Script, *, streaming: bool = False, request: PlanRequest = REQUEST) -> OpsError:
    """The error that a misbehaving peer leads to."""
    async with misbehaving(script) as url:
        client = HttpServiceClient(url, TOKEN, LIMITS)
        sink = [].append if streaming else None  # type: ignore[var-annotated]
        with pytest.raises(OpsError) as caught:
            await client.execute_plan(request, on_event=sink)
        await client.close()
    return caught.value


async def test_a_plan_arrives_whole_and_its_result_comes_back(client: ServiceClient, service: MemoryService) -> None:
    request = msgspec.structs.replace(
        REQUEST,
        idempotency_key="key",
        deadline_at="2099-01-01T00:00:00.000000Z",
        epoch=3,
        steps=(
            StepRequest(
                tool="echo",
                id="a",
                operation="op",
                inputs={"x": [1, {"y": "ü"}]},
                target="web-1",
                timeout_s=2.5,
                env={"LANG": "C"},
                description="d",
                dry_run=True,
            ),
        ),
    )
    response = await client.execute_plan(request)
    assert service.requests == [request], "nothing is lost or added on the way"
    assert response.status is ExecutionStatus.COMPLETED
    assert response.step_results[0].output == {"data": {"x": [1, {"y": "ü"}]}}


async def test_newer_statuses_come_as_they_are(client: ServiceClient) -> None:
    steps = (StepRequest(tool="doubt"), StepRequest(tool="away"))
    response = await client.execute_plan(msgspec.structs.replace(REQUEST, steps=steps))
    assert response.status is ExecutionStatus.OUTCOME_UNKNOWN
    assert [step.status for step in response.step_results] == [StepStatus.OUTCOME_UNKNOWN, StepStatus.UNREACHABLE]


async def test_events_arrive_while_the_step_runs(client: ServiceClient, service: MemoryService) -> None:
    events: list[Event] = []
    started = asyncio.Event()

    def on_event(event: Event) -> None:
        events.append(event)
        started.set()

    request = msgspec.structs.replace(REQUEST, steps=(StepRequest(tool="wait", id="w"),))
    running = asyncio.ensure_future(client.execute_plan(request, on_event=on_event))
    await started.wait()
    assert [event.event for event in events] == ["step.started"]
    service.release.set()
    response = await running
    assert [event.event for event in events] == ["step.started", "step.finished", "plan.finished"]
    assert events[-1].response == response


async def test_a_sink_that_raises_does_not_change_the_result(client: ServiceClient) -> None:
    def broken(_event: Event) -> None:
        raise ValueError("the listener's defect")

    assert (await client.execute_plan(REQUEST, on_event=broken)).status is ExecutionStatus.COMPLETED


async def test_cancel_tools_and_ready(client: ServiceClient, service: MemoryService) -> None:
    request = msgspec.structs.replace(REQUEST, steps=(StepRequest(tool="wait"),))
    running = asyncio.ensure_future(client.execute_plan(request))
    await service.waiting.wait()
    assert await client.cancel("e-1") is True
    assert (await running).status is ExecutionStatus.CANCELLED
    assert await client.cancel("e-1") is False
    assert await client.cancel("../../tools?x=/") is False
    assert await client.tools() == [{"tool": "echo", "executable": True}]
    assert await client.ready() == {"ready": True, "missing": []}
    service.is_ready = False
    assert await client.ready() == {"ready": False, "missing": ["a disk"]}


async def test_one_connection_is_kept(client: ServiceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await client.execute_plan(REQUEST)
    monkeypatch.setattr(socket, "socket", None)  # another connection would need one
    await client.execute_plan(msgspec.structs.replace(REQUEST, execution_id="e-2"))


async def test_the_credential_of_the_url_is_used_and_never_shown(service: MemoryService) -> None:
    app = create_app(service, name="automation-service", authenticator=ServiceToken("p@ss:w/rd"), version="1")
    async with serving(app) as server:
        url = server.url.replace("http://", "http://svc:p%40ss%3Aw%2Frd@")
        client = HttpServiceClient(url, "another")
        assert (await client.execute_plan(REQUEST)).status is ExecutionStatus.COMPLETED
        assert "ss" not in repr(client).replace("HttpServiceClient", "")
        await client.close()
    with pytest.raises(OpsError) as caught:
        await client.execute_plan(REQUEST)
    await client.close()
    assert caught.value.code == "service_unreachable"
    assert "w/rd" not in str(caught.value)
    assert "w%2Frd" not in str(caught.value)


async def test_a_refused_credential_is_named(service: MemoryService) -> None:
    app = create_app(service, name="automation-service", authenticator=ServiceToken("other"), version="1")
    async with serving(app) as server:
        client = HttpServiceClient(server.url, TOKEN)
        with pytest.raises(OpsError) as caught:
            await client.execute_plan(REQUEST)
        await client.close()
    assert caught.value.code == "credential_invalid"
    assert service.requests == []


async def test_the_services_refusal_comes_with_its_code_and_problems(client: ServiceClient) -> None:
    with pytest.raises(OpsError) as caught:
        await client.execute_plan(msgspec.structs.replace(REQUEST, execution_id="not an id"))
    assert caught.value.code == "request_invalid"
    assert caught.value.problems[0].field == "execution_id"


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [f"http://127.0.0.1:{closed_port()}", "http://name.invalid:1", "unix:/nowhere/there.sock"],
    ids=["refused", "unknown name", "no socket"],
)
async def test_a_peer_that_cannot_be_connected_to_has_started_nothing(url: str) -> None:
    client = HttpServiceClient(url, TOKEN, LIMITS)
    with pytest.raises(OpsError) as caught:
        await client.execute_plan(REQUEST)
    await client.close()
    assert (caught.value.code, caught.value.kind.retry) == ("service_unreachable", Retry.SAFE)


async def test_a_peer_that_does_not_speak_tls_has_started_nothing() -> None:
    async with misbehaving(hangs) as url:
        client = HttpServiceClient(url.replace("http:", "https:"), TOKEN, ClientLimits(connect_timeout_s=0.2))
        with pytest.raises(OpsError) as caught:
            await client.ready()
        await client.close()
    assert caught.value.code == "service_unreachable"


@pytest.mark.parametrize(
    "script", [says(), resets, says(b"HTTP/1.1 200 OK\r\nContent-Ty"), says(b"HTTP/1.1 200", then=resets)]
)
async def test_an_end_after_sending_is_unknown(script: Script) -> None:
    error = await failure(script)
    assert (error.code, error.kind.retry) == ("service_connection_lost", Retry.UNKNOWN)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_body_that_is_cut_by_its_own_framing_is_unknown(streaming: bool) -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n" + GOOD[:50]
    assert (await failure(says(half), streaming=streaming)).code == "service_connection_lost"


@pytest.mark.parametrize(
    "script", [hangs, says(JSON_HEAD + GOOD[:50], then=hangs), says(STREAM_HEAD + STARTED, then=hangs)]
)
async def test_a_slow_service_is_waited_for_until_the_steps_limit_and_the_grace_are_over(script: Script) -> None:
    step = StepRequest(tool="echo", timeout_s=0.1)
    begin = time.monotonic()
    error = await failure(script, streaming=True, request=msgspec.structs.replace(REQUEST, steps=(step,)))
    assert error.code == "service_connection_lost"
    assert "0.3 s" in error.message
    assert 0.3 <= time.monotonic() - begin < 3


async def test_a_deadline_bounds_the_wait_as_well() -> None:
    deadline = to_rfc3339(datetime.now(UTC) + timedelta(seconds=0.1))
    begin = time.monotonic()
    error = await failure(hangs, request=msgspec.structs.replace(REQUEST, deadline_at=deadline))
    assert error.code == "service_connection_lost"
    assert time.monotonic() - begin < 3


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (answers(b"<html>oops</html>", media_type="text/html"), "text/html"),
        (answers(b"Internal Server Error", status="500 Oh no", media_type="text/plain"), "status 500"),
        (answers(b"{}", status="500 Oh no"), "status 500"),
        (answers(b"", status="204 No Content"), "status 204"),
        (answers(b"", status="302 Found", extra=("Location: http://127.0.0.1:1/",)), "status 302"),
        (answers(b"", status="307 Temporary", extra=("Location: /elsewhere",)), "status 307"),
        (answers(GOOD[:50]), "truncated"),
        (answers(b""), "truncated"),
        (answers(b"[1,2]"), "Expected"),
        (answers(b'{"error_details":{"a":' + b"[" * 100_000), "nests too deep"),
        (answers(b'{"a":"\xff"}'), "answered"),
        (answers(b'{"ok":true}'), "missing required field"),
        (answers(GOOD.replace(b"e-1", b"e-2")), "execution 'e-2'"),
        (answers(GOOD.replace(b'"status":"completed","result"', b'"status":"running","result"')), "not an end"),
        (answers(GOOD.replace(b'"status":"completed"}', b'"status":"dispatched"}')), "not an end"),
        (answers(GOOD.replace(b'"status":"completed"}', b'"status":"splendid"}')), "splendid"),
        (answers(GOOD.replace(b'"step_index":0', b'"step_index":1')), "results of steps [1]"),
        (answers(b'{"execution_id":"e-1","status":"completed","step_results":[]}'), "results of steps []"),
        (answers(b"x" * 100, extra=("Content-Encoding: gzip",)), "compressed"),
        (
            answers(b'{"code":"made_up","detail":"x"}', status="400 Bad", media_type="application/problem+json"),
            "made_up",
        ),
        (answers(b"{", status="400 Bad", media_type="application/problem+json"), "truncated"),
        (answers(b" " * 300_000), "more than 200000 bytes"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "HTTP that cannot be read"),
        (says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"), "HTTP that cannot be read"),
    ],
)
async def test_an_answer_that_does_not_follow_the_contract_is_named_with_what_was_found(
    script: Script, said: str
) -> None:
    error = await failure(script)
    assert (error.code, error.kind.retry) == ("service_answer_invalid", Retry.UNKNOWN)
    assert said in error.message
    assert len(error.message) < 1000
    assert str(error.context.get("excerpt", "")).isprintable()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b"", "without plan.finished"),
        (STARTED, "without plan.finished"),
        (STARTED + b'{"event":"plan.fin', "middle of a line"),
        (b"not json\n", "malformed"),
        (b"\n", "truncated"),
        (STARTED.replace(b"e-1", b"e-9"), "execution 'e-9'"),
        (b'{"event":"plan.finished","at":"","execution_id":"e-1"}\n', "without a response"),
        (
            b'{"event":"plan.finished","at":"","execution_id":"e-1","response":'
            + GOOD.replace(b"e-1", b"e-2")
            + b"}\n",
            "e-2",
        ),
        (b'{"event":"problem","problem":{"code":"made_up"}}\n', "made_up"),
        (b"x" * 150_000, "more than 100000 bytes"),
        (b"x" * 150_000 + b"\n", "more than 100000 bytes"),
    ],
)
async def test_a_stream_that_does_not_follow_the_contract_is_named_with_what_was_found(lines: bytes, said: str) -> None:
    error = await failure(says(STREAM_HEAD + lines), streaming=True)
    assert error.code == "service_answer_invalid"
    assert said in error.message


async def test_a_problem_in_the_middle_of_a_stream_is_the_services_error() -> None:
    line = b'{"event":"problem","at":"","problem":{"code":"outcome_unknown","detail":"it stopped"}}\n'
    error = await failure(says(STREAM_HEAD + STARTED + line), streaming=True)
    assert (error.code, error.message) == ("outcome_unknown", "it stopped")


@pytest.mark.parametrize(("head", "streaming"), [(JSON_HEAD, False), (STREAM_HEAD, True)])
async def test_a_gigabyte_is_given_up_early_within_bounded_memory(head: bytes, streaming: bool) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    error = await failure(endless(head, b"x" * 2**20, 1024), streaming=streaming)
    assert error.code == "service_answer_invalid"
    assert time.monotonic() - begin < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024, "kilobytes"


async def test_the_context_of_a_refusal_may_have_any_keys() -> None:
    body = b'{"code":"request_invalid","detail":"d","context":{"code":1,"message":2,"problems":3,"peer":4,"a b":5}}'
    error = await failure(answers(body, status="422 No", media_type="application/problem+json"))
    assert (error.code, error.message, error.context["a b"]) == ("request_invalid", "d", 5)
    assert error.context["peer"].startswith("http://127.0.0.1:")


async def test_a_foreign_service_may_leave_out_what_it_says_nothing_about() -> None:
    body = (
        b'{"execution_id":"e-1","status":"failed","step_results":[{"step_index":0,"status":"failed",'
        b'"error":"no such disk","output":null,"duration_ms":12.6}]}'
    )
    async with misbehaving(answers(body)) as url:
        client = HttpServiceClient(url, TOKEN, LIMITS)
        response = await client.execute_plan(REQUEST)
        await client.close()
    step = response.step_results[0]
    assert (step.id, step.tool, step.duration_ms, step.output) == ("a", "echo", 13, {})
    assert step.error is not None
    assert step.error.message == "no such disk"
    assert response.result.failed_steps == 1


async def test_a_json_answer_to_a_request_for_events_is_taken() -> None:
    async with misbehaving(answers(GOOD)) as url:
        client = HttpServiceClient(url, TOKEN, LIMITS)
        events: list[Event] = []
        assert (await client.execute_plan(REQUEST, on_event=events.append)).status is ExecutionStatus.COMPLETED
        await client.close()


async def test_proxies_of_the_environment_are_not_asked(client: ServiceClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert (await client.execute_plan(REQUEST)).status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize(
    "url", ["", "localhost:3003", "ftp://x", "http://", "http://h:port", "http://h:99999", "http://h/?a=b"]
)
def test_a_url_that_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(OpsError, match="service URL cannot be used") as caught:
        HttpServiceClient(url.replace("http://h", "http://u:s3cret@h"))
    assert "s3cret" not in str(caught.value)


def test_the_folder_of_a_url_is_kept() -> None:
    assert repr(HttpServiceClient("https://gate.example/ops/")) == "HttpServiceClient(https://gate.example:443/ops)"
    assert repr(HttpServiceClient("http://[::1]:3003")) == "HttpServiceClient(http://[::1]:3003)"
