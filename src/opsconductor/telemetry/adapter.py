"""What the engine and the services tell telemetry, as log lines and counters: implements `engine.ports.Telemetry`."""

from __future__ import annotations

from opsconductor.model.execution import SUCCESS
from opsconductor.model.names import canonical
from opsconductor.telemetry.logs import Logger, get_logger
from opsconductor.telemetry.metrics import Metrics


class OpsTelemetry:
    """Logs always; counts where a server keeps `metrics` (a single command has no page to show them on)."""

    def __init__(self, metrics: Metrics | None = None, log: Logger | None = None, *, shown: bool = False) -> None:
        """`shown`: somebody looks at the steps' ends already, so they need no warning."""
        self.metrics, self.shown = metrics, shown
        self._log = log or get_logger("opsconductor.engine")

    def routed(self, tool: str, service: str, reason: str) -> None:
        """A step was routed; a fallback is a warning and a count, never silent."""
        if not reason.startswith("fallback:"):
            self._log.debug("step routed", tool=tool, service=service, reason=reason)
            return
        self._log.warning("step routed by fallback", tool=tool, service=service, reason=reason)
        if self.metrics:
            self.metrics.fallback(reason)

    def step_finished(self, service: str, tool: str, status: str, duration_s: float) -> None:
        """A step reached a terminal state."""
        write = self._log.info if self.shown or status in SUCCESS else self._log.warning
        write("step finished", service=service, tool=tool, status=status, duration_s=round(duration_s, 6))
        if self.metrics:
            self.metrics.step(service, canonical(tool), status, duration_s)

    def request_answered(self, method: str, route: str, status: int) -> None:
        """An HTTP request was answered; `route` is a path pattern."""
        if self.metrics:
            self.metrics.request(method, route, status)
