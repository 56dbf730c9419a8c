"""In-memory doubles of the engine's ports: small and real, so that tests see what the engine does with them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, TypeVar

import msgspec

from opsconductor.engine.coordinator import EngineLimits
from opsconductor.engine.engine import Engine
from opsconductor.engine.memory_journal import MemoryJournal
from opsconductor.engine.plan_reader import read_plan
from opsconductor.engine.ports import EventSink, JournalRecord, ReceiverHost
from opsconductor.engine.records import Owner, decode
from opsconductor.model.clock import to_rfc3339, uuid7
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.names import canonical
from opsconductor.model.outcome import Event, PlanRequest, PlanResponse, ResultCounts, StepResult
from opsconductor.model.plan import Plan, Receiver
from opsconductor.model.tool import ToolDefinition

OWNER = Owner(pid=1, start_ticks=1, boot_id="boot", host="test")


def now() -> datetime:
    return datetime.now(UTC)


class Entry(msgspec.Struct, frozen=True):
    definition: ToolDefinition


class FakeCatalog:
    """Definitions by canonical name."""

    def __init__(self, *definitions: dict[str, Any]) -> None:
        made = [msgspec.convert({**_BASE, **raw}, ToolDefinition) for raw in definitions]
        self.entries = {definition.id: Entry(definition) for definition in made}

    def find(self, name: str) -> Entry | None:
        return self.entries.get(canonical(name))

    def get(self, name: str) -> Entry:
        entry = self.find(name)
        if entry is None:
            near = get_close_matches(canonical(name), self.entries, n=1)
            raise OpsError("tool_not_found", f"no tool is named {name!r}", suggestions=near)
        return entry


_BASE = {"description": "A tool of the tests.", "version": "1", "platform": "linux", "category": "linux"}
READ = {
    "tool_name": "look",
    "execution_location": "automation-service",
    "inputs": {"value": {"type": "string", "description": "What to look at.", "multiline": True}},
    "operations": {"look": {"effect": "read", "argv": ["look", ["--", "{value}"]]}},
}
CHANGE = {
    "tool_name": "change",
    "execution_location": "automation-service",
    "inputs": {
        "value": {"type": "string", "description": "What to change."},
        "password": {"type": "string", "description": "With what.", "secret": True},
    },
    "operations": {"change": {"effect": "change", "handler": "change", "uses": ["value", "password"]}},
}


class FakeDecision(msgspec.Struct, frozen=True):
    tool: str
    id: str
    service: str
    url: str | None
    reason: str


class FakeRouter:
    """Routes by a table of canonical names; everything else falls back."""

    def __init__(self, **services: str) -> None:
        self.services = services

    def resolve(self, tool: str) -> FakeDecision:
        name = canonical(tool)
        service = self.services.get(name)
        reason = "metadata" if service else "fallback:unknown_tool"
        service = service or "automation-service"
        return FakeDecision(tool, name, service, f"http://user:secret@{service}:3003", reason)


class FakeTelemetry:
    def __init__(self) -> None:
        self.routes: list[tuple[str, str, str]] = []
        self.finished: list[tuple[str, str, str]] = []

    def routed(self, tool: str, service: str, reason: str) -> None:
        self.routes.append((tool, service, reason))

    def step_finished(self, service: str, tool: str, status: str, duration_s: float) -> None:
        assert duration_s >= 0
        self.finished.append((service, tool, status))


class Work(msgspec.Struct, frozen=True):
    """What a behaviour is given: the request, a way to show output, and the event that a cancel sets."""

    request: PlanRequest
    emit: Callable[[str], None]
    cancelled: asyncio.Event

    @property
    def inputs(self) -> dict[str, Any]:
        return self.request.steps[0].inputs


Behaviour = Callable[[Work], Awaitable[dict[str, Any] | StepStatus | StepResult]]


async def echo(work: Work) -> dict[str, Any]:
    """The behaviour of tools that have no other: their inputs as data."""
    return {"exit_code": 0, "stdout": "", "data": dict(work.inputs)}


class FakeService:
    """A ServiceClient that runs Python functions and remembers every call."""

    def __init__(self, **behaviours: Behaviour) -> None:
        self.behaviours = behaviours
        self.requests: list[PlanRequest] = []
        self.log: list[tuple[str, str]] = []
        self.cancels: list[str] = []
        self._running: dict[str, asyncio.Event] = {}
        self.most_at_once = 0
        self._at_once = 0

    async def execute_plan(self, request: PlanRequest, *, on_event: EventSink | None = None) -> PlanResponse:
        (step,) = request.steps
        self.requests.append(request)
        self.log.append(("start", step.id))
        cancelled = self._running.setdefault(request.execution_id, asyncio.Event())

        def emit(text: str) -> None:
            if on_event is not None:
                event = Event(
                    event="step.output", at=to_rfc3339(now()), execution_id="theirs", step_index=0, id="0", text=text
                )
                on_event(event)

        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(0)
            behaviour = self.behaviours.get(canonical(step.tool), echo)
            done = await behaviour(Work(request, emit, cancelled))
        finally:
            self._at_once -= 1
            self.log.append(("end", step.id))
        return respond(request, done)

    async def cancel(self, execution_id: str) -> bool:
        self.cancels.append(execution_id)
        if execution_id not in self._running:
            return False
        self._running[execution_id].set()
        return True

    async def tools(self) -> list[dict[str, Any]]:
        return []

    async def ready(self) -> dict[str, Any]:
        return {"ready": True, "missing": []}

    async def close(self) -> None:
        return None

    @property
    def started(self) -> list[str]:
        return [name for what, name in self.log if what == "start"]


def respond(request: PlanRequest, done: dict[str, Any] | StepStatus | StepResult) -> PlanResponse:
    """A well-formed answer to a request of one step."""
    step = request.steps[0]
    if isinstance(done, StepResult):
        result = done
    else:
        status = done if isinstance(done, StepStatus) else StepStatus.COMPLETED
        error = None if status is StepStatus.COMPLETED else OpsError("command_failed", "it failed").to_info()
        at = to_rfc3339(now())
        result = StepResult(
            step_index=0,
            id="theirs",
            tool=step.tool,
            status=status,
            output=done if isinstance(done, dict) else {},
            error=error,
            started_at=at,
            completed_at=at,
            duration_ms=1,
        )
    return PlanResponse(
        execution_id=request.execution_id,
        status=ExecutionStatus.COMPLETED,
        result=ResultCounts(total_steps=1, successful_steps=1, failed_steps=0),
        step_results=(result,),
        completed_at=to_rfc3339(now()),
    )


class FakeReceivers:
    """A ReceiverHost that starts nothing and remembers."""

    def __init__(self, failure: OpsError | None = None) -> None:
        self.failure, self.stopped = failure, False

    async def start(self, receivers: Mapping[str, Receiver]) -> dict[str, dict[str, Any]]:
        if self.failure is not None:
            raise self.failure
        return {name: {"url": f"http://127.0.0.1:9/{name}"} for name in receivers}

    async def stop(self) -> dict[str, Any]:
        self.stopped = True
        return {"hook": {"count": 1}}


def masking(secrets: tuple[str, ...]) -> Callable[[Any], Any]:
    """A redactor that replaces secrets in the encoded form of a value; `Redactor` knows more spellings."""

    def redact(value: Any) -> Any:
        text = msgspec.json.encode(value).decode()
        for secret in secrets:
            text = text.replace(secret, "***")
        return msgspec.json.decode(text)

    return redact


class Bench:
    """An engine with doubles around it."""

    def __init__(
        self,
        service: FakeService | None = None,
        *,
        catalog: FakeCatalog | None = None,
        router: FakeRouter | None = None,
        services: Mapping[str, FakeService] | None = None,
        receivers: ReceiverHost | None = None,
        deny_fallback: bool = False,
        **limits: Any,
    ) -> None:
        self.service = service or FakeService()
        self.services = services or {}
        self.journal = MemoryJournal()
        self.telemetry = FakeTelemetry()
        self.events: list[Event] = []
        self.asked: list[tuple[str, str | None]] = []
        ids = itertools.count(1)
        found = catalog or FakeCatalog(READ, CHANGE)
        self.engine = Engine(
            journal=self.journal,
            client_for=self._client_for,
            router=router or FakeRouter(look="automation-service", change="automation-service"),
            catalog=lambda: found,
            telemetry=self.telemetry,
            now=now,
            new_id=lambda: uuid7(next(ids), 0),
            limits=EngineLimits(**limits),
            receiver_host=None if receivers is None else lambda: receivers,
            redactor_of=masking,
            deny_fallback=deny_fallback,
            owner=OWNER,
        )

    def _client_for(self, service: str, url: str | None) -> FakeService:
        self.asked.append((service, url))
        return self.services.get(service, self.service)

    async def run(
        self, plan: Plan | Mapping[str, Any] | bytes, inputs: Mapping[str, Any] | None = None
    ) -> PlanResponse:
        ready = plan if isinstance(plan, Plan) else read_plan(plan)
        return await self.engine.execute(ready, inputs, on_event=self.events.append)

    async def kinds(self, response: PlanResponse) -> list[str]:
        return [record.kind for record in await self.journal.read(response.execution_id)]


def statuses(response: PlanResponse) -> dict[str, str]:
    return {result.id: str(result.status) for result in response.step_results}


def steps(*raw: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"steps": [{"tool": "look", **step} for step in raw], **more}


_T = TypeVar("_T")


def read_as(record: JournalRecord, kind: type[_T]) -> _T:
    """A stored record as the kind that the test expects."""
    decoded = decode(record)
    assert isinstance(decoded, kind)
    return decoded
