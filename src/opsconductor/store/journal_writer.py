"""The one thread that writes the journal: it takes what is waiting, commits it in one transaction, then answers all.

Group commit: while one commit waits for the disk, the next batch gathers. Sequence and hash are given inside the
transaction (BEGIN IMMEDIATE), so a failed batch leaves nothing behind, in the file or in memory. Several processes may
write to one file: `PRAGMA data_version` tells when another one did, and heads are then looked up again.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from opsconductor.engine.chain import START, Head, Row, follow_all, stale
from opsconductor.engine.records import RecordKind
from opsconductor.model.errors import OpsError
from opsconductor.store.history_rows import STATEMENTS, Change
from opsconductor.store.journal_schema import open_for_writing, unavailable
from opsconductor.store.wal_room import WalRoom

MAX_BATCH_RECORDS = 512
MAX_BATCH_BYTES = 32 * 1024**2
_INSERT = "INSERT INTO journal (execution_id, sequence, at, kind, body, hash) VALUES (?, ?, ?, ?, ?, ?)"
_HEAD = "SELECT sequence, hash, kind FROM journal WHERE execution_id = ? ORDER BY sequence DESC LIMIT 1"


class Append:
    """Records of one execution on their way to the disk, all or none. Rows have no sequence and hash until placed."""

    __slots__ = ("after", "changes", "error", "future", "loop", "rows")

    def __init__(self, rows: Sequence[Row], changes: Iterable[Change], after: int | None) -> None:
        self.rows = rows
        self.changes = changes
        self.after = after
        self.error: OpsError | None = None
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Sequence[Row]] = self.loop.create_future()


class JournalWriter:
    """Owns the writing connection and the thread. Made and closed by `SqliteJournal`."""

    def __init__(self, path: Path) -> None:
        """Open the file; the thread starts with the first append. Raises OpsError(`journal_unavailable`)."""
        self._path = path
        self._connection: sqlite3.Connection | None = open_for_writing(path)
        self._inode = _inode(path)
        self._room = WalRoom(path)
        self._heads: dict[str, tuple[Head, int]] = {}  # execution id → last record, data_version it was seen at
        self._fenced: set[str] = set()
        self._queue: SimpleQueue[Append | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, append: Append) -> None:
        """Queue one append; its future is answered after the commit. Called on the event loop."""
        if self._closed:
            raise OpsError("journal_unavailable", f"journal {self._path}: it is closed; nothing was recorded")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
            self._thread.start()
        self._queue.put(append)

    def close(self) -> None:
        """Write what is queued, end the thread, close the file. Blocks; may be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._drop_connection()

    def _run(self) -> None:
        open_ended = True
        while open_ended:
            batch, open_ended = self._gather()
            if batch:
                self._write(batch)
                _answer(batch)
                self._make_room()

    def _make_room(self) -> None:
        """Before the next batch; a connection that failed is left to that."""
        if self._connection is not None:
            self._room.keep(self._connection)

    def _gather(self) -> tuple[list[Append], bool]:
        """Wait for the first append and take what else is there; False when the end was asked for."""
        batch: list[Append] = []
        records = size = 0
        item = self._queue.get()
        while item is not None:
            if not item.future.cancelled():  # nobody waits for it any more, and it was not begun
                batch.append(item)
                records += len(item.rows)
                size += sum(len(row.body) for row in item.rows)
            if records >= MAX_BATCH_RECORDS or size >= MAX_BATCH_BYTES:
                return batch, True
            try:
                item = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _write(self, batch: list[Append]) -> None:
        """Commit the batch. Every append of it ends with its row placed, or with an error and nothing written."""
        try:
            heads = self._commit(batch)
        except OpsError as error:
            _fail(batch, error)
        except sqlite3.Error as error:
            _fail(batch, unavailable(error, self._path))
            if not getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_IOERR")):
                self._drop_connection()  # the file may be another one by now, or writable again
        except Exception as error:  # noqa: BLE001  the boundary of the thread: told to every waiting caller
            _fail(batch, OpsError("internal_error", f"the journal's writer failed: {error!r}"))
        else:
            self._remember(heads)

    def _commit(self, batch: list[Append]) -> dict[str, tuple[Head, int]]:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            version: int = connection.execute("PRAGMA data_version").fetchone()[0]
            heads: dict[str, tuple[Head, int]] = {}
            placed = [item for item in batch if self._place(connection, item, heads, version)]
            connection.executemany(_INSERT, [row for item in placed for row in item.rows])
            _derive(connection, placed)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return heads

    def _place(
        self, connection: sqlite3.Connection, item: Append, heads: dict[str, tuple[Head, int]], version: int
    ) -> bool:
        """Give the records their sequences and hashes, or the append its error."""
        execution_id = item.rows[0].execution_id
        try:
            entry = heads.get(execution_id)
            head = entry[0] if entry else self._head(connection, item, version)
            item.rows, head = follow_all(head, item.rows, item.after)
        except OpsError as error:
            item.error = error
            return False
        heads[execution_id] = (head, version)
        return True

    def _head(self, connection: sqlite3.Connection, item: Append, version: int) -> Head:
        """The last record of an execution. Raises `epoch_stale` when another writer added one since we last looked.

        An append that names `after` has looked for itself, and may go on from what others wrote.
        """
        execution_id = item.rows[0].execution_id
        known = self._heads.get(execution_id)
        if known is not None and known[1] == version:
            return known[0]
        found = connection.execute(_HEAD, (execution_id,)).fetchone()
        head = Head(*found) if found else START
        if item.after is None and (execution_id in self._fenced or (known is not None and known[0] != head)):
            self._fenced.add(execution_id)
            raise stale(execution_id, head.sequence, known[0].sequence if known else 0)
        return head

    def _remember(self, heads: dict[str, tuple[Head, int]]) -> None:
        for execution_id, entry in heads.items():
            self._fenced.discard(execution_id)
            if entry[0].kind == RecordKind.FINISHED:
                self._heads.pop(execution_id, None)
            else:
                self._heads[execution_id] = entry

    def _open(self) -> sqlite3.Connection:
        """The connection, opened again after an error. Raises when the file was removed or replaced under us."""
        if self._connection is not None and _inode(self._path) != self._inode:
            self._drop_connection()
            raise OpsError(
                "journal_unavailable",
                f"journal {self._path}: the file was removed or replaced while it was in use; nothing was recorded. "
                "Put it back, or run again to begin a new one",
            )
        if self._connection is None:
            self._connection = open_for_writing(self._path)
            self._inode = _inode(self._path)
            self._room = WalRoom(self._path)
            self._heads = {name: (head, -1) for name, (head, _) in self._heads.items()}
        return self._connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _derive(connection: sqlite3.Connection, placed: list[Append]) -> None:
    by_statement: dict[str, list[tuple[object, ...]]] = {}
    for item in placed:
        for statement, parameters in item.changes:
            by_statement.setdefault(statement, []).append(parameters)
    for statement in STATEMENTS:
        if statement in by_statement:
            connection.executemany(statement, by_statement[statement])


def _fail(batch: list[Append], error: OpsError) -> None:
    for item in batch:
        item.error = item.error or error


def _answer(batch: list[Append]) -> None:
    """Hand the results to the waiting coroutines, with one wake-up for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Append]] = {}
    for item in batch:
        by_loop.setdefault(item.loop, []).append(item)
    for loop, items in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolver(items))
        except RuntimeError:  # that loop was closed: nobody waits any more
            continue


def _resolver(items: list[Append]) -> Callable[[], None]:
    def resolve() -> None:
        for item in items:
            if item.future.done():
                continue
            if item.error is not None:
                item.future.set_exception(item.error)
            else:
                item.future.set_result(item.rows)

    return resolve
