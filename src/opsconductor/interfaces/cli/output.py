"""How results look: JSON for programs on stdout, words for people on stderr, colours only on a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from opsconductor.model.errors import OpsError

if TYPE_CHECKING:
    from rich.console import Console

# C0 controls but tab and newline, DEL, C1: a terminal would obey them. Bidirectional overrides reorder what is read.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def safe_text(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters become visible escapes."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def print_json(value: Any) -> None:
    """One JSON document on stdout, indented, keys in their order."""
    encoded = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """End quietly what writes to a pipe that nobody reads any more; what follows it is done."""
    try:
        yield
    except BrokenPipeError:
        # Python flushes stdout once more at its end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Words for a person, on stderr."""
    click.echo(safe_text(text), err=True)


def print_error(error: OpsError, *, as_json: bool) -> None:
    """An error: as JSON on stdout when that was asked for, and always in words on stderr."""
    if as_json:
        print_json({"error": msgspec.to_builtins(error.to_info())})
    say(f"error: {error.message if not error.problems else error.kind.meaning} [{error.code}]")
    for problem in error.problems:
        say(f"  {problem.level}: {problem.render()}")


def console(*, err: bool = False) -> Console:
    """A rich console on stdout or stderr; rich itself honours NO_COLOR and leaves colours out of pipes."""
    from rich.console import Console

    width = None if (sys.stderr if err else sys.stdout).isatty() else 120
    return Console(stderr=err, highlight=False, soft_wrap=False, width=width, markup=False, emoji=False)


def show(text: str, style: str = "", *, err: bool = False) -> None:
    """A line on stdout or stderr: in its style on a terminal, plain in a pipe, which rich is not imported for."""
    if not (sys.stderr if err else sys.stdout).isatty():
        click.echo(text, err=err)
        return
    from rich.text import Text

    (console(err=True) if err else console()).print(Text(text, style=style))


def table(title: str | None, columns: list[str], rows: list[list[str]]) -> None:
    """A table of texts on stdout."""
    from rich import box
    from rich.table import Table

    grid = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(safe_text(cell) for cell in row))
    console().print(grid)
