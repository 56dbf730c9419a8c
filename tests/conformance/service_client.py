"""What every `engine.ports.ServiceClient` must do, in this process and over HTTP alike.

Subclass `ServiceClientConformance` in a test module and override the fixture `client`, which is given the fixture
`world`: a real service with small tools of its own, a real inbox and the local transport. Override `client` with
something that reaches `world.service`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from opsconductor.engine.ports import ServiceClient
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.model.names import canonical
from opsconductor.model.outcome import Event, PlanRequest, PlanResponse, StepRequest
from opsconductor.model.tool import ToolDefinition
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from opsconductor.services.kit.inbox import Inbox
from opsconductor.services.kit.limits import ServiceLimits
from opsconductor.services.kit.service import Service
from opsconductor.transports.base import Transport
from opsconductor.transports.local import LocalTransport

SERVICE = "automation-service"
PATIENCE_S = 20.0
"""How long a test waits for what must happen; nothing waits this long unless it is broken."""

_COMMON = {"version": "1", "platform": "linux", "category": "linux", "execution_location": SERVICE}
_TEXT = {"type": "string", "description": "What to print"}
_SECRET = {"type": "string", "description": "A password", "secret": True}


def make_tool(name: str, operations: dict[str, Any], **fields: Any) -> ToolDefinition:
    """A definition of this service with sensible fields around its operations."""
    document = {**_COMMON, "tool_name": name, "description": f"{name} of the suite", "operations": operations, **fields}
    return msgspec.convert(document, ToolDefinition)


def _handled(name: str, effect: str = "read") -> dict[str, Any]:
    return {"run": {"effect": effect, "handler": name}}


TOOLS = [
    make_tool(
        "say",
        {"run": {"effect": "read", "argv": ["printf", "%s\\n", "{text}"], "parse": "lines"}},
        inputs={"text": _TEXT},
    ),
    make_tool(
        "say-secret", {"run": {"effect": "read", "argv": ["printf", "<%s>", "{word}"]}}, inputs={"word": _SECRET}
    ),
    make_tool("fail", {"run": {"effect": "read", "argv": ["ls", "/nonexistent/of/the/suite"]}}),
    make_tool(
        "nothing-found", {"run": {"effect": "read", "argv": ["false"], "empty_exit_codes": [1], "parse": "lines"}}
    ),
    make_tool("lacking", {"run": {"effect": "read", "argv": ["opsconductor-no-such-program"]}}),
    make_tool(
        "flood",
        {"run": {"effect": "read", "argv": ["seq", "1", "20000"], "output_limit_bytes": 1024, "parse": "lines"}},
    ),
    make_tool("nap", {"run": {"effect": "read", "argv": ["sleep", "30"]}}),
    make_tool("later", {"run": {"effect": "read", "not_executable": "the program is not part of this version"}}),
    make_tool("count", _handled("suite.count", "change")),
    make_tool("count-reads", _handled("suite.count")),
    make_tool("wait", _handled("suite.wait")),
    make_tool("refuse", _handled("suite.refuse")),
    make_tool("broken", _handled("suite.broken")),
    make_tool("not-json", _handled("suite.not_json")),
    make_tool("asset-thing", _handled("asset.thing"), execution_location="asset-service"),
    make_tool("on-target", {"run": {"effect": "read", "argv": ["true"]}}, runs_on="target"),
]


class Entry(msgspec.Struct):
    """A catalog entry."""

    id: str
    tool_name: str
    definition: ToolDefinition


class MemoryCatalog:
    """A catalog of the given definitions."""

    def __init__(self, definitions: Iterable[ToolDefinition]) -> None:
        self._entries = {tool.id: Entry(tool.id, tool.tool_name, tool) for tool in definitions}

    def find(self, name: str) -> Entry | None:
        return self._entries.get(canonical(name))

    def get(self, name: str) -> Entry:
        if (entry := self.find(name)) is None:
            raise OpsError("tool_not_found", f"no tool is named {name!r}")
        return entry

    def entries(self) -> list[Entry]:
        return list(self._entries.values())


class World:
    """A service and what its handlers saw."""

    def __init__(self, folder: Path, transport: Transport, limits: ServiceLimits | None = None) -> None:
        self.count = 0
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self.service = Service(
            SERVICE,
            catalog=lambda: MemoryCatalog(TOOLS),
            handlers={
                "suite.count": self._count,
                "suite.wait": self._wait,
                "suite.refuse": self._refuse,
                "suite.broken": self._broken,
                "suite.not_json": self._not_json,
            },
            transport=transport,
            inbox=Inbox(folder / "inbox.sqlite", now=lambda: datetime.now(UTC)),
            work_dir=folder / "work",
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            now=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid4()),
            limits=limits or ServiceLimits(kill_grace_s=0.5),
        )

    async def _count(self, _ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
        self.count += 1
        self.started.set()
        await self.release.wait()
        return HandlerResult(data={"count": self.count})

    async def _wait(self, ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
        ctx.emit("stdout", "waiting\n")
        self.started.set()
        await ctx.cancel.wait()
        raise OpsError("cancelled", "the suite's handler stopped waiting")

    async def _refuse(self, _ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
        raise OpsError("asset_not_found", "there is no asset web-9", asset="web-9")

    async def _broken(self, _ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
        raise RuntimeError("an inner text that is nobody's business")

    async def _not_json(self, _ctx: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
        return HandlerResult(data={"socket": object()})


def request(*steps: StepRequest | str, **fields: Any) -> PlanRequest:
    """A request of the given steps (a text is a tool without inputs), with a fresh execution id."""
    made = tuple(StepRequest(tool=step) if isinstance(step, str) else step for step in steps)
    return PlanRequest(**{"execution_id": str(uuid4()), "steps": made, **fields})


def statuses(response: PlanResponse) -> list[StepStatus]:
    """The steps' statuses in order."""
    return [result.status for result in response.step_results]


def error_codes(response: PlanResponse) -> list[str | None]:
    """The steps' error codes in order."""
    return [result.error.code if result.error else None for result in response.step_results]


async def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds, for what only another process or task can make true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


class ServiceClientConformance:
    """The suite."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        """The service behind the client."""
        world = World(tmp_path, LocalTransport())
        yield world
        world.release.set()
        await world.service.close()

    @pytest.fixture
    async def client(self, world: World) -> ServiceClient:
        """Override: what is tested."""
        raise NotImplementedError

    async def test_a_command_that_succeeds_is_completed_with_its_output_and_data(self, client: ServiceClient) -> None:
        asked = request(StepRequest(tool="say", id="greet", inputs={"text": "hello"}))
        response = await client.execute_plan(asked)
        result = response.step_results[0]
        assert response.execution_id == asked.execution_id
        assert response.status is ExecutionStatus.COMPLETED
        assert (result.id, result.tool, result.operation, result.target) == ("greet", "say", "run", "local")
        assert (result.output["stdout"], result.output["stderr"], result.output["exit_code"]) == ("hello\n", "", 0)
        assert result.output["data"] == ["hello"]
        assert result.output["argv"] == ["printf", "%s\\n", "hello"]
        assert result.output["truncated"] is False
        assert result.error is None
        assert result.started_at is not None
        assert result.completed_at is not None
        assert response.error_message is None
        assert msgspec.to_builtins(response.result) == {"total_steps": 1, "successful_steps": 1, "failed_steps": 0}

    async def test_any_spelling_of_a_tool_finds_it(self, client: ServiceClient) -> None:
        response = await client.execute_plan(request("Count Reads", "COUNT_READS", "count-reads"))
        assert statuses(response) == [StepStatus.COMPLETED] * 3

    async def test_an_exit_code_that_is_no_success_is_a_failed_step(self, client: ServiceClient) -> None:
        response = await client.execute_plan(request("fail"))
        result = response.step_results[0]
        assert response.status is ExecutionStatus.FAILED
        assert result.status is StepStatus.FAILED
        assert result.output["exit_code"] == 2
        assert result.error is not None
        assert result.error.code == "command_failed"
        assert "No such file or directory" in result.error.message
        assert response.error_message is not None
        assert "fail" in response.error_message
        assert response.error_details is not None
        assert response.error_details["code"] == "command_failed"

    async def test_finding_nothing_is_a_success_with_empty_data(self, client: ServiceClient) -> None:
        response = await client.execute_plan(request("nothing-found"))
        assert statuses(response) == [StepStatus.COMPLETED]
        assert response.step_results[0].output["data"] == []

    @pytest.mark.parametrize(
        ("tool", "code"),
        [
            ("no-such-tool", "tool_not_found"),
            ("ls; true", "tool_not_found"),
            ("later", "tool_not_executable"),
            ("asset-thing", "tool_not_executable"),
            ("lacking", "program_not_found"),
            ("refuse", "asset_not_found"),
            ("broken", "internal_error"),
            ("not-json", "internal_error"),
            ("on-target", "target_missing"),
        ],
    )
    async def test_what_cannot_be_run_is_a_failed_step_that_says_why(
        self, client: ServiceClient, tool: str, code: str
    ) -> None:
        response = await client.execute_plan(request(tool))
        assert response.status is ExecutionStatus.FAILED
        assert statuses(response) == [StepStatus.FAILED]
        assert error_codes(response) == [code]
        after = await client.execute_plan(request("count-reads"))
        assert after.status is ExecutionStatus.COMPLETED

    async def test_a_defects_own_text_does_not_reach_the_client(self, client: ServiceClient) -> None:
        response = await client.execute_plan(request("broken"))
        assert "inner text" not in str(msgspec.to_builtins(response))

    @pytest.mark.parametrize(
        ("step", "code"),
        [
            (StepRequest(tool="say"), "input_missing"),
            (StepRequest(tool="say", inputs={"text": "x", "texd": "y"}), "input_unknown"),
            (StepRequest(tool="say", inputs={"text": "-n"}), "option_like_argument"),
            (StepRequest(tool="say", inputs={"text": "a\0b"}), "input_invalid"),
            (StepRequest(tool="say", operation="ran", inputs={"text": "x"}), "operation_unknown"),
            (StepRequest(tool="count-reads", env={"LD_PRELOAD": "x"}), "env_name_not_allowed"),
            (StepRequest(tool="count-reads", target="web-1"), "step_invalid"),
            (StepRequest(tool="on-target", inputs={"host": "web-1"}), "target_unknown"),
        ],
    )
    async def test_a_step_that_does_not_fit_is_refused_before_it_runs(
        self, client: ServiceClient, step: StepRequest, code: str
    ) -> None:
        response = await client.execute_plan(request(step))
        assert statuses(response) == [StepStatus.FAILED]
        assert error_codes(response) == [code]

    async def test_steps_after_a_failed_one_are_skipped_and_earlier_results_kept(
        self, client: ServiceClient, world: World
    ) -> None:
        response = await client.execute_plan(
            request(StepRequest(tool="say", inputs={"text": "kept"}), "fail", "count", "count")
        )
        assert statuses(response) == [
            StepStatus.COMPLETED,
            StepStatus.FAILED,
            StepStatus.SKIPPED,
            StepStatus.SKIPPED,
        ]
        assert error_codes(response)[2:] == ["step_skipped", "step_skipped"]
        assert response.step_results[0].output["data"] == ["kept"]
        assert [result.step_index for result in response.step_results] == [0, 1, 2, 3]
        assert [result.id for result in response.step_results] == ["step_1", "step_2", "step_3", "step_4"]
        assert msgspec.to_builtins(response.result) == {"total_steps": 4, "successful_steps": 1, "failed_steps": 1}
        assert world.count == 0

    async def test_events_arrive_in_order_and_the_last_one_is_the_response(self, client: ServiceClient) -> None:
        events: list[Event] = []
        asked = request(StepRequest(tool="say", inputs={"text": "hello"}), "fail", "count")
        response = await client.execute_plan(asked, on_event=events.append)
        kinds = [(event.event, event.step_index) for event in events]
        assert [kind for kind, _ in groupby(kinds)] == [  # a program's output may come in several pieces
            ("step.started", 0),
            ("step.output", 0),
            ("step.finished", 0),
            ("step.started", 1),
            ("step.output", 1),
            ("step.finished", 1),
            ("step.finished", 2),
            ("plan.finished", None),
        ]
        assert events[1].stream == "stdout"
        assert events[1].text == "hello\n"
        assert events[2].result == response.step_results[0]
        assert events[-1].response == response
        assert {event.execution_id for event in events} == {asked.execution_id}

    async def test_secret_inputs_appear_nowhere(self, client: ServiceClient) -> None:
        events: list[Event] = []
        asked = request(StepRequest(tool="say-secret", inputs={"word": "hunter2-hunter2"}))
        response = await client.execute_plan(asked, on_event=events.append)
        assert response.step_results[0].output["stdout"] == "<***>"
        assert "".join(event.text or "" for event in events) == "<***>"
        assert "hunter2" not in str(msgspec.to_builtins([response, events]))

    async def test_output_over_its_limit_is_cut_counted_and_kept_as_an_artifact(
        self, client: ServiceClient, world: World
    ) -> None:
        asked = request("flood")
        output = (await client.execute_plan(asked)).step_results[0].output
        whole = "".join(f"{number}\n" for number in range(1, 20001))
        assert output["truncated"] is True
        assert output["stdout_bytes"] == len(whole)
        assert output["stdout"].startswith("1\n2\n")
        assert output["stdout"].endswith("19999\n20000\n")
        assert len(output["stdout"]) < 2048
        assert "parse_error" in output
        assert "data" not in output
        (artifact,) = output["artifacts"]
        assert artifact["size"] == len(whole)
        kept = world.service.artifacts.find(asked.execution_id, artifact["id"])
        assert kept.read_text() == whole

    async def test_a_dry_run_says_what_would_run_and_runs_nothing(self, client: ServiceClient, world: World) -> None:
        say = StepRequest(tool="say", inputs={"text": "x"}, dry_run=True)
        response = await client.execute_plan(request(say, StepRequest(tool="count", dry_run=True)))
        assert statuses(response) == [StepStatus.SKIPPED, StepStatus.SKIPPED]
        assert response.step_results[0].output["would_run"] == ["printf", "%s\\n", "x"]
        assert world.count == 0

    async def test_a_repeated_request_gets_the_recorded_answer(self, client: ServiceClient, world: World) -> None:
        for tool in ("count", "count-reads"):
            asked = request(tool)
            first = await client.execute_plan(asked)
            again = await client.execute_plan(asked)
            assert msgspec.to_builtins(again) == msgspec.to_builtins(first)
        assert world.count == 2

    async def test_the_callers_key_names_the_request(self, client: ServiceClient, world: World) -> None:
        asked = request("count", idempotency_key="k-1")
        await client.execute_plan(asked)
        await client.execute_plan(msgspec.structs.replace(asked, idempotency_key="k-2"))
        assert world.count == 2

    async def test_a_key_used_again_for_other_work_is_refused(self, client: ServiceClient, world: World) -> None:
        await client.execute_plan(request("count", execution_id="same", idempotency_key="k-1"))
        with pytest.raises(OpsError) as caught:
            await client.execute_plan(request("count", "count", execution_id="same", idempotency_key="k-1"))
        assert caught.value.code == "idempotency_key_reused"
        assert world.count == 1

    @pytest.mark.parametrize("tool", ["count", "count-reads"])
    async def test_a_hundred_duplicates_at_once_run_once(self, client: ServiceClient, world: World, tool: str) -> None:
        world.release.clear()
        asked = request(tool)
        calls = [asyncio.ensure_future(client.execute_plan(asked)) for _ in range(100)]
        await until(world.started.is_set)
        await until(lambda: sum(call.done() for call in calls) == 99)
        world.release.set()
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), PATIENCE_S)
        refused = [answer for answer in answers if isinstance(answer, OpsError)]
        assert {error.code for error in refused} == {"execution_in_progress"}
        assert len(refused) == 99
        assert world.count == 1
        assert (await client.execute_plan(asked)).status is ExecutionStatus.COMPLETED
        assert world.count == 1

    async def test_an_older_coordinator_is_refused(self, client: ServiceClient, world: World) -> None:
        await client.execute_plan(request("count", execution_id="owned", epoch=3, idempotency_key="a"))
        with pytest.raises(OpsError) as caught:
            await client.execute_plan(request("count", execution_id="owned", epoch=2, idempotency_key="b"))
        assert caught.value.code == "epoch_stale"
        assert world.count == 1

    async def test_cancel_stops_the_running_step_and_those_after_it(self, client: ServiceClient, world: World) -> None:
        asked = request("wait", "count")
        running = asyncio.ensure_future(client.execute_plan(asked))
        await until(world.started.is_set)
        assert await client.cancel(asked.execution_id) is True
        response = await asyncio.wait_for(running, PATIENCE_S)
        assert response.status is ExecutionStatus.CANCELLED
        assert statuses(response) == [StepStatus.CANCELLED, StepStatus.CANCELLED]
        assert error_codes(response) == ["cancelled", "cancelled"]
        assert world.count == 0

    async def test_cancel_ends_a_running_command(self, client: ServiceClient) -> None:
        asked, events = request("nap"), list[Event]()
        running = asyncio.ensure_future(client.execute_plan(asked, on_event=events.append))
        await until(lambda: bool(events))
        assert await client.cancel(asked.execution_id) is True
        response = await asyncio.wait_for(running, PATIENCE_S)
        assert statuses(response) == [StepStatus.CANCELLED]

    async def test_cancel_of_what_does_not_run_says_so(self, client: ServiceClient) -> None:
        assert await client.cancel("never-heard-of") is False

    async def test_a_step_over_its_own_limit_is_a_timeout(self, client: ServiceClient) -> None:
        response = await client.execute_plan(request(StepRequest(tool="nap", timeout_s=0.1), "count"))
        assert statuses(response) == [StepStatus.TIMEOUT, StepStatus.SKIPPED]
        assert error_codes(response)[0] == "command_timeout"
        assert response.status is ExecutionStatus.TIMEOUT

    async def test_the_deadline_ends_a_step_that_would_take_longer(self, client: ServiceClient) -> None:
        deadline = to_rfc3339(datetime.now(UTC) + timedelta(seconds=0.3))
        response = await asyncio.wait_for(client.execute_plan(request("wait", deadline_at=deadline)), PATIENCE_S)
        assert statuses(response) == [StepStatus.TIMEOUT]

    async def test_past_its_deadline_nothing_is_started(self, client: ServiceClient, world: World) -> None:
        deadline = to_rfc3339(datetime.now(UTC) - timedelta(seconds=1))
        response = await client.execute_plan(request("count", deadline_at=deadline))
        assert statuses(response) == [StepStatus.TIMEOUT]
        assert response.step_results[0].started_at is None
        assert world.count == 0

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"steps": ()}, "plan_empty"),
            ({"execution_id": "../../etc"}, "request_invalid"),
            ({"execution_id": ""}, "request_invalid"),
            ({"execution_id": "x" * 129}, "request_invalid"),
            ({"deadline_at": "tomorrow"}, "request_invalid"),
        ],
    )
    async def test_a_malformed_request_is_refused_whole(
        self, client: ServiceClient, world: World, fields: dict[str, Any], code: str
    ) -> None:
        with pytest.raises(OpsError) as caught:
            await client.execute_plan(request("count", **fields))
        assert caught.value.code == code
        assert caught.value.message
        assert world.count == 0

    async def test_more_steps_than_allowed_are_refused(self, client: ServiceClient) -> None:
        with pytest.raises(OpsError) as caught:
            await client.execute_plan(request(*["count-reads"] * 10_001))
        assert caught.value.code == "plan_too_large"

    async def test_tools_tells_what_can_be_executed_and_why_the_rest_cannot(self, client: ServiceClient) -> None:
        listed = {entry["tool"]: entry for entry in await client.tools()}
        assert "asset-thing" not in listed
        assert listed["say"]["executable"] is True
        assert listed["say"]["reason"] is None
        assert (listed["count"]["id"], listed["count"]["operation"], listed["count"]["effect"]) == (
            "count",
            "run",
            "change",
        )
        assert listed["lacking"]["executable"] is False
        assert "opsconductor-no-such-program" in listed["lacking"]["reason"]
        assert listed["later"]["executable"] is False
        assert "not part of this version" in listed["later"]["reason"]

    async def test_a_service_that_has_what_it_needs_is_ready(self, client: ServiceClient) -> None:
        assert await client.ready() == {"ready": True, "missing": []}
