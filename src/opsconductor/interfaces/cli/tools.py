"""`opsconductor tools …` and `opsconductor route`: the catalog for people and programs."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from opsconductor.engine.resolution import without_credentials
from opsconductor.interfaces.cli.output import print_json, say, table
from opsconductor.interfaces.cli.tool_page import show_tool
from opsconductor.interfaces.ports import Runtime

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.command()
@click.argument("tool")
@JSON
@click.pass_obj
def route(runtime: Runtime, tool: str, as_json: bool) -> None:
    """Show which service executes TOOL, at which URL, and why."""
    decision = runtime.router().resolve(tool)
    decision = msgspec.structs.replace(decision, url=without_credentials(decision.url))
    if as_json:
        print_json(decision)
        return
    click.echo(
        f"{decision.tool} → {decision.service} ({decision.url or 'in this process'}), because of {decision.reason}"
    )


@click.group()
def tools() -> None:
    """List, show, search and check tools."""


def _row(entry: Any) -> dict[str, Any]:
    return {
        "tool": entry.tool_name,
        "id": entry.id,
        "category": entry.category,
        "platform": entry.platform,
        "execution_location": entry.execution_location,
        "description": entry.description,
        "executable": entry.executable,
        "legacy": entry.legacy,
        "overrides": entry.overrides,
        "path": str(entry.path),
    }


def _print_rows(rows: list[dict[str, Any]]) -> None:
    marks = {"yes": "✓", "partial": "◐", "no": "–"}
    cells = [[marks.get(str(r["executable"]), "?"), r["tool"], r["category"], r["description"]] for r in rows]
    table(["", "tool", "category", "what it does"], cells)


@tools.command("list")
@click.option("--category", help="Only this category.")
@click.option("--service", help="Only tools of this execution location.")
@click.option("--executable", is_flag=True, help="Only tools that can be executed in this version.")
@JSON
@click.pass_obj
def list_tools(runtime: Runtime, category: str | None, service: str | None, executable: bool, as_json: bool) -> None:
    """All tools: ✓ executable, ◐ some operations, – not yet."""
    catalog = runtime.catalog()
    rows = [
        _row(entry)
        for entry in catalog.entries()
        if category in (None, entry.category)
        and service in (None, entry.execution_location)
        and (not executable or entry.executable != "no")
    ]
    if as_json:
        print_json({"tools": rows, "total": len(rows)})
    else:
        _print_rows(rows)
        say(f"{len(rows)} tools: ✓ executable, ◐ some operations, – not yet; `opsconductor tools show TOOL` has more")
    _warn_problems(catalog)


def _warn_problems(catalog: Any) -> None:
    errors = [problem for problem in catalog.problems if problem.level == "error"]
    if errors:
        say(f"{len(errors)} problem(s) in definitions; `opsconductor tools lint` shows them")


@tools.command("search")
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@JSON
@click.pass_obj
def search(runtime: Runtime, words: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Tools whose name, tags or description fit WORDS, best first."""
    rows = [_row(entry) for entry in runtime.catalog().search(" ".join(words), limit=limit)]
    if as_json:
        print_json({"tools": rows, "total": len(rows)})
    elif rows:
        _print_rows(rows)
    else:
        say(f"no tool fits {' '.join(words)!r}")


@tools.command("show")
@click.argument("tool")
@JSON
@click.pass_obj
def show(runtime: Runtime, tool: str, as_json: bool) -> None:
    """One tool: its inputs, operations, effects and examples."""
    entry = runtime.catalog().get(tool)
    if as_json:
        print_json({**_row(entry), "definition": msgspec.to_builtins(entry.definition), "quality": entry.quality})
        return
    show_tool(entry)


@tools.command("lint")
@JSON
@click.pass_obj
def lint(runtime: Runtime, as_json: bool) -> int:
    """Check every definition and its quality file; report all problems of all files."""
    catalog = runtime.catalog()
    problems = catalog.lint()
    overriding = [entry for entry in catalog.entries() if entry.overrides]
    errors = [problem for problem in problems if problem.level == "error"]
    if as_json:
        overrides = [{"tool": e.tool_name, "path": str(e.path), "overrides": e.overrides} for e in overriding]
        counts = {"errors": len(errors), "warnings": len(problems) - len(errors)}
        print_json({"problems": problems, **counts, "overrides": overrides})
    else:
        for problem in problems:
            say(f"{problem.level}: {problem.render()}")
        for entry in overriding:
            say(f"note: {entry.path}: {entry.tool_name} replaces {entry.overrides}")
        click.echo(f"{len(catalog.entries())} tools, {len(errors)} errors, {len(problems) - len(errors)} warnings")
    return 2 if errors else 0
