"""The inbox on disk: one SQLite file, one row for each request that must not run twice. Synchronous; called by `inbox`.

WAL with synchronous=FULL: a commit that returned survives a power cut (https://www.sqlite.org/pragma.html#pragma_synchronous).
Reads use a connection of their own, so that they never wait for a commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.services.kit.requests import Claim
from opsconductor.store.state_dir import make_private

_BUSY_TIMEOUT_MS = 30_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    body_sha256 BLOB NOT NULL,
    accepted_at REAL NOT NULL,
    response BLOB,
    PRIMARY KEY (scope, key)
);
CREATE INDEX IF NOT EXISTS requests_by_execution ON requests (scope, execution_id, epoch);
CREATE INDEX IF NOT EXISTS requests_by_age ON requests (accepted_at);
"""
_ACCEPT = "INSERT INTO requests (scope, key, execution_id, epoch, body_sha256, accepted_at) VALUES (?, ?, ?, ?, ?, ?)"
_ANSWER = "UPDATE requests SET response = ? WHERE scope = ? AND key = ? AND response IS NULL"
_FIND = "SELECT body_sha256, response FROM requests WHERE scope = ? AND key = ?"
_EPOCH = "SELECT MAX(epoch) FROM requests WHERE scope = ? AND execution_id = ?"
_OLD = "SELECT rowid FROM requests WHERE accepted_at < ? ORDER BY accepted_at LIMIT ?"
_PURGE = f"DELETE FROM requests WHERE rowid IN ({_OLD})"  # noqa: S608 - two constants


class Row(msgspec.Struct, frozen=True):
    """A remembered request; without a response it was started and its end was not recorded."""

    body_sha256: bytes
    response: bytes | None


class Accept(msgspec.Struct, frozen=True):
    """Remember a claim as started; `at` in seconds since the epoch."""

    claim: Claim
    at: float


class Answer(msgspec.Struct, frozen=True):
    """Record the response of a claim, as JSON."""

    claim: Claim
    response: bytes


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        message = f"the inbox {path} cannot be used: {error}; nothing was started. Check the disk and its permissions"
        raise OpsError("service_not_ready", message) from error


class InboxStore:
    """The file. Every method raises OpsError(`service_not_ready`) when the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            make_private(path)  # it holds what commands printed
            self._writer = self._connect()
            try:
                self._writer.executescript(_SCHEMA)
                self._reader = self._connect()
            except sqlite3.Error:
                self._writer.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def find(self, scope: str, key: str) -> Row | None:
        """The request remembered under that key."""
        with _translated(self._path):
            row = self._reader.execute(_FIND, (scope, key)).fetchone()
        return None if row is None else Row(bytes(row[0]), row[1])

    def highest_epoch(self, scope: str, execution_id: str) -> int:
        """The highest epoch that was accepted for the execution; 0 when it was never seen."""
        with _translated(self._path):
            return int(self._reader.execute(_EPOCH, (scope, execution_id)).fetchone()[0] or 0)

    def write(self, changes: Sequence[Accept | Answer]) -> None:
        """Commit all changes at once, durably, or none of them."""
        with _translated(self._path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                for change in changes:
                    self._apply(change)
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _apply(self, change: Accept | Answer) -> None:
        claim = change.claim
        if isinstance(change, Accept):
            row = (claim.scope, claim.key, claim.execution_id, claim.epoch, claim.body_sha256, change.at)
            self._writer.execute(_ACCEPT, row)
        else:
            self._writer.execute(_ANSWER, (change.response, claim.scope, claim.key))

    def purge(self, older_than: float, *, limit: int) -> int:
        """Forget at most `limit` requests accepted before that time; returns how many."""
        with _translated(self._path):
            return self._writer.execute(_PURGE, (older_than, limit)).rowcount

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._writer.close()
