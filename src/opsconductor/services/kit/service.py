"""A service in this process: what every service shares, behind `engine.ports.ServiceClient`.

The HTTP application wraps one; in the embedded mode the coordinator calls it directly. What differs between services
is handed in: which tools are theirs (by the catalog), their handlers, their resolver and their parsers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opsconductor.engine.ports import EventSink, NewId, Now
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import PlanRequest, PlanResponse, StepRequest, StepResult
from opsconductor.services.kit.artifacts import ArtifactStore
from opsconductor.services.kit.capabilities import Capabilities
from opsconductor.services.kit.command_runner import CommandRunner
from opsconductor.services.kit.handlers import GuardRegistry, HandlerRegistry
from opsconductor.services.kit.inbox import Inbox
from opsconductor.services.kit.limits import ServiceLimits
from opsconductor.services.kit.parsing import Parser
from opsconductor.services.kit.plan_runner import ActiveRun, PlanRun, PlanRunner, response_of
from opsconductor.services.kit.requests import Claim, checked_request, claim_for, remaining_s
from opsconductor.services.kit.selection import Catalog, find_tool, select
from opsconductor.services.kit.step_events import ExecutionEvents
from opsconductor.services.kit.step_runner import StepRunner
from opsconductor.services.kit.targets import NoTargets, TargetResolver
from opsconductor.transports.base import Transport

log = logging.getLogger(__name__)


def _must_not_repeat(service: str, catalog: Catalog, step: StepRequest) -> bool:
    """Whether a second run of this step could do harm; a step that cannot start does none."""
    if step.dry_run or catalog.find(step.tool) is None:
        return False
    try:
        selected = select(find_tool(service, catalog, step.tool), step)
    except OpsError:
        return False
    return not selected.operation.is_idempotent


class Service:
    """One service. Made in a running event loop or before it; used in one loop only."""

    def __init__(
        self,
        name: str,
        *,
        catalog: Callable[[], Catalog],
        handlers: HandlerRegistry,
        transport: Transport,
        inbox: Inbox,
        work_dir: Path,
        environment: Mapping[str, str],
        now: Now,
        new_id: NewId,
        limits: ServiceLimits | None = None,
        resolver: TargetResolver | None = None,
        parsers: Mapping[str, Parser] | None = None,
        setting_present: Callable[[str], bool] = lambda name: True,
        guards: GuardRegistry | None = None,
    ) -> None:
        """`environment` is what every command gets (`settings.child_environment`).

        `work_dir` holds the spool and the artifacts.

        `catalog` is called once for each request, so that one request sees one state of the catalog.
        """
        self.name = name
        self.limits = limits or ServiceLimits()
        self.artifacts = ArtifactStore(work_dir / "artifacts", new_id)
        self._catalog = catalog
        self._inbox = inbox
        self._work_dir = work_dir
        self._now = now
        self._new_id = new_id
        self._running: dict[str, set[ActiveRun]] = {}
        self._tasks: set[asyncio.Task[PlanResponse]] = set()
        self._closed = False
        self._capabilities = Capabilities(handlers=handlers, environment=environment, setting_present=setting_present)
        commands = CommandRunner(
            transport=transport,
            artifacts=self.artifacts,
            parsers=parsers or {},
            limits=self.limits,
            environment=environment,
            spool_dir=work_dir / "spool",
        )
        steps = StepRunner(
            name,
            handlers=handlers,
            commands=commands,
            resolver=resolver or NoTargets(),
            limits=self.limits,
            work_dir=work_dir,
            timestamp=self._timestamp,
            guards=guards,
        )
        self._plans = PlanRunner(
            steps, service=name, max_concurrent_steps=self.limits.max_concurrent_steps, timestamp=self._timestamp
        )

    async def execute_plan(self, request: PlanRequest, *, on_event: EventSink | None = None) -> PlanResponse:
        """Execute a request and wait for its result; see `engine.ports.ServiceClient`.

        A request that was answered before gets the recorded answer and only the event `plan.finished`. When the
        calling task is cancelled the execution is cancelled too, and recorded, before the cancellation goes on;
        a caller that wants it to go on without him shields the call. Raises OpsError: `request_invalid`, `plan_empty`,
        `plan_too_large`, `epoch_stale`, `execution_in_progress`, `idempotency_key_reused`, `service_not_ready`.
        """
        if self._closed:
            raise OpsError("service_not_ready", f"{self.name} is closing and takes no more requests")
        checked = checked_request(request, max_steps=self.limits.max_plan_steps)
        deadline = time.monotonic() + remaining_s(checked, self._now)
        catalog = self._catalog()
        durable = any(_must_not_repeat(self.name, catalog, step) for step in checked.steps)
        claim = claim_for(checked, durable=durable)
        run = PlanRun(
            request=checked,
            key=claim.key,
            catalog=catalog,
            active=ActiveRun(),
            events=ExecutionEvents(checked.execution_id, on_event, self._timestamp),
            deadline=deadline,
        )
        return await self._apart_from_caller(run, claim)

    async def cancel(self, execution_id: str) -> bool:
        """Stop what runs of that execution; True when something of it was running."""
        active = self._running.get(execution_id, set())
        for run in active:
            run.cancel()
        return bool(active)

    async def tools(self) -> list[dict[str, Any]]:
        """Every operation of this service's tools: tool, id, operation, effect, runs_on, executable and the reason."""
        return self._capabilities.listing(self.name, self._catalog())

    async def ready(self) -> dict[str, Any]:
        """`{"ready": bool, "missing": [...]}`: whether the work folder and the inbox can be written."""
        missing = ["closing: no more requests are taken"] if self._closed else []
        try:
            self._work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._closed:
                await self._inbox.check()
        except OSError as error:
            missing.append(f"work folder: {error}")
        except OpsError as error:
            missing.append(error.message)
        return {"ready": not missing, "missing": missing}

    async def close(self) -> None:
        """Cancel what runs, wait until it ended and is recorded, and close the inbox. May be called twice."""
        self._closed = True
        for active in list(self._running.values()):
            for run in active:
                run.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._inbox.close()

    @property
    def running_requests(self) -> int:
        """How many requests are being worked on."""
        return len(self._tasks)

    def _timestamp(self) -> str:
        return to_rfc3339(self._now())

    async def _apart_from_caller(self, run: PlanRun, claim: Claim) -> PlanResponse:
        """Work in a task of its own, so that a caller who goes away does not tear the recording apart."""
        ended = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._answered(run, claim, ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await ended
        except asyncio.CancelledError:
            run.active.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        return await task

    async def _answered(self, run: PlanRun, claim: Claim, ended: asyncio.Future[None]) -> PlanResponse:
        """The recorded answer, or the one that the work makes now. What runs can be cancelled from here on.

        `ended` is set at the very end: who waits for it runs one turn of the loop earlier than who waits for the task.
        """
        try:
            return await self._admitted(run, claim)
        finally:
            if not ended.done():
                ended.set_result(None)

    async def _admitted(self, run: PlanRun, claim: Claim) -> PlanResponse:
        active = self._running.setdefault(run.request.execution_id, set())
        active.add(run.active)
        try:
            recorded = await self._inbox.admit(claim, lost=lambda: self._lost_response(run.request))
            response = recorded or await self._worked(run, claim)
        finally:
            active.discard(run.active)
            if not active and self._running.get(run.request.execution_id) is active:
                del self._running[run.request.execution_id]
        run.events.plan_finished(response)
        return response

    async def _worked(self, run: PlanRun, claim: Claim) -> PlanResponse:
        try:
            response = await self._plans.run(run)
            await self._inbox.finish(claim, response)
            return response
        finally:
            self._inbox.abandon(claim)

    def _lost_response(self, request: PlanRequest) -> PlanResponse:
        """The answer for a request that a process before this one had started and did not finish."""
        moment = self._timestamp()
        error = OpsError(
            "outcome_unknown",
            f"{self.name} ended while it ran this; whether it happened is not known and it is not run again. "
            "Look at the target and record what you found",
        ).to_info()
        results = [
            StepResult(
                step_index=index,
                id=step.id,
                tool=step.tool,
                status=StepStatus.OUTCOME_UNKNOWN,
                error=error,
                completed_at=moment,
                operation=step.operation,
                target=step.target,
                service=self.name,
            )
            for index, step in enumerate(request.steps)
        ]
        return response_of(
            request.execution_id, results, started_at=None, completed_at=moment, plan_name=request.plan_name
        )
