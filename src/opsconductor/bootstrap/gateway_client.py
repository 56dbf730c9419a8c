"""The gateway seen as one service: what `/ready`, `/tools` and cancel answer for all services behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from opsconductor.bootstrap.embedded import EmbeddedConductor
from opsconductor.engine.ports import EventSink
from opsconductor.interfaces.ports import Submission
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import PlanRequest, PlanResponse


class GatewayClient:
    """Implements `engine.ports.ServiceClient` over the engine and the services it sends steps to."""

    def __init__(self, conductor: EmbeddedConductor, services: Sequence[tuple[str, str | None]]) -> None:
        self._conductor, self._services = conductor, services

    async def execute_plan(self, request: PlanRequest, *, on_event: EventSink | None = None) -> PlanResponse:
        """Run rendered steps as a plan: one after the other, each by its own service."""
        steps = [
            {
                key: value
                for key in ("id", "tool", "operation", "inputs", "target", "timeout_s", "env", "description")
                if (value := getattr(step, key))
            }
            for step in request.steps
        ]
        submission = Submission(
            plan={"name": request.plan_name or "plan", "steps": steps},
            execution_id=request.execution_id,
            tenant_id=request.tenant_id,
            actor_id=request.actor_id,
            source="api",
        )
        return await self._conductor.execute(submission, on_event=on_event)

    async def cancel(self, execution_id: str) -> bool:
        """Cancel an execution of this gateway."""
        return await self._conductor.cancel_execution(execution_id)

    async def tools(self) -> list[dict[str, Any]]:
        """Every operation of every service; those of a service that does not answer are not executable, and say why."""
        found = await asyncio.gather(*(self._ask_tools(name, url) for name, url in self._services))
        return [
            {**tool, "service": name} for (name, _), tools in zip(self._services, found, strict=True) for tool in tools
        ]

    async def ready(self) -> dict[str, Any]:
        """Ready when the services in this process are. One elsewhere that is not is named under `missing`.

        Its absence must not take the gateway, and with it the other services, away from everybody.
        """
        answers = await asyncio.gather(*(self._ask_ready(*one) for one in self._services))
        here = [found for (_, url), found in zip(self._services, answers, strict=True) if url is None]
        return {"ready": not any(here), "missing": [text for found in answers for text in found]}

    async def close(self) -> None:
        """The conductor is closed by who made it."""

    async def _ask_tools(self, name: str, url: str | None) -> list[dict[str, Any]]:
        try:
            return await self._conductor.clients.get(name, url).tools()
        except OpsError as error:
            return self._conductor.unanswered(name, error)

    async def _ask_ready(self, name: str, url: str | None) -> list[str]:
        try:
            answer = await self._conductor.clients.get(name, url).ready()
        except OpsError as error:
            return [f"{name}: {error.message}"]
        return [f"{name}: {text}" for text in answer["missing"]]
