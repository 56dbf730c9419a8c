"""Runs tools through their definitions and a real service, in this process: what the tool tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

from opsconductor.bootstrap.clock import IdSource
from opsconductor.bootstrap.services import AUTOMATION, ServiceFactory
from opsconductor.catalog.catalog import Catalog, load_catalog, shipped_folder
from opsconductor.engine.ports import EventSink
from opsconductor.model.outcome import PlanRequest, StepRequest, StepResult
from opsconductor.services.kit.service import Service
from opsconductor.settings import load


@cache
def shipped_catalog() -> Catalog:
    """The catalog as it is shipped, read once for all tests of a process."""
    return load_catalog([shipped_folder()], cache_dir=None)


class Bench:
    """One service with a folder of its own."""

    def __init__(self, service: Service, new_id: IdSource) -> None:
        self.service = service
        self._new_id = new_id
        self.last_execution_id = ""

    async def run(
        self,
        tool: str,
        operation: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        *,
        target: str | None = None,
        timeout_s: float | None = None,
        on_event: EventSink | None = None,
    ) -> StepResult:
        """Run one step, as a caller of the service would, and return its result."""
        step = StepRequest(
            tool=tool, operation=operation, inputs=dict(inputs or {}), id="step", target=target, timeout_s=timeout_s
        )
        self.last_execution_id = self._new_id()
        request = PlanRequest(execution_id=self.last_execution_id, steps=(step,))
        return (await self.service.execute_plan(request, on_event=on_event)).step_results[0]


@asynccontextmanager
async def service(name: str = AUTOMATION, **settings: str) -> AsyncIterator[Bench]:
    """The service `name` with the shipped catalog; settings by environment name, as a site would set them."""
    with TemporaryDirectory(prefix="oc-test-") as folder:
        environ = {"OPSCONDUCTOR_HOME": folder, "OPSCONDUCTOR_DEFAULT_TARGET": "local", **settings}
        new_id = IdSource()
        factory = ServiceFactory(load(environ), shipped_catalog, new_id)
        made = factory.make(name)
        try:
            yield Bench(made, new_id)
        finally:
            await made.close()
            await factory.close()


automation = service
