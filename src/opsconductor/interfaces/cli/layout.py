"""Widths and line breaks of what people read, pure but for asking a terminal how wide it is; used by output.

A terminal gets lines that end between words; a pipe gets each row as one line, for the programs that read it.
"""

from __future__ import annotations

import os
import textwrap
import unicodedata
from typing import TextIO

GAP = "  "
# A last column narrower than this is a column of single words: it goes below its row.
_NARROW = 24
_USUAL_COLUMNS = 80


def terminal_width(stream: TextIO) -> int | None:
    """Columns of the terminal that `stream` is; None when it is none."""
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except OSError:  # a terminal that does not tell
        return _USUAL_COLUMNS


def cell_width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)


def wrapped(text: str, width: int | None, indent: int) -> str:
    """`text` in lines of at most `width` columns; words stay whole. Continued lines begin at `indent`."""
    if width is None:
        return text
    hanging = " " * (indent if indent <= width // 2 else 4)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def table_lines(columns: list[str], rows: list[list[str]], *, width: int | None, margin: str = "") -> list[str]:
    """The lines of a table, its head first. Only the last column is wrapped, or goes below where there is no room."""
    cells = [columns, *([" ".join(cell.split()) for cell in row] for row in rows)]
    widths = [max(map(cell_width, column)) for column in zip(*cells, strict=True)]
    found = []
    for row in cells:
        start = margin + "".join(
            cell + " " * (size - cell_width(cell)) + GAP for cell, size in zip(row[:-1], widths, strict=False)
        )
        indent = cell_width(start)
        if width is None or width - indent >= min(_NARROW, widths[-1]):
            found.append(wrapped(start + row[-1], width, indent).rstrip())
        else:
            found.append(start.rstrip() + ("\n" + wrapped(f"    {row[-1]}", width, 4) if row[-1] else ""))
    return found
