"""`GET /health` (is the process alive) and `GET /ready` (can it take work, and what is missing): no credential needed.

Both say nothing about tools, versions or the machine beyond that.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opsconductor.engine.ports import ServiceClient
from opsconductor.services.kit.running_work import RunningWork


def health_routes(client: ServiceClient, work: RunningWork) -> list[Route]:
    """The two routes. `/ready` is 503 while the server drains."""

    async def health(_request: Request) -> Response:
        return Response(b'{"status":"alive"}', media_type="application/json")

    async def ready(_request: Request) -> Response:
        state = await client.ready()
        missing = list(state.get("missing", ()))
        if work.draining:
            missing.append("the server is draining and takes no new work")
        is_ready = bool(state.get("ready")) and not work.draining
        body = msgspec.json.encode({"ready": is_ready, "missing": missing})
        return Response(body, status_code=200 if is_ready else 503, media_type="application/json")

    return [Route("/health", health, methods=["GET"]), Route("/ready", ready, methods=["GET"])]
