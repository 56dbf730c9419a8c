"""The journal's SQLite file: its tables, how it is opened, and what its errors mean.

`journal` is the truth. `executions` and `execution_tools` are derived from it in the same transactions and can be
rebuilt at any time (`history.rebuild`). Nothing but the store opens this file.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from opsconductor.model.errors import OpsError
from opsconductor.store.state_dir import make_private

BUSY_TIMEOUT_S = 30.0
SCHEMA_VERSION = 1
_APPLICATION_ID = 0x4F70436A  # "OpCj": tells this file from any other SQLite database

_SCHEMA = f"""
CREATE TABLE journal (
  execution_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  at TEXT NOT NULL,
  kind TEXT NOT NULL,
  body BLOB NOT NULL,
  hash BLOB NOT NULL,
  UNIQUE (execution_id, sequence)
) STRICT;
CREATE TABLE executions (
  id TEXT PRIMARY KEY,
  plan_name TEXT NOT NULL,
  status TEXT NOT NULL,
  accepted_at TEXT NOT NULL,
  started_at TEXT,
  completed_at TEXT,
  steps_total INTEGER NOT NULL,
  steps_succeeded INTEGER NOT NULL DEFAULT 0,
  steps_failed INTEGER NOT NULL DEFAULT 0,
  tools TEXT NOT NULL,
  tenant_id TEXT,
  actor_id TEXT,
  source TEXT,
  error_message TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX executions_newest ON executions (accepted_at, id);
CREATE INDEX executions_status ON executions (status, accepted_at, id);
CREATE TABLE execution_tools (
  tool TEXT NOT NULL,
  accepted_at TEXT NOT NULL,
  execution_id TEXT NOT NULL,
  PRIMARY KEY (tool, accepted_at, execution_id)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the journal, creating it (0600) when it is absent. Raises OpsError(`journal_unavailable`)."""
    try:
        make_private(path)
        connection = _connect(path)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except sqlite3.Error as error:
        raise unavailable(error, path) from error
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing journal for queries only. Raises OpsError: `not_found` (no file), `journal_unavailable`."""
    if not path.exists():
        raise OpsError("not_found", f"there is no journal at {path}: nothing was run with this state folder")
    try:
        connection = _connect(path)
        _check_version(connection, path)
        connection.execute("PRAGMA query_only=ON")
    except sqlite3.Error as error:
        raise unavailable(error, path) from error
    return connection


def unavailable(error: sqlite3.Error, path: Path) -> OpsError:
    """Translate an SQLite error: the cause in words, and what to do about it."""
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if name.startswith("SQLITE_IOERR") and _is_full(path):  # such as _SHMSIZE: no room for the index of the WAL
        name = f"SQLITE_FULL, {name}"
    cause = next((text for prefix, text in _CAUSES.items() if name.startswith(prefix)), f"{error}")
    return OpsError("journal_unavailable", f"journal {path}: {cause} ({name})", path=str(path), sqlite_error=name)


def _is_full(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _ROOM_OF_SHM


_ROOM_OF_SHM = 32 * 1024
_CAUSES = {
    "SQLITE_FULL": "the disk is full; nothing was recorded. Free some space and try again",
    "SQLITE_READONLY": "it cannot be written; give this user write access to the file and its folder",
    "SQLITE_BUSY": f"another process kept it locked for more than {BUSY_TIMEOUT_S:.0f} s; end that process",
    "SQLITE_CANTOPEN": "it cannot be opened; give this user access to the file and its folder",
    "SQLITE_CORRUPT": "the file is damaged; restore it from a backup, or move it away to begin a new one",
    "SQLITE_NOTADB": "the file is no journal, or is damaged; restore it from a backup, or move it away",
    "SQLITE_IOERR": "the disk reported an error; check the disk and the system's log",
}


def _connect(path: Path) -> sqlite3.Connection:
    # One thread at a time uses a connection; it need not be the thread that opened it.
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    connection.execute(f"PRAGMA journal_size_limit={64 * 1024**2}")
    if _check_version(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _check_version(connection, path):
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite answers `locked` at once, without its busy handler, when two processes switch together."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not str(error.sqlite_errorname).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _check_version(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there. Raises when they are a newer version's or another program's."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application == 0 and version == 0:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise _unusable(path, "it is the database of another program; move it away")
        return False
    if application != _APPLICATION_ID:
        raise _unusable(path, "it is the database of another program; move it away")
    if version > SCHEMA_VERSION:
        raise _unusable(
            path,
            f"it has schema version {version} and this version of OpsConductor knows up to {SCHEMA_VERSION}; "
            "use the newer OpsConductor that wrote it, or another OPSCONDUCTOR_HOME",
        )
    return True


def _unusable(path: Path, found: str) -> OpsError:
    return OpsError("journal_unavailable", f"journal {path}: {found}", path=str(path))
