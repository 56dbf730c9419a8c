"""A transport that answers as told, and small makers of what the kit's parts are given."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from opsconductor.model.tool import ToolDefinition
from opsconductor.services.kit.handlers import StepContext
from opsconductor.transports.base import CapturedStream, CommandRequest, CommandResult, Ended, OutputSink
from tests.conformance.service_client import make_tool

NOTHING = CapturedStream(head=b"", total_bytes=0)


def stream(content: bytes) -> CapturedStream:
    """A stream that was kept whole."""
    return CapturedStream(head=content, total_bytes=len(content))


def ended(how: Ended = Ended.EXITED, **fields: Any) -> CommandResult:
    """A command's end; an exit code of 0 unless it did not exit."""
    code = {"exit_code": 0} if how is Ended.EXITED else {}
    return CommandResult(**{"ended": how, "stdout": NOTHING, "stderr": NOTHING, "duration_s": 0.1, **code, **fields})


class ScriptedTransport:
    """Gives the same result to every command and remembers what it was asked."""

    def __init__(self, result: CommandResult | Exception) -> None:
        self._result = result
        self.requests: list[CommandRequest] = []

    async def run(
        self, request: CommandRequest, *, on_output: OutputSink | None = None, cancel: asyncio.Event | None = None
    ) -> CommandResult:
        self.requests.append(request)
        if isinstance(self._result, Exception):
            raise self._result
        if on_output is not None:
            on_output("stdout", self._result.stdout.head)
        return self._result


def tool(**operation: Any) -> ToolDefinition:
    """A tool `probe` with the operation `run`."""
    return make_tool("probe", {"run": {"effect": "read", "argv": ["probe"], **operation}})


def context(definition: ToolDefinition, work_dir: Path, *, timeout_s: float = 5.0) -> StepContext:
    """The circumstances of a step that runs `definition`'s operation `run`."""
    return StepContext(
        execution_id="e1",
        step_id="s1",
        step_index=0,
        dispatch_id="d1",
        tenant_id=None,
        actor_id=None,
        tool=definition,
        operation_name="run",
        operation=definition.operations["run"],
        timeout_s=timeout_s,
        cancel=asyncio.Event(),
        emit=lambda _stream, _text: None,
        work_dir=work_dir,
    )
