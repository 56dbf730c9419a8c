"""The gateway's application: `POST /execute-plan` for whole plans, and `/api/v1/…` for history and explanations.

Reading, answering and streaming are those of every service (`services.kit`); what differs is that a plan is run by the
engine, and each of its steps by the service that owns it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opsconductor.engine.ports import EventSink
from opsconductor.interfaces.api.once import Once
from opsconductor.interfaces.ports import Conductor, ListQuery, Submission
from opsconductor.model.errors import OpsError, Problem, from_problems
from opsconductor.model.outcome import PlanResponse
from opsconductor.services.kit.answering import PlanRun
from opsconductor.services.kit.app import Intake
from opsconductor.services.kit.http_limits import HttpLimits
from opsconductor.services.kit.request_reader import CallHeaders, read_body

_KEYS = {
    "plan": "a plan (object)",
    "document": "a plan as YAML or JSON text",
    "file": "the name of the document, for error messages",
    "inputs": "values of the plan's inputs",
    "execution_id": "an id of 1 to 128 of A-Z a-z 0-9 . _ -",
    "tenant_id": "a text",
    "actor_id": "a text or a number",
    "source": "where the plan comes from",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "plan": (dict,),
    "document": (str,),
    "file": (str, type(None)),
    "inputs": (dict,),
    "execution_id": (str,),
    "tenant_id": (str, type(None)),
    "actor_id": (str, int, type(None)),
    "source": (str,),
}
MAX_LIST = 999
_EXECUTION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def read_submission(document: Mapping[str, Any], headers: CallHeaders) -> Submission:
    """The submission in a request body. Raises OpsError(`request_invalid`) with every problem."""
    problems = [
        Problem(code="request_invalid", field=key, message=f"unknown key {key[:100]!r}; expected {', '.join(_KEYS)}")
        for key in document
        if key not in _KEYS
    ]
    problems += [
        Problem(code="request_invalid", field=key, message=f"{key}: expected {_KEYS[key]}")
        for key, value in document.items()
        if key in _TYPES and (not isinstance(value, _TYPES[key]) or isinstance(value, bool))
    ]
    if ("plan" in document) == ("document" in document):
        problems.append(Problem(code="request_invalid", field="plan", message="expected either 'plan' or 'document'"))
    given_id = document.get("execution_id")
    if isinstance(given_id, str) and not _EXECUTION_ID.fullmatch(given_id):
        message = f"execution_id: expected {_KEYS['execution_id']}"
        problems.append(Problem(code="request_invalid", field="execution_id", message=message))
    if problems:
        raise from_problems("request_invalid", problems)
    text = document.get("document")
    return Submission(
        document=None if text is None else text.encode("utf-8", "surrogatepass"),
        file=document.get("file"),
        plan=document.get("plan"),
        inputs=document.get("inputs", {}),
        execution_id=given_id,
        idempotency_key=headers.idempotency_key,
        tenant_id=document.get("tenant_id"),
        actor_id=document.get("actor_id"),
        source=document.get("source", "api"),
    )


def gateway_intake(once: Once) -> Intake:
    """What turns a body into a run of the engine."""

    def intake(document: Mapping[str, Any], headers: CallHeaders) -> PlanRun:
        submission = read_submission(document, headers)

        async def run(sink: EventSink | None) -> PlanResponse:
            return await once.execute(submission, sink)

        return run

    return intake


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _list_query(request: Request) -> ListQuery:
    given = dict(request.query_params)
    unknown = sorted(given.keys() - {"limit", "before_id", "status", "tool", "text"})
    if unknown:
        raise OpsError("request_invalid", f"unknown query parameter {unknown[0][:100]!r}", field=unknown[0][:100])
    try:
        query = msgspec.convert(given, ListQuery, strict=False)
    except msgspec.ValidationError as error:
        raise OpsError("request_invalid", f"query parameter: {error}") from error
    if not 1 <= query.limit <= MAX_LIST:
        raise OpsError("request_invalid", f"limit: found {query.limit}, expected 1 to {MAX_LIST}", field="limit")
    return query


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    service: str
    tool: str
    operation: str
    inputs: dict[str, Any] = {}


def gateway_routes(conductor: Conductor, limits: HttpLimits) -> list[Route]:
    """The routes under `/api/v1`."""

    async def submit(request: Request) -> Response:
        submission = read_submission(await read_body(request, limits), CallHeaders())
        return _json({"execution_id": await conductor.submit(submission), "status": "queued"}, 202)

    async def explain(request: Request) -> Response:
        return _json(await conductor.explain(read_submission(await read_body(request, limits), CallHeaders())))

    async def list_executions(request: Request) -> Response:
        return _json(await conductor.list_executions(_list_query(request)))

    async def show(request: Request) -> Response:
        return _json(await conductor.show_execution(request.path_params["execution_id"]))

    async def logs(request: Request) -> Response:
        step = request.query_params.get("step")
        return _json({"logs": await conductor.execution_logs(request.path_params["execution_id"], step)})

    async def call(request: Request) -> Response:
        try:
            wanted = msgspec.convert(await read_body(request, limits), _Call)
        except msgspec.ValidationError as error:
            raise OpsError("request_invalid", f"the body: {error}") from error
        return _json({"data": await conductor.call(wanted.service, wanted.tool, wanted.operation, wanted.inputs)})

    return [
        Route("/api/v1/executions", list_executions, methods=["GET"]),
        Route("/api/v1/executions", submit, methods=["POST"]),
        Route("/api/v1/executions/{execution_id}", show, methods=["GET"]),
        Route("/api/v1/executions/{execution_id}/logs", logs, methods=["GET"]),
        Route("/api/v1/explain", explain, methods=["POST"]),
        Route("/api/v1/call", call, methods=["POST"]),
    ]
