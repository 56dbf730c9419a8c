"""How results look: JSON for programs on stdout, words for people on stderr, colours only on a terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from opsconductor.interfaces.cli.layout import table_lines, terminal_width, wrapped
from opsconductor.model.errors import OpsError

if TYPE_CHECKING:
    from rich.console import Console

# A full disk or quota, a device that fails, a stream that is closed.
_OUTPUT_LOST = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
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
        discard_unwritable()


def discard_unwritable() -> None:
    """Let go nowhere what stdout and stderr still hold and nobody takes: Python flushes both at its end, and when that
    fails the exit code becomes 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def is_stdout_error(error: Exception) -> bool:
    """Whether standard output could not be written. What concerns a file names it."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_LOST


def say(text: str) -> None:
    """Words for a person, on stderr; where they cannot be written they are lost, and not the work they tell of."""
    with contextlib.suppress(OSError):
        click.echo(safe_text(text), err=True)


def print_error(error: OpsError, *, as_json: bool) -> None:
    """An error: as JSON on stdout when that was asked for, and always in words on stderr."""
    if as_json:
        print_json({"error": msgspec.to_builtins(error.to_info())})
    if len(error.problems) == 1:
        say(f"error: {error.problems[0].render()} [{error.code}]")
        return
    say(f"error: {error.message if not error.problems else error.kind.meaning} [{error.code}]")
    for problem in error.problems:
        say(f"  {problem.level}: {problem.render()}")


def console(*, err: bool = False) -> Console:
    """A rich console on stdout or stderr; rich itself honours NO_COLOR and leaves colours out of pipes."""
    from rich.console import Console

    return Console(stderr=err, highlight=False, markup=False, emoji=False)


def show(text: str, style: str = "", *, indent: int = 0, err: bool = False) -> None:
    """Text on stdout or stderr: on a terminal in its style and wrapped, with `indent` columns before what is wrapped;
    plain and unwrapped in a pipe, which rich is not imported for.
    """
    with contextlib.suppress(*([OSError] if err else [])):
        _show(safe_text(text), style, indent, err=err)


def _show(text: str, style: str, indent: int, *, err: bool) -> None:
    width = terminal_width(sys.stderr if err else sys.stdout)
    if width is None or not style:
        click.echo(wrapped(text, width, indent), err=err)
        return
    from rich.text import Text

    console(err=err).print(Text(wrapped(text, width, indent), style=style), soft_wrap=True)


def table(columns: list[str], rows: list[list[str]], *, margin: str = "") -> None:
    """A table of texts on stdout."""
    safe = [[safe_text(cell) for cell in row] for row in rows]
    head, *lines = table_lines(columns, safe, width=terminal_width(sys.stdout), margin=margin)
    show(head, "bold")
    for line in lines:
        click.echo(line)
