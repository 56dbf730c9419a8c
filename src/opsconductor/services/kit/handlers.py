"""What a Python handler of a service is given and gives back.

A definition binds an operation to a handler by name (`handler: asset.query`); the service that owns the tool
registers its handlers under those names. Handlers are called by `services.kit.step_runner`, never by each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from opsconductor.model.target import LOCAL, Target
from opsconductor.model.tool import Operation, ToolDefinition


class StepContext(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of one step. `timeout_s` is what remains of every limit above it; `emit` shows progress.

    `emit` takes a stream ("stdout" or "stderr") and a text. `cancel` is set when the step must stop: a handler ends
    its work and raises OpsError("cancelled").
    """

    execution_id: str
    step_id: str
    step_index: int
    dispatch_id: str
    tenant_id: str | None
    actor_id: str | int | None
    tool: ToolDefinition
    operation_name: str
    operation: Operation
    target: Target = LOCAL
    timeout_s: float
    cancel: asyncio.Event
    emit: Callable[[str, str], None]
    work_dir: Path
    env: dict[str, str] = {}
    dry_run: bool = False


class HandlerResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a handler saw happen. `data` is plain JSON; `output` joins the step's output as it is (stdout, artifacts …).

    A refusal, a failure or a doubt is not a result: raise OpsError with the code that says which.
    """

    data: Any
    output: dict[str, Any] = {}


Handler = Callable[[StepContext, Mapping[str, Any]], Awaitable[HandlerResult]]
"""Inputs arrive validated and with their defaults."""

HandlerRegistry = Mapping[str, Handler]

Guard = Callable[[Any], Awaitable[Mapping[str, Any]]]
"""Judges the value of one input before anything starts: gives the inputs that it sets, or raises OpsError."""

GuardRegistry = Mapping[str, Guard]
