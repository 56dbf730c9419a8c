"""`opsconductor executions …`: what ran, and what became of it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from opsconductor.interfaces.cli.output import print_json, safe_text, say, table
from opsconductor.interfaces.cli.output import show as show_line
from opsconductor.interfaces.cli.report import recorded_step_line
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
    # The time and the first random bits of an id are enough for a person, and for `show` and `logs`.
    length = 18 if sys.stdout.isatty() else None
    rows = [
        [
            row["execution_id"][:length],
            row["status"],
            f"{row['successful_steps']}/{row['total_steps']}",
            _to_the_second(row["started_at"]),
            row["plan"] or "",
        ]
        for row in page["executions"]
    ]
    table(["execution", "status", "steps", "started", "plan"], rows)
    if not rows:
        say("no execution fits" if any((before_id, status, tool, text)) else "nothing was run yet")
    if page["next_before_id"]:
        say(f"more: --before {page['next_before_id']}")


def _to_the_second(time: str | None) -> str:
    """2026-01-31T12:00:00.123456Z → 2026-01-31T12:00:00Z."""
    return f"{time[:19]}Z" if time else ""


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
    show_line(f"{view['plan'] or 'execution'}: {view['status']}", "bold")
    began = f"began {_to_the_second(view['started_at'] or view['accepted_at'])}"
    ended = f", ended {_to_the_second(view['completed_at'])}" if view["completed_at"] else ""
    show_line(f"{view['execution_id']} · {began}{ended}")
    if view["error_message"]:
        show_line(view["error_message"])
    for step in view["steps"]:
        text, colour = recorded_step_line(step)
        show_line(text, colour, indent=4)


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
