"""`opsconductor run`, `exec` and `explain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from opsconductor.engine.expressions import literal
from opsconductor.interfaces.cli.executions import with_conductor
from opsconductor.interfaces.cli.explanation import show_explanation
from opsconductor.interfaces.cli.output import print_json, reader_may_leave, safe_text, say
from opsconductor.interfaces.cli.report import exit_code, show_response, show_tool_result
from opsconductor.interfaces.cli.targets import named_targets, target_input
from opsconductor.interfaces.cli.tools import JSON
from opsconductor.interfaces.cli.values import parse_pairs
from opsconductor.interfaces.ports import EventSink, Runtime, Submission
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import Event, PlanResponse

INPUT = click.option(
    "-i", "--input", "pairs", multiple=True, metavar="KEY=VALUE", help="Value of a plan input; repeatable."
)


def _submission(runtime: Runtime, plan: str, pairs: tuple[str, ...]) -> Submission:
    enough = runtime.settings.max_document_bytes + 1  # an endless file is refused as too large, not read to its end
    if plan == "-":
        return Submission(document=sys.stdin.buffer.read(enough), file="<stdin>", inputs=parse_pairs(pairs))
    try:
        with Path(plan).open("rb") as file:
            return Submission(document=file.read(enough), file=plan, inputs=parse_pairs(pairs))
    except OSError as error:
        raise click.UsageError(f"the plan {plan!r} cannot be read: {error.strerror}") from error


def _execute(runtime: Runtime, submission: Submission, *, quiet: bool) -> PlanResponse:
    """Run to the end. An interrupted plan ends too, and its response is what there is to show."""
    last = Last()
    try:
        if quiet:
            return with_conductor(runtime, lambda conductor: conductor.execute(submission, on_event=last.on_event))
        from opsconductor.interfaces.cli.progress import Progress

        with Progress() as progress:
            last.then = progress.on_event
            return with_conductor(runtime, lambda conductor: conductor.execute(submission, on_event=last.on_event))
    except KeyboardInterrupt:
        if last.response is None:
            raise
        return last.response


class Last:
    """Remembers the response that an execution ended with, and hands events on."""

    def __init__(self) -> None:
        self.response: PlanResponse | None = None
        self.then: EventSink | None = None

    def on_event(self, event: Event) -> None:
        """Note the last event; show every one."""
        self.response = event.response or self.response
        if self.then is not None:
            self.then(event)


@click.command()
@click.argument("plan", type=click.Path(dir_okay=False))
@INPUT
@click.option("--dry-run", is_flag=True, help="Show what would happen; run nothing.")
@click.option("--detach", is_flag=True, help="Return once the plan is accepted; needs a running server (`up`).")
@JSON
@click.pass_obj
def run(runtime: Runtime, plan: str, pairs: tuple[str, ...], dry_run: bool, detach: bool, as_json: bool) -> int:
    """Run the plan in the file PLAN (`-` reads standard input)."""
    submission = _submission(runtime, plan, pairs)
    if dry_run:
        return _explain(runtime, submission, as_json=as_json)
    if detach:
        execution_id = with_conductor(runtime, lambda conductor: conductor.submit(submission), server_only=True)
        if as_json:
            print_json({"execution_id": execution_id, "status": "queued"})
        else:
            click.echo(execution_id)
        return 0
    response = _execute(runtime, submission, quiet=as_json)
    with reader_may_leave():  # the exit code tells about the plan, also when nobody reads
        print_json(response) if as_json else show_response(response)
    return exit_code(response)


@click.command(name="exec", context_settings={"ignore_unknown_options": False})
@click.argument("tool")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--on",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="local, an asset or a selector; repeatable.",
)
@click.option("--operation", "-o", help="Which of the tool's operations; its default when left out.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), help="Time limit in seconds.")
@JSON
@click.pass_obj
def exec_tool(
    runtime: Runtime,
    tool: str,
    pairs: tuple[str, ...],
    targets: tuple[str, ...],
    operation: str | None,
    timeout_s: float | None,
    as_json: bool,
) -> int:
    """Run one TOOL now with inputs KEY=VALUE (`KEY:=JSON` for other types)."""
    # What is typed here means itself: braces in it are no template.
    step: dict[str, Any] = {"tool": tool, "inputs": literal(parse_pairs(pairs))}
    if operation:
        step["operation"] = operation
    if timeout_s:
        step["timeout_s"] = timeout_s
    steps = [{**step, "id": "step_1"}]
    if targets:
        targets = named_targets(runtime, targets)
        key = target_input(runtime, tool, operation, targets)
        steps = [
            {
                **step,
                "id": f"step_{number}",
                "inputs": {**step["inputs"], key: target} if key else step["inputs"],
                "depends_on": [],
                "on_failure": "continue",
            }
            for number, target in enumerate(targets, 1)
        ]
    submission = Submission(plan={"name": f"exec {tool}"[:200], "steps": steps}, source="exec")
    try:
        response = _execute(runtime, submission, quiet=True)
    except OpsError as error:
        if error.code == "plan_invalid" and len(error.problems) == 1:
            problem = error.problems[0]
            raise OpsError(problem.code, problem.message, field=problem.field) from error
        raise
    with reader_may_leave():  # the exit code tells about the plan, also when nobody reads
        print_json(response) if as_json else show_tool_result(response)
    return exit_code(response)


@click.command()
@click.argument("plan", type=click.Path(dir_okay=False))
@INPUT
@JSON
@click.pass_obj
def explain(runtime: Runtime, plan: str, pairs: tuple[str, ...], as_json: bool) -> int:
    """Show routes, targets, rendered commands and effects of PLAN; run nothing."""
    return _explain(runtime, _submission(runtime, plan, pairs), as_json=as_json)


def _explain(runtime: Runtime, submission: Submission, *, as_json: bool) -> int:
    explanation = with_conductor(runtime, lambda conductor: conductor.explain(submission))
    if as_json:
        print_json(explanation)
    else:
        for warning in explanation.get("warnings", []):
            say(f"warning: {warning['message']}")
        show_explanation(explanation)
        say(safe_text("nothing was run"))
    return 0
