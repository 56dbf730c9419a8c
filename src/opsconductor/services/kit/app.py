"""The HTTP application of every service (CONTRACTS §3): one factory around any `ServiceClient`.

Called by bootstrap for each service. The orchestrating server uses the same factory with an `intake` of its own, which
turns a body into a run with full plan features, and with routes of its own besides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from opsconductor.engine.ports import EventSink, ServiceClient
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import PlanResponse
from opsconductor.services.kit.answering import PlanRun, respond
from opsconductor.services.kit.auth import Authenticator
from opsconductor.services.kit.guard import OPEN_PATHS, Guard
from opsconductor.services.kit.health import health_routes
from opsconductor.services.kit.http_limits import HttpLimits
from opsconductor.services.kit.metrics_page import metrics_route
from opsconductor.services.kit.plan_decoder import decode_plan_request, unacted_keys
from opsconductor.services.kit.problem import problem_response
from opsconductor.services.kit.request_reader import CallHeaders, read_body, read_call_headers
from opsconductor.services.kit.running_work import RunningWork
from opsconductor.telemetry.adapter import OpsTelemetry
from opsconductor.telemetry.metrics import Metrics

Intake = Callable[[Mapping[str, Any], CallHeaders], PlanRun]
"""Checks a request body and gives back what executes it. Raises OpsError for one that does not follow the contract."""


def service_intake(client: ServiceClient, limits: HttpLimits, name: str, telemetry: OpsTelemetry) -> Intake:
    """The intake of the service `name`: plain plans, executed by `client`, each step counted once."""

    def intake(document: Mapping[str, Any], headers: CallHeaders) -> PlanRun:
        request = decode_plan_request(document, headers, max_steps=limits.max_plan_steps)
        warnings = unacted_keys(document["plan"])

        async def run(sink: EventSink | None) -> PlanResponse:
            began = to_rfc3339(datetime.now(UTC))
            response = await client.execute_plan(request, on_event=sink)
            if response.completed_at >= began:  # an answer from the inbox was counted when it was given first
                for step in response.step_results:
                    telemetry.step_finished(name, step.tool, str(step.status), step.duration_ms / 1000)
            return msgspec.structs.replace(response, warnings=warnings) if warnings else response

        return run

    return intake


def create_app(
    client: ServiceClient,
    *,
    name: str,
    authenticator: Authenticator,
    version: str,
    limits: HttpLimits | None = None,
    telemetry: OpsTelemetry | None = None,
    work: RunningWork | None = None,
    allowed_hosts: Collection[str] | None = None,
    intake: Intake | None = None,
    extra_routes: Sequence[BaseRoute] = (),
    open_paths: Collection[str] = OPEN_PATHS,
) -> Starlette:
    """Build the application of the service `name`.

    `work` is shared with the server, which drains it. `allowed_hosts` None accepts every Host header (see
    `server.allowed_hosts`). `open_paths` need no credential. A client that leaves in the middle ends nothing.
    """
    limits = limits or HttpLimits()
    work = work or RunningWork()
    telemetry = telemetry or OpsTelemetry(Metrics())
    intake = intake or service_intake(client, limits, name, telemetry)
    routes: list[BaseRoute] = [
        _execute_route(intake, work, limits),
        _cancel_route(client),
        _tools_route(client, name, version),
        *health_routes(client, work),
        *([metrics_route(telemetry.metrics)] if telemetry.metrics else []),
        *extra_routes,
    ]
    if telemetry.metrics:
        telemetry.metrics.add_routes([route.path for route in routes if isinstance(route, Route)])
    guard = Middleware(
        Guard,
        authenticator=authenticator,
        allowed_hosts=allowed_hosts,
        count=telemetry.request_answered,
        open_paths=open_paths,
    )
    app = Starlette(routes=routes, middleware=[guard], exception_handlers=_HANDLERS)
    app.router.redirect_slashes = False
    return app


def _execute_route(intake: Intake, work: RunningWork, limits: HttpLimits) -> Route:
    async def execute_plan(request: Request) -> Response:
        headers = read_call_headers(request.headers)
        run = intake(await read_body(request, limits), headers)
        return await respond(
            request, run, work, modern=headers.version is not None, stream_buffer_bytes=limits.stream_buffer_bytes
        )

    return Route("/execute-plan", execute_plan, methods=["POST"])


def _cancel_route(client: ServiceClient) -> Route:
    async def cancel(request: Request) -> Response:
        execution_id = request.path_params["execution_id"]
        if not await client.cancel(execution_id):
            raise OpsError("not_found", f"no execution {execution_id[:128]!r} is running here")
        body = msgspec.json.encode({"execution_id": execution_id, "cancel_requested": True})
        return Response(body, status_code=202, media_type="application/json")

    return Route("/executions/{execution_id}/cancel", cancel, methods=["POST"])


def _tools_route(client: ServiceClient, name: str, version: str) -> Route:
    async def tools(_request: Request) -> Response:
        body = msgspec.json.encode({"service": name, "version": version, "tools": await client.tools()})
        return Response(body, media_type="application/json")

    return Route("/tools", tools, methods=["GET"])


def _on_ops_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, OpsError)  # noqa: S101 - registered for this class alone
    return problem_response(error)


def _on_http_error(request: Request, error: Exception) -> Response:
    """What Starlette's router refuses: no such path, or not with that method."""
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, HTTPException) and error.status_code == 405:
        allowed = headers.get("Allow", "another")
        message = f"{request.method} is not offered at {request.url.path[:200]}; allowed is {allowed}"
        return problem_response(OpsError("method_not_allowed", message), headers)
    return problem_response(OpsError("not_found", f"there is nothing at {request.url.path[:200]}"))


_HANDLERS: Mapping[Any, Callable[[Request, Exception], Response]] = {
    OpsError: _on_ops_error,
    HTTPException: _on_http_error,
}
