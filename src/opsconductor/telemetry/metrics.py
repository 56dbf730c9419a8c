"""Every metric's name, labels and buckets, and the registry a server keeps them in.

Servers make one `Metrics` (bootstrap); the page `GET /metrics` prints it. Label values are bounded: what is not in a
known set counts as `other`, so that no request can make the page grow.
"""

from __future__ import annotations

from collections.abc import Collection

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STEPS_TOTAL = "opsconductor_steps_total"
STEP_DURATION_SECONDS = "opsconductor_step_duration_seconds"
ROUTING_FALLBACK_TOTAL = "opsconductor_routing_fallback_total"
HTTP_REQUESTS_TOTAL = "opsconductor_http_requests_total"

OTHER = "other"
MAX_SERVICES = 100
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
FALLBACK_REASONS = frozenset({"fallback:unknown_tool", "fallback:no_location", "fallback:unknown_service"})
# From a kept connection's millisecond to a day, the longest step.
_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 86400)


class Metrics:
    """Counters of one process. `tools` are the canonical names that get a label of their own."""

    def __init__(self, tools: Collection[str] = (), routes: Collection[str] = ()) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._tools = frozenset(tools)
        self._routes = frozenset(routes)
        self._services: set[str] = set()
        self._registry = registry = CollectorRegistry()
        self._steps = Counter(STEPS_TOTAL, "Steps that ended, by status", ["service", "status"], registry=registry)
        self._durations = Histogram(
            STEP_DURATION_SECONDS, "Time from start to end of a step", ["tool"], buckets=_BUCKETS, registry=registry
        )
        self._fallbacks = Counter(
            ROUTING_FALLBACK_TOTAL, "Steps that had no service of their own", ["reason"], registry=registry
        )
        self._requests = Counter(
            HTTP_REQUESTS_TOTAL, "HTTP requests answered", ["method", "route", "status"], registry=registry
        )

    def step(self, service: str, tool: str, status: str, duration_s: float) -> None:
        """Count one ended step; `tool` is a canonical name."""
        self._steps.labels(self._service(service), status).inc()
        self._durations.labels(tool if tool in self._tools else OTHER).observe(duration_s)

    def fallback(self, reason: str) -> None:
        """Count one routing fallback."""
        self._fallbacks.labels(reason if reason in FALLBACK_REASONS else OTHER).inc()

    def request(self, method: str, route: str, status: int) -> None:
        """Count one answered request; `route` is a path pattern of the application, never a path as it came."""
        known = route if route in self._routes else OTHER
        self._requests.labels(method if method in METHODS else OTHER, known, str(status)).inc()

    def add_routes(self, routes: Collection[str]) -> None:
        """Give the path patterns of an application labels of their own."""
        self._routes |= frozenset(routes)

    def render(self) -> bytes:
        """The page in the Prometheus text format 0.0.4."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def _service(self, name: str) -> str:
        """Locations come from definitions, so they are few; a flood of invented ones is folded."""
        if name not in self._services and len(self._services) >= MAX_SERVICES:
            return OTHER
        self._services.add(name)
        return name
