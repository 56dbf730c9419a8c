"""Runs one execution for a request and answers it: one JSON document, or events as they happen.

The application of every service uses this, and so does the orchestrating server with a `PlanRun` of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from opsconductor.engine.ports import EventSink
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import Event, PlanResponse
from opsconductor.services.kit.older_clients import event_for_older_client, for_older_client
from opsconductor.services.kit.problem import problem_document
from opsconductor.services.kit.running_work import RunningWork
from opsconductor.services.kit.streaming import NDJSON, EventLines, encode_line

PlanRun = Callable[[EventSink | None], Awaitable[PlanResponse]]
"""Executes the plan of one request; raises OpsError when it is refused."""


async def respond(
    request: Request, run: PlanRun, work: RunningWork, *, modern: bool, stream_buffer_bytes: int
) -> Response:
    """Execute and answer in the form that the request accepts. A caller that leaves does not end the execution.

    `modern` clients get every status as it is. Raises the OpsError of `run` when nothing has been answered yet.
    """
    if NDJSON in request.headers.get("accept", "").lower():
        return await stream(run, work, modern=modern, buffer_bytes=stream_buffer_bytes)
    task = work.start(_coroutine(run, None))
    return answer(await _settled(task), modern=modern)


def answer(response: PlanResponse, *, modern: bool) -> Response:
    """The result as one JSON document; a plan that failed is a 200 as well: the request was understood and served."""
    shown = response if modern else for_older_client(response)
    return Response(msgspec.json.encode(shown), media_type="application/json")


async def stream(run: PlanRun, work: RunningWork, *, modern: bool, buffer_bytes: int) -> Response:
    """Events as NDJSON, `plan.finished` last. A refusal before the first event is raised, so that it gets its status.

    An error after the first event is the last line instead: `{"event": "problem", "problem": {…}}`.
    """
    lines = EventLines(buffer_bytes, _same if modern else event_for_older_client)
    task = work.start(_coroutine(run, lines.push))
    task.add_done_callback(lambda _: lines.close())
    first = await lines.take()
    if first is None:
        return StreamingResponse(_once(_last_line(await _settled(task), modern=modern)), media_type=NDJSON)
    return StreamingResponse(_lines(first, lines, task, modern=modern), media_type=NDJSON)


async def _coroutine(run: PlanRun, sink: EventSink | None) -> PlanResponse:
    return await run(sink)


async def _lines(
    first: bytes, lines: EventLines, task: asyncio.Task[PlanResponse], *, modern: bool
) -> AsyncIterator[bytes]:
    try:
        chunk: bytes | None = first
        while chunk is not None:
            yield chunk
            chunk = await lines.take()
        yield await _ending(task, modern=modern)
    finally:
        lines.close()


async def _ending(task: asyncio.Task[PlanResponse], *, modern: bool) -> bytes:
    try:
        return _last_line(await _settled(task), modern=modern)
    except OpsError as error:
        return _problem_line(error)
    except Exception:  # noqa: BLE001 - recorded by RunningWork; the reader must hear that there is no result
        return _problem_line(
            OpsError("internal_error", "a defect ended the execution; the service's log has the details")
        )


def _problem_line(error: OpsError) -> bytes:
    return encode_line({"event": "problem", "at": _now(), "problem": problem_document(error)})


async def _settled(task: asyncio.Task[PlanResponse]) -> PlanResponse:
    """The task's result. Waiting for it may be cancelled, the task is not."""
    await asyncio.wait((task,))
    if task.cancelled():
        raise OpsError("outcome_unknown", "the server stopped before the plan ended; ask again with the same key")
    return task.result()


def _last_line(response: PlanResponse, *, modern: bool) -> bytes:
    shown = response if modern else for_older_client(response)
    return encode_line(Event(event="plan.finished", at=_now(), execution_id=shown.execution_id, response=shown))


async def _once(line: bytes) -> AsyncIterator[bytes]:
    yield line


def _same(event: Event) -> Event:
    return event


def _now() -> str:
    return to_rfc3339(datetime.now(UTC))
