"""The command group, and the one place where errors become words and exit codes.

click rather than typer: `--help` of the same commands takes 41 ms of whole process against 127 ms (docs/adr/0008).
"""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from typing import Any, NoReturn

import click
import msgspec

from opsconductor import __version__
from opsconductor.interfaces.cli.output import (
    discard_unwritable,
    is_stdout_error,
    print_error,
    print_json,
    reader_may_leave,
    say,
)
from opsconductor.model.errors import EXIT_FAILED, EXIT_INTERRUPTED, OpsError

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("plans:run", "Run a plan and show what happened."),
    "exec": ("plans:exec_tool", "Run one tool now."),
    "explain": ("plans:explain", "Show what a plan would do; run nothing."),
    "route": ("tools:route", "Show which service executes a tool, and why."),
    "tools": ("tools:tools", "List, show, search and check tools."),
    "executions": ("executions:executions", "What ran, and what became of it."),
    "assets": ("assets:assets", "The inventory: list, show, create, update, delete."),
    "up": ("servers:up", "Start everything on this machine."),
    "serve": ("servers:serve", "Start one service alone, or the gateway."),
    "doctor": ("doctor:doctor", "Check what works on this machine, and how to mend the rest."),
}


class LazyGroup(click.Group):
    """Knows its commands by name and one line; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of `cmd_name`."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(import_module(f"opsconductor.interfaces.cli.{module}"), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader of its output that goes away (`| head`) is no error."""
        with reader_may_leave():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name in the error."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 completed, 1 a step failed, 2 usage or invalid plan, 3 needs approval, "
    "4 outcome unknown, 5 service or target unreachable, 130 interrupted.",
)
@click.version_option(__version__, prog_name="opsconductor")
def cli() -> None:
    """Run plans of tool steps on real machines, each step by the service that owns it."""


def run_cli(runtime: Any, argv: list[str]) -> NoReturn:
    """Run one command line with `runtime` (interfaces.ports.Runtime) and exit with its code."""
    as_json = "--json" in argv
    try:
        code = cli.main(args=argv, prog_name="opsconductor", obj=runtime, standalone_mode=False)
    except click.ClickException as error:
        if as_json:
            print_json({"error": msgspec.to_builtins(OpsError("request_invalid", error.format_message()).to_info())})
        with contextlib.suppress(OSError):
            error.show()
        code = error.exit_code
    except OpsError as error:
        print_error(error, as_json=as_json)
        code = error.kind.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        print_error(OpsError("cancelled", "interrupted"), as_json=as_json)
        code = EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the boundary: told in words or JSON, with its trace for a report
        code = _unexpected(error, as_json=as_json)
    discard_unwritable()
    sys.exit(code if isinstance(code, int) else 0)


def _unexpected(error: Exception, *, as_json: bool) -> int:
    """Tell of an error that nobody translated; the exit code."""
    if is_stdout_error(error):
        say(f"error: the result could not be written to standard output: {error}")
        say("what was done is done and recorded: `opsconductor executions list` shows it")
        return EXIT_FAILED
    import traceback

    say("".join(traceback.format_exception(error)).rstrip())
    defect = OpsError("internal_error", f"a defect in OpsConductor: {type(error).__name__}: {error}")
    print_error(defect, as_json=as_json)
    return defect.kind.exit_code
