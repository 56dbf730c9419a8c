"""The state folder and the private files in it: made for their owner alone, or refused with what to do.

Called by bootstrap before anything is opened, and by the stores for their own files.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from opsconductor.model.errors import OpsError

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


def ensure_state_dir(path: Path) -> Path:
    """Create the folder (0700) when it is absent; take an existing one as it is, unless anybody may write to it.

    Raises OpsError(`journal_unavailable`) that names the folder and the way out.
    """
    try:
        path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        mode = path.stat().st_mode
    except (FileExistsError, NotADirectoryError) as error:
        raise _unusable(path, f"{error.filename or path} is not a folder") from error
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    if mode & stat.S_IWOTH:
        raise _unusable(path, "every user of this machine may write to it, and could replace the journal")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise _unusable(path, "it is not writable for this user")
    return path


def make_private(path: Path) -> bool:
    """Create an empty file (0600), or close an existing one to others; True when it was created.

    An existing file is never opened here: closing a descriptor would drop the locks that SQLite holds on the same
    file in this process (POSIX locks belong to the process, see fcntl(2)).
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, _FILE_MODE))
    except FileExistsError:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(_FILE_MODE)
        return False
    return True


def _unusable(path: Path, found: str) -> OpsError:
    return OpsError(
        "journal_unavailable",
        f"state folder {path}: {found}; nothing was started. Make it a folder that this user owns, "
        "or set OPSCONDUCTOR_HOME to one",
        path=str(path),
    )
