"""`GET /metrics`: the counters of this process in the Prometheus text format. Needs the credential."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from opsconductor.telemetry.metrics import CONTENT_TYPE, Metrics


def metrics_route(metrics: Metrics) -> Route:
    """The route of the page."""

    async def page(_request: Request) -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    return Route("/metrics", page, methods=["GET"])
