"""sqlite3 on a real database file: reads only read, changes are all or none, and no other file is in reach."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from tests.harness import service
from tests.needs import program

pytestmark = pytest.mark.integration


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Path]:
    program("sqlite3")
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE);"
            "CREATE VIEW names AS SELECT name FROM users;"
            "INSERT INTO users (name) VALUES ('ada'), ('bob'), (NULL);"
        )
    yield path


def _names(path: Path) -> list[str | None]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM users ORDER BY id")]


async def _run(path: Path, operation: str, **inputs: Any) -> StepResult:
    async with service() as bench:
        return await bench.run("sqlite3", operation, {"database": str(path), **inputs})


async def test_query_gives_rows_as_objects_in_their_order_up_to_the_limit(database: Path) -> None:
    result = await _run(database, "query", query="SELECT id, name FROM users ORDER BY id DESC -- newest", rows=2)
    assert result.status is StepStatus.COMPLETED, result.error
    assert result.output["data"] == [{"id": 3, "name": None}, {"id": 2, "name": "bob"}]


async def test_query_without_rows_gives_an_empty_list(database: Path) -> None:
    result = await _run(database, "query", query="SELECT * FROM users WHERE name = 'x;y'")
    assert result.status is StepStatus.COMPLETED, result.error
    assert result.output["data"] == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1) LIMIT 1; DELETE FROM users; SELECT * FROM (SELECT 1",
        "SELECT 1); ATTACH DATABASE '/tmp/x.db' AS x; SELECT * FROM (SELECT 1",
        "SELECT readfile('/etc/hostname')",
        "SELECT load_extension('/tmp/x')",
        "SELECT * FROM nowhere",
    ],
)
async def test_query_that_would_do_more_than_read_this_database_fails_and_changes_nothing(
    database: Path, query: str
) -> None:
    result = await _run(database, "query", query=query)
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert result.error.code == "command_failed"
    assert _names(database) == ["ada", "bob", None]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1\n);\n.shell touch {marker}\nSELECT * FROM (SELECT 1",
        "SELECT 1);\n  .trace {marker}\nSELECT * FROM (SELECT 1",
        ".output {marker}",
        "SELECT data FROM FsDir('/etc/hostname')",
        "CREATE VIRTUAL TABLE z USING \"zipFile\"('{marker}');",
    ],
)
@pytest.mark.parametrize("operation", ["query", "execute"])
async def test_shell_commands_and_functions_that_reach_files_are_refused_before_anything_starts(
    database: Path, tmp_path: Path, sql: str, operation: str
) -> None:
    marker = tmp_path / "marker"
    name = "query" if operation == "query" else "statements"
    result = await _run(database, operation, **{name: sql.format(marker=marker)})
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert result.error.code == "input_invalid"
    assert not marker.exists()


async def test_execute_counts_changes_and_gives_results(database: Path) -> None:
    statements = "UPDATE users SET name = 'eve' WHERE id = 3; SELECT name FROM users WHERE id = 3"
    result = await _run(database, "execute", statements=statements)
    assert result.status is StepStatus.COMPLETED, result.error
    assert result.output["data"] == {"changes": 1, "results": [[{"name": "eve"}]]}
    assert _names(database) == ["ada", "bob", "eve"]


async def test_execute_leaves_nothing_when_a_statement_fails(database: Path) -> None:
    statements = "INSERT INTO users (name) VALUES ('eve'); INSERT INTO users (name) VALUES ('ada');"
    result = await _run(database, "execute", statements=statements)
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert "UNIQUE" in result.error.message
    assert _names(database) == ["ada", "bob", None]


@pytest.mark.parametrize(
    ("operation", "inputs"), [("query", {"query": "SELECT 1"}), ("execute", {"statements": "CREATE TABLE t (a);"})]
)
async def test_missing_file_is_a_failure_and_is_not_made(
    tmp_path: Path, operation: str, inputs: dict[str, str]
) -> None:
    program("sqlite3")
    result = await _run(tmp_path / "none.db", operation, **inputs)
    assert result.status is StepStatus.FAILED
    assert not list(tmp_path.iterdir())


async def test_tables_and_schema_name_what_is_there(database: Path) -> None:
    tables = await _run(database, "tables")
    assert tables.output["data"] == [
        {"name": "names", "type": "view", "columns": 1},
        {"name": "users", "type": "table", "columns": 2},
    ]
    schema = await _run(database, "schema")
    assert [row["name"] for row in schema.output["data"]] == ["names", "users"]
    assert schema.output["data"][1]["sql"].startswith("CREATE TABLE users")


async def test_integrity_check_tells_a_good_file_from_a_damaged_one(database: Path) -> None:
    good = await _run(database, "integrity_check")
    assert good.output["data"] == [{"integrity_check": "ok"}]
    content = bytearray(database.read_bytes())
    content[4096 * 2 + 100 :] = b"\xff" * (len(content) - 4096 * 2 - 100)
    database.write_bytes(content)
    bad = await _run(database, "integrity_check")
    assert bad.status is StepStatus.FAILED or bad.output["data"] != [{"integrity_check": "ok"}]
