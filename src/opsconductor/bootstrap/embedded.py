"""The engine in this process: what `run` and `exec` use without a server, and what `up` serves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from opsconductor.bootstrap.clients import Clients
from opsconductor.bootstrap.clock import IdSource, utc_now
from opsconductor.bootstrap.services import ServiceFactory
from opsconductor.catalog.catalog import CatalogSource
from opsconductor.engine.coordinator import EngineLimits
from opsconductor.engine.engine import Engine
from opsconductor.engine.explain import explain
from opsconductor.engine.plan_inputs import bind_inputs
from opsconductor.engine.plan_reader import read_placed
from opsconductor.engine.plan_schema import Places, PlanLimits
from opsconductor.engine.ports import ReceiverHost
from opsconductor.engine.process_identity import liveness
from opsconductor.engine.recovery import settle_orphans
from opsconductor.engine.secrets import nothing_secret
from opsconductor.engine.templates import TemplateLimits, Templates
from opsconductor.engine.validation import Rules, Validator
from opsconductor.interfaces.ports import EventSink, ListQuery, Submission
from opsconductor.interfaces.views import execution_row, execution_view, log_entry
from opsconductor.model.errors import OpsError, Problem
from opsconductor.model.execution import ExecutionStatus
from opsconductor.model.limits import DocumentLimits, InputLimits
from opsconductor.model.outcome import PlanRequest, PlanResponse, StepRequest
from opsconductor.model.plan import Plan
from opsconductor.routing.router import LiveRouter
from opsconductor.security.redaction import Redactor
from opsconductor.settings import Settings
from opsconductor.store.history import History
from opsconductor.store.journal import SqliteJournal
from opsconductor.telemetry.adapter import OpsTelemetry
from opsconductor.telemetry.logs import get_logger

_log = get_logger("opsconductor.plans")
JOURNAL_FILE = "journal.sqlite3"


class EmbeddedConductor:
    """Accepts plans, runs them here, and answers from the journal in the state folder."""

    def __init__(
        self,
        settings: Settings,
        *,
        catalog: CatalogSource,
        router: LiveRouter,
        factory: ServiceFactory,
        clients: Clients,
        journal: SqliteJournal,
        telemetry: OpsTelemetry,
        new_id: IdSource,
        with_receivers: bool,
    ) -> None:
        self.clients, self.telemetry = clients, telemetry
        self._settings, self._catalog, self._router, self._factory = settings, catalog, router, factory
        self._journal, self._new_id = journal, new_id
        self._history = History(journal.reader)
        self._templates = Templates(TemplateLimits(fuel=settings.template_fuel))
        self._background: set[asyncio.Task[PlanResponse]] = set()
        known = tuple(factory.secrets())
        self._engine = Engine(
            journal=journal,
            client_for=clients.get,
            router=router,
            catalog=catalog.current,
            telemetry=telemetry,
            now=utc_now,
            new_id=new_id,
            templates=self._templates,
            limits=EngineLimits(
                max_parallel_steps=settings.max_parallel_steps,
                plan_timeout_s=settings.plan_timeout_s,
                answer_grace_s=settings.answer_grace_s,
            ),
            receiver_host=self._receivers if with_receivers else None,
            redactor_of=lambda secrets: Redactor((*known, *secrets)).data if known or secrets else nothing_secret,
            deny_fallback=settings.routing_fallback == "deny",
            default_target=settings.default_target,
        )

    async def settle(self) -> None:
        """Settle executions whose process is gone, before new work begins."""
        await settle_orphans(self._journal, liveness=liveness, now=utc_now)

    async def execute(self, submission: Submission, *, on_event: EventSink | None = None) -> PlanResponse:
        """Accept and run to the end."""
        execution_id = await self._accept(submission)
        return await self._engine.run(execution_id, on_event)

    async def check(self, submission: Submission) -> None:
        """Read and check the plan."""
        plan, places = self._read(submission)
        self._check(plan, bind_inputs(plan, submission.inputs), places)

    async def submit(self, submission: Submission) -> str:
        """Accept durably; the run goes on in this process."""
        execution_id = await self._accept(submission)
        task = asyncio.ensure_future(self._engine.run(execution_id))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return execution_id

    async def explain(self, submission: Submission) -> dict[str, Any]:
        """What the plan would do, with the warnings that validation has."""
        plan, places = self._read(submission)
        inputs = bind_inputs(plan, submission.inputs)
        warnings = self._check(plan, inputs, places)
        explanation = explain(
            plan,
            inputs,
            catalog=self._catalog.current(),
            router=self._router,
            rules=self._rules(),
            templates=self._templates,
        )
        return {**explanation, "warnings": [msgspec.to_builtins(warning) for warning in warnings]}

    async def list_executions(self, query: ListQuery) -> dict[str, Any]:
        """One page of history, newest first."""
        rows = await self._history.list_executions(
            limit=query.limit + 1,
            before_id=query.before_id,
            status=_status(query.status),
            tool=query.tool,
            text=query.text,
        )
        page = [execution_row(row) for row in rows[: query.limit]]
        return {"executions": page, "next_before_id": page[-1]["execution_id"] if len(rows) > query.limit else None}

    async def show_execution(self, execution_id: str) -> dict[str, Any]:
        """Everything recorded of one execution."""
        return execution_view(await self._history.show(execution_id))

    async def execution_logs(self, execution_id: str, step: str | None) -> list[dict[str, Any]]:
        """Output of its steps."""
        return [entry for log in await self._history.logs(execution_id, step) for entry in log_entry(log)]

    async def cancel_execution(self, execution_id: str) -> bool:
        """Cancel an execution of this process."""
        return await self._engine.cancel(execution_id)

    async def call(self, service: str, tool: str, operation: str, inputs: dict[str, Any]) -> Any:
        """One operation, outside of any plan."""
        request = PlanRequest(
            execution_id=self._new_id(),
            steps=(StepRequest(tool=tool, id="call", operation=operation, inputs=inputs),),
        )
        result = (await self.clients.of(service).execute_plan(request)).step_results[0]
        if result.error is not None:
            problems = [msgspec.convert(entry, Problem) for entry in result.error.context.pop("problems", [])]
            raise OpsError(result.error.code, result.error.message, problems=problems, **result.error.context)
        return result.output.get("data")

    def unanswered(self, service: str, error: OpsError) -> list[dict[str, Any]]:
        """What `GET /tools` says of a service's operations while it does not answer."""
        return [
            {
                "tool": entry.tool_name,
                "id": entry.id,
                "operation": name,
                "effect": operation.effect,
                "runs_on": entry.definition.placement(operation),
                "executable": False,
                "reason": f"{service} does not answer: {error.message}",
            }
            for entry in self._catalog.current().entries()
            if entry.execution_location == service
            for name, operation in entry.definition.operations.items()
        ]

    async def close(self) -> None:
        """End what runs here, then close services and journal."""
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        await self.clients.close()
        await self._journal.close()

    async def _accept(self, submission: Submission) -> str:
        plan, places = self._read(submission)
        for warning in self._check(plan, bind_inputs(plan, submission.inputs), places):
            # A tool that cannot run fails its step in the same words.
            tell = _log.info if warning.code == "tool_not_executable" else _log.warning
            tell("plan accepted with a warning", code=warning.code, says=warning.render())
        return await self._engine.accept(
            plan,
            submission.inputs,
            tenant_id=submission.tenant_id,
            actor_id=submission.actor_id,
            idempotency_key=submission.idempotency_key,
            execution_id=submission.execution_id,
        )

    def _read(self, submission: Submission) -> tuple[Plan, Places]:
        source: bytes | Mapping[str, Any] = (
            submission.document if submission.document is not None else submission.plan or {}
        )
        settings = self._settings
        document = DocumentLimits(
            max_bytes=settings.max_document_bytes,
            max_depth=settings.max_document_depth,
            max_nodes=settings.max_document_nodes,
        )
        return read_placed(
            source, file=submission.file, limits=PlanLimits(document=document, max_steps=settings.max_plan_steps)
        )

    def _check(self, plan: Plan, inputs: Mapping[str, Any], places: Places) -> tuple[Problem, ...]:
        catalog = self._catalog.current()
        validator = Validator(
            catalog,
            self._router,
            rules=self._rules(),
            nearest_tools=lambda name: [entry.tool_name for entry in catalog.search(name, limit=3)],
            templates=self._templates,
        )
        return validator.check(plan, inputs, places=places)

    def _rules(self) -> Rules:
        settings = self._settings
        return Rules(
            deny_fallback=settings.routing_fallback == "deny",
            allowed_env=[name.strip() for name in settings.allowed_env.split(",") if name.strip()],
            default_target=settings.default_target,
            inputs=InputLimits(max_input_bytes=settings.max_input_bytes, max_argv_bytes=settings.max_argv_bytes),
        )

    def _receivers(self) -> ReceiverHost:
        from opsconductor.interfaces.receivers.local import LocalReceivers

        return LocalReceivers(on_open=self._factory.egress.open, on_close=self._factory.egress.close)


def _status(text: str | None) -> ExecutionStatus | None:
    if text is None:
        return None
    try:
        return ExecutionStatus(text)
    except ValueError:
        known = ", ".join(ExecutionStatus)
        raise OpsError(
            "request_invalid", f"status: found {text[:40]!r}, expected one of {known}", field="status"
        ) from None
