"""The SQLite journal: the shared suite, and what only a file can do wrong."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opsconductor.engine import chain
from opsconductor.engine.chain import Row
from opsconductor.model.errors import OpsError
from opsconductor.store.history import History
from opsconductor.store.history_rows import INSERT_EXECUTION
from opsconductor.store.journal import SqliteJournal
from opsconductor.store.journal_writer import Append, JournalWriter
from tests.conformance.journal import ACCEPTED, FINISHED, OUTPUT, JournalConformance, Medium


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> SqliteJournal:
        return SqliteJournal(self.path)

    def tamper(self, execution_id: str, sequence: int) -> None:
        self._execute(
            "UPDATE journal SET body = CAST(replace(CAST(body AS TEXT), ':', ' ') AS BLOB)"
            " WHERE execution_id = ? AND sequence = ?",
            execution_id,
            sequence,
        )

    def remove(self, execution_id: str, sequence: int) -> None:
        self._execute("DELETE FROM journal WHERE execution_id = ? AND sequence = ?", execution_id, sequence)

    def _execute(self, statement: str, *parameters: object) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            assert connection.execute(statement, parameters).rowcount == 1
        connection.close()


class TestSqliteJournal(JournalConformance):
    @pytest.fixture
    def medium(self, tmp_path: Path) -> Medium:
        return _File(tmp_path / "journal.db")


async def _write_one(path: Path, name: str = "a") -> None:
    journal = SqliteJournal(path)
    await journal.append(name, "accepted", ACCEPTED)
    await journal.close()


async def test_records_survive_closing_and_opening(tmp_path: Path) -> None:
    await _write_one(tmp_path / "j.db")
    journal = SqliteJournal(tmp_path / "j.db")
    second = await journal.append("a", "step_output", OUTPUT)
    assert second.sequence == 2
    assert await journal.verify("a") == 2
    await journal.close()


async def test_the_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.touch(mode=0o644)
    journal = SqliteJournal(path)
    await journal.append("a", "accepted", ACCEPTED)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert "j.db-wal" in modes
    await journal.close()


async def test_durability_is_switched_on(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j.db")
    connection = journal._writer._open()
    pragma = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert pragma == {"journal_mode": "wal", "synchronous": 2}
    assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000
    assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    await journal.close()


async def test_a_newer_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await _write_one(path)
    _execute(path, "PRAGMA user_version = 7")
    with pytest.raises(OpsError, match="schema version 7 and this version of OpsConductor knows up to 1") as caught:
        SqliteJournal(path)
    assert caught.value.code == "journal_unavailable"


@pytest.mark.parametrize("statement", ["CREATE TABLE mine (x)", "PRAGMA application_id = 5"])
def test_the_database_of_another_program_is_left_alone(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "j.db"
    _execute(path, statement)
    before = path.read_bytes()
    with pytest.raises(OpsError, match="another program"):
        SqliteJournal(path)
    # The mode may have been closed to others and switched to WAL; its content is what it was.
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'journal'").fetchone() == (0,)
    connection.close()
    assert len(path.read_bytes()) == len(before)


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(b"not a database, " * 1000)
    with pytest.raises(OpsError, match="no journal, or is damaged") as caught:
        SqliteJournal(path)
    assert caught.value.code == "journal_unavailable"


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="No such file or directory"):
        SqliteJournal(tmp_path / "absent" / "j.db")


async def test_a_lock_that_lasts_too_long_fails_and_later_appends_work(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = SqliteJournal(path)
    journal._writer._open().execute("PRAGMA busy_timeout=50")
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(OpsError, match="another process kept it locked") as caught:
        await journal.append("a", "accepted", ACCEPTED)
    assert caught.value.code == "journal_unavailable"
    blocker.execute("ROLLBACK")
    blocker.close()
    assert (await journal.append("a", "accepted", ACCEPTED)).sequence == 1
    await journal.close()


async def test_a_full_database_fails_whole_batches_and_later_appends_work(tmp_path: Path) -> None:
    """`max_page_count` gives SQLITE_FULL exactly as a full disk does, without one."""
    journal = SqliteJournal(tmp_path / "j.db")
    await journal.append("a", "accepted", ACCEPTED)
    connection = journal._writer._open()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    large = {**OUTPUT, "text": "x" * 100_000}
    answers = await asyncio.gather(
        *(journal.append("a", "step_output", large) for _ in range(3)), return_exceptions=True
    )
    assert [getattr(answer, "code", None) for answer in answers] == ["journal_unavailable"] * 3
    assert "disk is full" in str(answers[0])
    assert await journal.verify("a") == 1
    connection.execute("PRAGMA max_page_count=1000000")
    assert (await journal.append("a", "step_output", large)).sequence == 2
    assert await journal.verify("a") == 2
    await journal.close()


async def test_a_batch_that_fails_halfway_leaves_nothing_of_its_first_half(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j.db")
    connection = writer._open()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 1}")
    small, large = (
        Append([Row(name, 0, "t", "accepted", chain.encode_body({**ACCEPTED, "plan": {"x": "y" * size}}))], (), None)
        for name, size in (("small", 1), ("large", 100_000))
    )
    writer._write([small, large])
    assert {getattr(item.error, "code", None) for item in (small, large)} == {"journal_unavailable"}
    assert connection.execute("SELECT count(*) FROM journal").fetchone() == (0,)
    assert not connection.in_transaction
    small.error = None
    writer._write([small])
    assert small.error is None
    assert small.rows[0].sequence == 1
    writer.close()


async def test_a_journal_that_is_removed_while_in_use_is_noticed_and_then_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    journal = SqliteJournal(folder / "j.db")
    await journal.append("a", "accepted", ACCEPTED)
    shutil.rmtree(folder)
    with pytest.raises(OpsError, match="removed or replaced"):
        await journal.append("a", "step_output", OUTPUT)
    with pytest.raises(OpsError, match="No such file"):
        await journal.append("b", "accepted", ACCEPTED)
    folder.mkdir()
    assert (await journal.append("b", "accepted", ACCEPTED)).sequence == 1
    with pytest.raises(OpsError, match="another process"):  # what was recorded of it is gone: no silent new start
        await journal.append("a", "step_output", OUTPUT)
    await journal.close()


@pytest.mark.parametrize(
    "body",
    [{"plan": {}}, {**ACCEPTED, "plan_name": None}, {**ACCEPTED, "steps": [{"id": "x"}]}, {**ACCEPTED, "steps": 5}],
)
async def test_a_body_of_another_shape_is_refused_and_its_neighbours_are_recorded(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    journal = SqliteJournal(tmp_path / "j.db")
    good, bad = await asyncio.gather(
        journal.append("a", "accepted", ACCEPTED), journal.append("b", "accepted", body), return_exceptions=True
    )
    assert getattr(good, "sequence", None) == 1
    assert getattr(bad, "code", None) == "internal_error"
    await journal.close()


async def test_names_that_utf8_cannot_hold_are_recorded_and_listed(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j.db")
    body = {**ACCEPTED, "plan_name": "caf\udce9", "steps": [{"id": "x", "tool": "d\udcfff"}], "actor_id": "\ud800"}
    await journal.append("a", "accepted", body)
    await journal.append("a", "finished", {**FINISHED, "error_message": "no \udcff"})
    [line] = await History(journal.reader).list_executions()
    assert (line.plan_name, line.tools, line.error_message) == ("caf?", "d?f", "no ?")
    await journal.close()


async def test_a_batch_whose_derived_rows_fail_leaves_no_records(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "j.db")
    row = Row("a", 0, "t", "accepted", chain.encode_body(ACCEPTED))
    bad = Append([row], [(INSERT_EXECUTION, (None,) * 9)], None)
    writer._write([bad])
    assert getattr(bad.error, "code", None) == "journal_unavailable"
    assert writer._open().execute("SELECT count(*) FROM journal").fetchone() == (0,)
    writer.close()


async def test_an_append_whose_caller_was_cancelled_does_not_disturb_the_next(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j.db")
    task = asyncio.create_task(journal.append("a", "accepted", ACCEPTED))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await journal.append("b", "accepted", ACCEPTED)).sequence == 1
    await journal.append("b", "finished", FINISHED)
    assert await journal.verify("b") == 2
    await journal.close()


async def test_a_megabyte_of_output_is_one_record(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j.db")
    await journal.append("a", "accepted", ACCEPTED)
    await journal.append("a", "step_output", {**OUTPUT, "text": "z" * 5_000_000})
    assert len((await journal.read("a"))[1].body["text"]) == 5_000_000
    await journal.close()
