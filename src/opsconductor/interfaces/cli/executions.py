"""`opsconductor executions …`: what ran, and what became of it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from opsconductor.interfaces.cli.output import print_json, safe_text, say, table
from opsconductor.interfaces.cli.tools import JSON
from opsconductor.interfaces.ports import Conductor, ListQuery, Runtime

T = TypeVar("T")


def with_conductor(runtime: Runtime, action: Callable[[Conductor], Awaitable[T]], *, server_only: bool = False) -> T:
    """Open the conductor, do one thing, close it.

    SIGINT, SIGTERM and a closed terminal cancel what is done, wait for its end, and raise KeyboardInterrupt.
    """

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of asyncio.run is one
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        conductor = await runtime.conductor(server_only=server_only)
        try:
            return await action(conductor)
        finally:
            await conductor.close()

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@click.group()
def executions() -> None:
    """What ran, and what became of it."""


@executions.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 999))
@click.option("--before", "before_id", help="Continue after this execution id.")
@click.option("--status", help="Only executions with this status.")
@click.option("--tool", help="Only executions that use this tool.")
@click.option("--text", help="Only executions whose plan name contains this.")
@JSON
@click.pass_obj
def list_executions(
    runtime: Runtime,
    limit: int,
    before_id: str | None,
    status: str | None,
    tool: str | None,
    text: str | None,
    as_json: bool,
) -> None:
    """Executions, newest first."""
    query = ListQuery(limit=limit, before_id=before_id, status=status, tool=tool, text=text)
    page = with_conductor(runtime, lambda conductor: conductor.list_executions(query))
    if as_json:
        print_json(page)
        return
    rows = [
        [
            row["execution_id"],
            row["status"],
            f"{row['successful_steps']}/{row['total_steps']}",
            row["started_at"] or "",
            row["plan"] or "",
        ]
        for row in page["executions"]
    ]
    table(None, ["execution", "status", "steps", "started", "plan"], rows)
    if page["next_before_id"]:
        say(f"more: --before {page['next_before_id']}")


@executions.command("show")
@click.argument("execution_id")
@JSON
@click.pass_obj
def show(runtime: Runtime, execution_id: str, as_json: bool) -> None:
    """One execution: its steps, where each ran and how it ended."""
    view = with_conductor(runtime, lambda conductor: conductor.show_execution(execution_id))
    if as_json:
        print_json(view)
        return
    click.echo(safe_text(f"{view['execution_id']}  {view['plan']}  {view['status']}"))
    rows = [
        [
            step["id"],
            step["tool"],
            step["status"],
            step.get("target") or "",
            step.get("service") or "",
            f"{step.get('duration_ms', 0)} ms",
            (step.get("error") or {}).get("message", ""),
        ]
        for step in view["steps"]
    ]
    table(None, ["step", "tool", "status", "target", "service", "time", "error"], rows)


@executions.command("logs")
@click.argument("execution_id")
@click.option("--step", help="Only this step.")
@JSON
@click.pass_obj
def logs(runtime: Runtime, execution_id: str, step: str | None, as_json: bool) -> None:
    """Output of an execution's steps, in order; errors' text goes to stderr."""
    entries = with_conductor(runtime, lambda conductor: conductor.execution_logs(execution_id, step))
    if as_json:
        print_json({"logs": entries})
        return
    for entry in entries:
        stream = sys.stderr if entry["stream"] == "stderr" else sys.stdout
        text = safe_text(entry["text"]) if stream.isatty() else entry["text"]
        stream.write(f"── {entry['id']} ({entry['tool']}, {entry['stream']})\n{text.rstrip()}\n")
        stream.flush()


@executions.command("cancel")
@click.argument("execution_id")
@JSON
@click.pass_obj
def cancel(runtime: Runtime, execution_id: str, as_json: bool) -> int:
    """Ask a running execution to stop."""
    known = with_conductor(runtime, lambda conductor: conductor.cancel_execution(execution_id))
    if as_json:
        print_json({"execution_id": execution_id, "cancelling": known})
    else:
        say("cancelling" if known else "that execution is not running here")
    return 0 if known else 1
