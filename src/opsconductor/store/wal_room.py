"""Room in the write-ahead log, made before it is needed: a commit then overwrites the file instead of growing it.

Growing a file makes fsync wait for the file system's own journal, and so for everybody else who writes to that disk:
measured on ext4, a commit takes 1.5 times as long on a quiet disk and 5 times as long on a busy one. A log that has
been through a checkpoint is overwritten anyway; this is for the time until then. Called by the journal's writer.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

_FIRST_BYTES = 128 * 1024
"""Logs up to this size, those of short commands, are left alone."""
_MOST_BYTES = 4 * 1024**2
_FEW_PAGES = 10
# Never committed. What does not fit into SQLite's cache meanwhile is written to the log, as frames that nobody reads:
# after the rollback the next transaction overwrites them.
_FILL = "INSERT INTO journal (execution_id, sequence, at, kind, body, hash) VALUES ('', 0, '', '', zeroblob(?), x'')"


class WalRoom:
    """Watches the log of one open database; its size when opened counts as room that is there."""

    def __init__(self, database: Path) -> None:
        self._log = f"{database}-wal"
        self._room = self._size()

    def keep(self, connection: sqlite3.Connection) -> None:
        """When the log has outgrown its room, double it (at most 4 MiB more). Outside of transactions; never raises."""
        size = self._size()
        if size <= max(self._room, _FIRST_BYTES):
            return
        with suppress(sqlite3.Error):  # a full disk, a lock: commits will tell, and this is only about their speed
            _fill(connection, min(size, _MOST_BYTES))
        self._room = max(self._size(), size)

    def _size(self) -> int:
        try:
            return os.stat(self._log).st_size  # noqa: PTH116 - once a commit
        except OSError:
            return 0


def _fill(connection: sqlite3.Connection, size_bytes: int) -> None:
    usual = int(connection.execute("PRAGMA cache_size").fetchone()[0])
    connection.execute(f"PRAGMA cache_size={_FEW_PAGES}")
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_FILL, (size_bytes,))
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute(f"PRAGMA cache_size={usual}")
