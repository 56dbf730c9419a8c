"""Look at the definition folders: which files there are, their sizes and times of change. Reads no file's content."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from opsconductor.catalog.records import QUALITY_SUFFIX, Sweep
from opsconductor.model.errors import Problem

_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_DEPTH = 8  # of folders; also ends loops of symbolic links


def sweep_folders(folders: Sequence[Path]) -> tuple[Sweep, list[Problem]]:
    """Stat every definition file below `folders`. Hidden names and quality files are not definitions.

    A folder that cannot be read is a problem; what the others hold is returned all the same.
    """
    sweep, problems = Sweep([], [], [], []), list[Problem]()
    for folder in folders:
        pending = [(os.fspath(folder), 0)]
        while pending:
            place, depth = pending.pop()
            try:
                _sweep_one(place, depth, sweep, pending)
            except OSError as error:
                message = (
                    f"the folder cannot be read: {error.strerror}; check OPSCONDUCTOR_TOOLS_PATH and its permissions"
                )
                problems.append(Problem(code="definition_invalid", message=message, file=place))
        sweep.ends.append(len(sweep.paths))
    return sweep, problems


def _sweep_one(place: str, depth: int, sweep: Sweep, pending: list[tuple[str, int]]) -> None:
    """Add one folder's files. Through a handle of the folder each stat looks up one name instead of a whole path."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(handle) as entries:
            _sweep_entries(entries, place + "/", depth, sweep, pending)
    finally:
        os.close(handle)


def _sweep_entries(
    entries: Iterable[os.DirEntry[str]], prefix: str, depth: int, sweep: Sweep, pending: list[tuple[str, int]]
) -> None:
    add_path, add_size, add_mtime = sweep.paths.append, sweep.sizes.append, sweep.mtimes.append
    regular = stat.S_IFREG
    for entry in entries:
        name = entry.name
        if name.endswith(_SUFFIXES):
            if name.endswith(QUALITY_SUFFIX) or name[0] == ".":
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:  # removed meanwhile, or a link to nothing
                continue
            if status.st_mode & 0o170000 == regular:
                add_path(prefix + name)
                add_size(status.st_size)
                add_mtime(status.st_mtime_ns)
        elif name[0] != "." and depth < _MAX_DEPTH and entry.is_dir():
            pending.append((prefix + name, depth + 1))
