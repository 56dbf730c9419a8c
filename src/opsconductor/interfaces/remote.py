"""A conductor on the other end of HTTP: a server elsewhere, or the one on this machine through its socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from opsconductor.interfaces.ports import EventSink, ListQuery, Submission
from opsconductor.model.errors import ERRORS, OpsError, Problem
from opsconductor.model.outcome import Event, PlanResponse

_CONNECT_S = 5.0
_CONTROL_S = 30.0
_LINE_BYTES = 64 * 1024**2


async def answers(socket: Path) -> bool:
    """Whether a server listens on a socket; the file may be left over from one that was killed."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_unix_connection(socket)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


class RemoteConductor:
    """Implements `interfaces.ports.Conductor`."""

    def __init__(self, url: str, authorization: str, *, unix_socket: Path | None = None) -> None:
        """`url` without a credential; `authorization` is the header's value."""
        self._url, self._authorization, self._socket = url.rstrip("/"), authorization, unix_socket
        self._session: aiohttp.ClientSession | None = None

    async def execute(self, submission: Submission, *, on_event: EventSink | None = None) -> PlanResponse:
        """Send the plan and follow its events to the end.

        A cancelled task cancels the plan at the server, follows it for a while longer, and re-raises.
        """
        running: list[str] = []

        def note(event: Event) -> None:
            running[:] = [event.execution_id]
            if on_event is not None:
                on_event(event)

        following = asyncio.ensure_future(self._follow(submission, note))
        try:
            return await asyncio.shield(following)
        except OpsError as error:
            if error.code != "service_connection_lost" or not running:
                raise
            message = (
                f"{error.message}; execution {running[0]} may go on: "
                f"`opsconductor executions show {running[0]}` tells what became of it"
            )
            raise OpsError(error.code, message, execution_id=running[0]) from error
        except asyncio.CancelledError:
            for execution_id in running:
                with contextlib.suppress(OpsError):
                    await self.cancel_execution(execution_id)
                await asyncio.wait({following}, timeout=_CONTROL_S)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            raise

    async def _follow(self, submission: Submission, on_event: EventSink) -> PlanResponse:
        headers = {"Accept": "application/x-ndjson"}
        response: PlanResponse | None = None
        async with self._call("POST", "/execute-plan", submission_document(submission), None, headers) as answer:
            async for line in answer.content:
                event = _read(line, _event)
                response = event.response or response
                on_event(event)
        if response is None:
            raise OpsError(
                "service_connection_lost",
                "the server's answer ended before the plan did; `opsconductor executions list` shows how it goes on",
            )
        return response

    async def check(self, submission: Submission) -> None:
        """Let the server read and check the plan."""
        await self.explain(submission)

    async def submit(self, submission: Submission) -> str:
        """Hand the plan over; it is on the server's disk when this returns."""
        answer = await self._json(
            "POST", "/api/v1/executions", submission_document(submission), expected=["execution_id"]
        )
        return str(answer["execution_id"])

    async def explain(self, submission: Submission) -> dict[str, Any]:
        """What the plan would do there."""
        return await self._json("POST", "/api/v1/explain", submission_document(submission), expected=["steps"])

    async def list_executions(self, query: ListQuery) -> dict[str, Any]:
        """One page of the server's history."""
        given = {key: str(value) for key, value in msgspec.structs.asdict(query).items() if value is not None}
        return await self._json("GET", "/api/v1/executions", params=given, expected=["executions", "next_before_id"])

    async def show_execution(self, execution_id: str) -> dict[str, Any]:
        """Everything recorded of one execution."""
        return await self._json("GET", f"/api/v1/executions/{quote(execution_id, safe='')}", expected=["steps"])

    async def execution_logs(self, execution_id: str, step: str | None) -> list[dict[str, Any]]:
        """Output of its steps."""
        params = {"step": step} if step else {}
        answer = await self._json(
            "GET", f"/api/v1/executions/{quote(execution_id, safe='')}/logs", params=params, expected=["logs"]
        )
        return list(answer["logs"])

    async def cancel_execution(self, execution_id: str) -> bool:
        """Ask the server to cancel."""
        try:
            await self._json("POST", f"/executions/{quote(execution_id, safe='')}/cancel")
        except OpsError as error:
            if error.code == "not_found":
                return False
            raise
        return True

    async def call(self, service: str, tool: str, operation: str, inputs: dict[str, Any]) -> Any:
        """One operation of a service, outside of any plan."""
        body = {"service": service, "tool": tool, "operation": operation, "inputs": inputs}
        return (await self._json("POST", "/api/v1/call", body, expected=["data"]))["data"]

    async def close(self) -> None:
        """Give back the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.UnixConnector(str(self._socket)) if self._socket else aiohttp.TCPConnector()
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers={"Authorization": self._authorization, "OpsConductor-Version": "1"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                read_bufsize=_LINE_BYTES,
                trust_env=False,
            )
        return self._session

    async def _json(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        *,
        expected: Sequence[str] = (),
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_CONTROL_S), self._call(method, path, body, params) as answer:
                found = _read(await answer.read(), _document)
        except TimeoutError as error:
            message = (
                f"the server did not answer within {_CONTROL_S:g} s; `opsconductor executions list` shows what ran"
            )
            raise OpsError("service_connection_lost", message) from error
        if missing := [key for key in expected if key not in found]:
            message = f"the server's answer has no {missing[0]!r}; does the URL name an OpsConductor server?"
            raise OpsError("service_answer_invalid", message)
        return found

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        data = None if body is None else msgspec.json.encode(body)
        sent = {**(headers or {}), **({"Content-Type": "application/json"} if data else {})}
        try:
            async with self._open().request(
                method, self._url + path, data=data, params=params, headers=sent, allow_redirects=False
            ) as answer:
                if answer.status >= 300:
                    raise _refusal(await answer.content.read(1024**2), answer.status)
                yield answer
        except aiohttp.ClientConnectorError as error:
            where = str(self._socket) if self._socket else self._url
            message = f"the server at {where} cannot be reached ({error.strerror or error}); nothing was started"
            raise OpsError("service_unreachable", message) from error
        except aiohttp.ClientError as error:
            what = "in the middle of its answer" if isinstance(error, aiohttp.ClientPayloadError) else f"({error})"
            raise OpsError("service_connection_lost", f"the connection to the server ended {what}") from error


def submission_document(submission: Submission) -> dict[str, Any]:
    """A submission as the gateway's request body."""
    document: dict[str, Any] = {"inputs": submission.inputs, "source": submission.source}
    if submission.document is not None:
        try:
            document["document"] = submission.document.decode()
        except UnicodeDecodeError as error:
            line = submission.document[: error.start].count(b"\n") + 1
            problem = Problem(code="yaml_invalid", file=submission.file, line=line, message="this is not UTF-8 text")
            raise OpsError("yaml_invalid", problem.render(), problems=[problem]) from error
        document["file"] = submission.file
    else:
        document["plan"] = submission.plan
    optional = {
        "execution_id": submission.execution_id,
        "tenant_id": submission.tenant_id,
        "actor_id": submission.actor_id,
    }
    return {**document, **{key: value for key, value in optional.items() if value is not None}}


T = TypeVar("T")


def _read(body: bytes, as_what: Callable[[bytes], T]) -> T:
    try:
        return as_what(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
        message = f"the server's answer cannot be read ({error}); does the URL name an OpsConductor server?"
        raise OpsError("service_answer_invalid", message) from error


def _document(body: bytes) -> dict[str, Any]:
    return msgspec.json.decode(body, type=dict[str, Any])


def _event(line: bytes) -> Event:
    document = msgspec.json.decode(line, type=dict[str, Any])
    if document.get("event") == "problem":
        raise _error_of(document["problem"])
    return msgspec.convert(document, Event)


def _refusal(body: bytes, status: int) -> OpsError:
    try:
        return _error_of(msgspec.json.decode(body, type=dict[str, Any]))
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        return OpsError("service_answer_invalid", f"the server answered with status {status} and no explanation")


def _error_of(document: dict[str, Any]) -> OpsError:
    code = str(document["code"]) if str(document["code"]) in ERRORS else "service_answer_invalid"
    problems = [msgspec.convert(problem, Problem) for problem in document.get("problems") or ()]
    return OpsError(code, str(document.get("detail") or document.get("title") or code), problems=problems)
