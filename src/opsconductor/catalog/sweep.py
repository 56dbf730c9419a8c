"""Look at the definition folders: which files there are, their sizes and times of change. Reads no file's content."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from opsconductor.catalog.loader import QUALITY_SUFFIX
from opsconductor.catalog.records import Sweep
from opsconductor.model.errors import Problem

_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_DEPTH = 8  # of folders; also ends loops of symbolic links


def sweep_folders(folders: Sequence[Path]) -> tuple[Sweep, list[Problem]]:
    """Stat every definition file below `folders`. Hidden names and quality files are not definitions.

    A folder that cannot be read is a problem; what the others hold is returned all the same.
    """
    sweep, problems = Sweep([], [], [], []), list[Problem]()
    for number, folder in enumerate(folders):
        pending = [(os.fspath(folder), 0)]
        while pending:
            place, depth = pending.pop()
            try:
                _sweep_one(place, depth, number, sweep, pending)
            except OSError as error:
                message = (
                    f"the folder cannot be read: {error.strerror}; check OPSCONDUCTOR_TOOLS_PATH and its permissions"
                )
                problems.append(Problem(code="definition_invalid", message=message, file=place))
    return sweep, problems


def _sweep_one(place: str, depth: int, number: int, sweep: Sweep, pending: list[tuple[str, int]]) -> None:
    add_path, add_size, add_mtime = sweep.paths.append, sweep.sizes.append, sweep.mtimes.append
    add_folder, regular = sweep.folders.append, stat.S_IFREG
    with os.scandir(place) as entries:
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
                    add_path(entry.path)
                    add_size(status.st_size)
                    add_mtime(status.st_mtime_ns)
                    add_folder(number)
            elif name[0] != "." and depth < _MAX_DEPTH and entry.is_dir():
                pending.append((entry.path, depth + 1))
