"""A service over HTTP: `engine.ports.ServiceClient` on one kept aiohttp session. Bootstrap makes one for each service.

What it says about a failure is what can be known: refused before anything was sent is `service_unreachable` (nothing
started); an end after sending is `service_connection_lost` and a wrong answer `service_answer_invalid` (both unknown).
Redirects and proxies of the environment are never followed: a credential goes to the URL it was configured for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from opsconductor import __version__
from opsconductor.engine.ports import EventSink
from opsconductor.model.clock import from_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import PlanRequest, PlanResponse
from opsconductor.services.kit.bounded_reading import read_all, read_lines
from opsconductor.services.kit.http_limits import ClientLimits
from opsconductor.services.kit.problem import PROBLEM_JSON
from opsconductor.services.kit.request_reader import DEADLINE, EPOCH, IDEMPOTENCY_KEY, VERSION
from opsconductor.services.kit.service_answers import decode_event, decode_plan_response, decode_problem, invalid
from opsconductor.services.kit.service_url import ServiceUrl, parse_service_url
from opsconductor.services.kit.step_events import ExecutionEvents
from opsconductor.services.kit.streaming import NDJSON

# Shorter than the 75 s that our server keeps an idle connection, so that a request never meets one just being closed.
_KEEPALIVE_S = 30.0
_MAX_PROBLEM_BYTES = 1024**2
_ONE_GO_BYTES = 256 * 1024
_JSON = "application/json"
T = TypeVar("T")


class HttpServiceClient:
    """One service at one URL. Cancelling a call closes its connection only: the service goes on; use `cancel`."""

    def __init__(
        self,
        url: str,
        token: str = "",
        limits: ClientLimits | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`url` may carry the credential (`http://svc:TOKEN@host:port`); connects at the first call."""
        self._url = parse_service_url(url, token)
        self._limits = limits or ClientLimits()
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def execute_plan(self, request: PlanRequest, *, on_event: EventSink | None = None) -> PlanResponse:
        """Send the plan and wait for its result; with `on_event` the events arrive as they happen.

        Raises OpsError as `engine.ports.ServiceClient` says; the answer is read within bounded memory.
        """
        headers = _headers(request, streaming=on_event is not None)
        body = msgspec.json.encode(_document(request))
        async with self._call("POST", "/execute-plan", self._patience_s(request), body=body, headers=headers) as answer:
            if on_event is not None and answer.content_type == NDJSON:
                return await self._read_stream(answer, request, on_event)
            return decode_plan_response(await self._read_json(answer), request, self._peer)

    async def cancel(self, execution_id: str) -> bool:
        """Ask for cancellation; False when the service does not run that execution."""
        path = f"/executions/{quote(execution_id, safe='')}/cancel"
        try:
            async with self._call("POST", path, self._limits.control_timeout_s) as answer:
                await self._read_json(answer)
        except OpsError as error:
            if error.code == "not_found":
                return False
            raise
        return True

    async def tools(self) -> list[dict[str, Any]]:
        """What the service can execute."""
        async with self._call("GET", "/tools", self._limits.control_timeout_s) as answer:
            return (await self._read_as(answer, _Tools)).tools

    async def ready(self) -> dict[str, Any]:
        """Whether it takes work, and what is missing."""
        async with self._call("GET", "/ready", self._limits.control_timeout_s, accept={200, 503}) as answer:
            return msgspec.structs.asdict(await self._read_as(answer, _Ready))

    async def close(self) -> None:
        """Give back the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def __repr__(self) -> str:
        return f"HttpServiceClient({self._peer})"

    @property
    def _peer(self) -> str:
        return self._url.shown

    def _patience_s(self, request: PlanRequest) -> float:
        """How long the answer may take: the deadline, else the steps' own limits one after the other; and the grace."""
        limits = [step.timeout_s for step in request.steps]
        named = [limit for limit in limits if limit is not None]
        allowed = sum(named) if len(named) == len(limits) else self._limits.plan_timeout_s
        if request.deadline_at is not None:
            allowed = max(0.0, (_time(request.deadline_at) - self._now()).total_seconds())
        return min(allowed, self._limits.plan_timeout_s) + self._limits.answer_grace_s

    def _connected(self) -> aiohttp.ClientSession:
        """The session belongs to the running loop, so it is made at the first call."""
        if self._session is None:
            self._session = _session(self._url, self._limits)
        return self._session

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        accept: frozenset[int] | set[int] = frozenset({200, 202}),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange, with every way to fail translated. The time limit covers the reading of the answer too."""
        sent = SimpleNamespace(headers=False)
        url = URL(self._url.base + path, encoded=True)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._connected().request(
                    method, url, data=_payload(body), headers=headers, allow_redirects=False, trace_request_ctx=sent
                ) as answer,
            ):
                if answer.status not in accept:
                    raise await self._refusal(answer)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._failure(error, was_sent=sent.headers, timeout_s=timeout_s) from error

    def _failure(self, error: Exception, *, was_sent: bool, timeout_s: float) -> OpsError:
        what = str(error) or type(error).__name__
        if isinstance(error, aiohttp.ClientResponseError):  # bytes that are not HTTP, headers beyond the limits
            return invalid(self._peer, f"HTTP that cannot be read ({error.message[:200]})")
        if not was_sent:
            return OpsError(
                "service_unreachable",
                f"{self._peer} cannot be connected to ({what}); nothing was started."
                " Start the service, or correct its URL",
                peer=self._peer,
            )
        if isinstance(error, TimeoutError):
            what = f"no answer within {timeout_s:g} s"
        if isinstance(error, aiohttp.ClientPayloadError):
            what = "the connection ended in the middle of the answer"
        return OpsError(
            "service_connection_lost",
            f"{self._peer}: {what}, after the request was sent; whether the steps ran is unknown."
            " Ask again with the same idempotency key: it returns the recorded result",
            peer=self._peer,
        )

    async def _refusal(self, answer: aiohttp.ClientResponse) -> OpsError:
        """The error behind a status that is not a success."""
        if answer.status == 401:
            return OpsError(
                "credential_invalid",
                f"{self._peer} does not accept the credential; nothing was started. Set OPSCONDUCTOR_SERVICE_TOKEN"
                " to the same value on both sides",
                peer=self._peer,
            )
        if answer.content_type == PROBLEM_JSON:
            return decode_problem(await read_all(answer, _MAX_PROBLEM_BYTES, self._peer), self._peer)
        beginning = await answer.content.read(1024)
        return invalid(self._peer, f"status {answer.status} with {answer.content_type}", beginning)

    async def _read_as(self, answer: aiohttp.ClientResponse, shape: type[T]) -> T:
        body = await self._read_json(answer)
        try:
            return msgspec.json.decode(body, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(self._peer, str(error), body) from error

    async def _read_json(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.content_type != _JSON:
            raise invalid(self._peer, f"{answer.content_type} instead of JSON", await answer.content.read(1024))
        return await read_all(answer, self._limits.max_response_bytes, self._peer)

    async def _read_stream(
        self, answer: aiohttp.ClientResponse, request: PlanRequest, on_event: EventSink
    ) -> PlanResponse:
        events = ExecutionEvents(request.execution_id, on_event, _no_time)
        async for line in read_lines(answer, self._limits.max_event_bytes, self._peer):
            event = decode_event(line, request, self._peer)
            events.send(event)
            if event.response is not None:
                return event.response
        raise invalid(self._peer, "a stream that ends without plan.finished")


class _Tools(msgspec.Struct):
    tools: list[dict[str, Any]]


class _Ready(msgspec.Struct):
    ready: bool
    missing: list[Any] = []


def _time(deadline_at: str) -> datetime:
    try:
        return from_rfc3339(deadline_at)
    except ValueError as error:
        raise OpsError(
            "request_invalid",
            f"deadline_at: found {deadline_at[:60]!r}, expected a time such as 2026-01-02T03:04:05Z",
            field="deadline_at",
        ) from error


def _payload(body: bytes | None) -> bytes | BytesIO | None:
    """aiohttp sends bytes in one go and a file in pieces; the latter lets others run, and a refusal be heard."""
    return BytesIO(body) if body is not None and len(body) > _ONE_GO_BYTES else body


def _no_time() -> str:
    """Events come with their times."""
    return ""


def _session(url: ServiceUrl, limits: ClientLimits) -> aiohttp.ClientSession:
    """A session that goes to one peer only; aiohttp sets TCP_NODELAY on its connections."""
    connector: aiohttp.BaseConnector
    if url.unix_socket:
        connector = aiohttp.UnixConnector(url.unix_socket, limit=0, keepalive_timeout=_KEEPALIVE_S)
    else:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"opsconductor/{__version__}", VERSION: __version__}
    if url.authorization:
        headers["Authorization"] = url.authorization
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note_sent)
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        trace_configs=[trace],
    )


async def _note_sent(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object) -> None:
    context.trace_request_ctx.headers = True


def _headers(request: PlanRequest, *, streaming: bool) -> dict[str, str]:
    headers = {"Content-Type": _JSON, "Accept": f"{NDJSON}, {_JSON};q=0.5" if streaming else _JSON}
    if request.idempotency_key is not None:
        headers[IDEMPOTENCY_KEY] = request.idempotency_key
    if request.deadline_at is not None:
        headers[DEADLINE] = request.deadline_at
    if request.epoch:
        headers[EPOCH] = str(request.epoch)
    return headers


def _document(request: PlanRequest) -> dict[str, Any]:
    plan: dict[str, Any] = {"steps": request.steps}
    if request.plan_name:
        plan["name"] = request.plan_name
    return {
        "execution_id": request.execution_id,
        "plan": plan,
        "tenant_id": request.tenant_id,
        "actor_id": request.actor_id,
    }
