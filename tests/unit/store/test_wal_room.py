"""Room in the write-ahead log: made once it is worth it, invisible in the database, harmless when it cannot be made."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from opsconductor.store.journal_schema import open_for_reading, open_for_writing
from opsconductor.store.wal_room import WalRoom

_ROW = "INSERT INTO journal VALUES (?, 1, 't', 'accepted', zeroblob(?), x'00')"


def log_size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.db"


def test_a_log_that_has_grown_gets_room_which_commits_then_use(path: Path) -> None:
    connection = open_for_writing(path)
    room = WalRoom(path)
    connection.execute(_ROW, ("a", 200_000))
    used = log_size(path)
    room.keep(connection)
    made = log_size(path)
    assert made > 1.8 * used
    for number in range(10):
        connection.execute(_ROW, (f"b{number}", 1_000))
        room.keep(connection)
    assert log_size(path) == made
    connection.close()


def test_a_short_log_is_left_alone(path: Path) -> None:
    connection = open_for_writing(path)
    room = WalRoom(path)
    connection.execute(_ROW, ("a", 1_000))
    before = log_size(path)
    room.keep(connection)
    assert log_size(path) == before
    connection.close()


def test_making_room_leaves_no_trace_in_the_database(path: Path) -> None:
    connection, reader = open_for_writing(path), open_for_reading(path)
    cache = connection.execute("PRAGMA cache_size").fetchone()
    room = WalRoom(path)
    connection.execute(_ROW, ("a", 200_000))
    connection.execute(_ROW, ("b", 200_000))
    version = reader.execute("PRAGMA data_version").fetchone()
    pages = connection.execute("PRAGMA page_count").fetchone()
    room.keep(connection)
    assert not connection.in_transaction
    assert reader.execute("PRAGMA data_version").fetchone() == version
    assert connection.execute("PRAGMA page_count").fetchone() == pages
    assert connection.execute("PRAGMA cache_size").fetchone() == cache
    assert connection.execute("SELECT count(*) FROM journal").fetchone() == (2,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    reader.close()
    connection.close()


def test_what_was_committed_after_the_room_was_made_survives_a_crash(path: Path, tmp_path: Path) -> None:
    connection = open_for_writing(path)
    room = WalRoom(path)
    connection.execute(_ROW, ("a", 300_000))
    room.keep(connection)
    connection.execute(_ROW, ("b", 1_000))
    crashed = tmp_path / "crashed.db"  # both files as they lie on the disk, nothing closed
    crashed.write_bytes(path.read_bytes())
    Path(f"{crashed}-wal").write_bytes(Path(f"{path}-wal").read_bytes())
    survivor = sqlite3.connect(crashed)
    assert survivor.execute("SELECT execution_id FROM journal ORDER BY 1").fetchall() == [("a",), ("b",)]
    assert survivor.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    survivor.close()
    connection.close()


def test_room_that_cannot_be_made_disturbs_nobody(path: Path) -> None:
    connection = open_for_writing(path)
    room = WalRoom(path)
    connection.execute(_ROW, ("a", 200_000))
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 5}")
    room.keep(connection)
    assert not connection.in_transaction
    connection.execute(_ROW, ("b", 100))
    assert connection.execute("SELECT count(*) FROM journal").fetchone() == (2,)
    connection.close()
