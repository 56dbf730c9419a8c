"""What the interfaces need; bootstrap provides it. One Protocol for plans run in this process and on a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from opsconductor.catalog.catalog import Catalog
from opsconductor.model.outcome import Event, PlanResponse
from opsconductor.routing.router import Router
from opsconductor.settings import Settings

EventSink = Callable[[Event], None]


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it was given: the document's bytes and its name, or a plan that is data already.

    `inputs` are the values of the plan's own inputs. `execution_id` is the caller's, or one is made.
    """

    document: bytes | None = None
    file: str | None = None
    plan: dict[str, Any] | None = None
    inputs: dict[str, Any] = {}
    execution_id: str | None = None
    idempotency_key: str | None = None
    tenant_id: str | None = None
    actor_id: str | int | None = None
    source: str = "cli"


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions to list: newest first, `before_id` continues a page."""

    limit: int = 20
    before_id: str | None = None
    status: str | None = None
    tool: str | None = None
    text: str | None = None


class Conductor(Protocol):
    """Where plans are accepted and their history is kept."""

    async def execute(self, submission: Submission, *, on_event: EventSink | None = None) -> PlanResponse:
        """Accept and run to the end. Raises OpsError when the plan is not acceptable; nothing ran then."""
        ...

    async def check(self, submission: Submission) -> None:
        """Raise what `execute` would raise for a plan that is not acceptable; nothing is recorded."""
        ...

    async def submit(self, submission: Submission) -> str:
        """Accept durably and return the execution's id; the run goes on in the server."""
        ...

    async def explain(self, submission: Submission) -> dict[str, Any]:
        """Routes, targets, commands, effects; runs nothing."""
        ...

    async def list_executions(self, query: ListQuery) -> dict[str, Any]:
        """`{"executions": [...], "next_before_id": str | None}`."""
        ...

    async def show_execution(self, execution_id: str) -> dict[str, Any]:
        """Everything recorded of one execution; an unambiguous beginning of its id is enough."""
        ...

    async def execution_logs(self, execution_id: str, step: str | None) -> list[dict[str, Any]]:
        """Output of its steps in order: `{"id", "tool", "stream", "text"}`."""
        ...

    async def cancel_execution(self, execution_id: str) -> bool:
        """Ask a running execution to stop; whether it was running."""
        ...

    async def call(self, service: str, tool: str, operation: str, inputs: dict[str, Any]) -> Any:
        """Run one operation of a service and return its data. Raises OpsError with the step's error."""
        ...

    async def close(self) -> None:
        """Give back files and connections."""
        ...


class Runtime(Protocol):
    """This machine's wiring, made on demand: nothing is opened before it is asked for."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        ...

    def catalog(self) -> Catalog:
        """The shipped tools and the site's."""
        ...

    def router(self) -> Router:
        """Where each tool's steps go."""
        ...

    async def conductor(self, *, server_only: bool = False) -> Conductor:
        """The server named by the settings, else the one that runs on this machine, else this process.

        Raises OpsError(`service_unreachable`) instead of the last with `server_only`.
        """
        ...

    def serve_all(self, host: str, port: int) -> None:
        """Run everything on this machine until SIGTERM."""
        ...

    def serve_one(self, service: str, host: str, port: int) -> None:
        """Run one service, or the gateway, until SIGTERM."""
        ...

    async def examine(self) -> list[dict[str, Any]]:
        """Checks of this machine: `{"check", "ok", "detail", "fix"}`."""
        ...
