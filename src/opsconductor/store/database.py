"""The inventory's database: its URL, connections, transactions and schema version. SQLite and PostgreSQL alike.

Opening compares the schema's version by one plain statement; alembic is imported only when it is behind.
Used by `store.asset_store`; nothing above the store sees SQLAlchemy.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from opsconductor.model.errors import OpsError

HEAD = "0001"
"""The schema version that this code works with; the newest file in `migrations/versions`."""
VERSION_TABLE = "asset_schema_version"
BUSY_TIMEOUT_S = 30.0
_ADVISORY_LOCK = 0x6F707361  # any number of our own: two starting nodes must not migrate at once
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def database_url(text_url: str) -> URL:
    """A person's URL with the driver we use. Raises OpsError(`database_unavailable`)."""
    try:
        url = make_url(text_url)
    except ArgumentError as error:
        raise OpsError("database_unavailable", f"the database URL cannot be read; {_EXPECTED}") from error
    driver = _DRIVERS.get(url.drivername.partition("+")[0])
    if driver is None:
        raise OpsError("database_unavailable", f"found a database URL for {url.drivername!r}; {_EXPECTED}")
    if driver.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise OpsError("database_unavailable", f"the database URL names no file; {_EXPECTED}")
    if driver.startswith("sqlite"):
        url = url.set(database=str(Path(url.database or "").expanduser().absolute()))
    return url.set(drivername=driver)


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


_EXPECTED = "expected sqlite:////path/inventory.db or postgresql://user@host/name"


def _unavailable(url: URL, error: Exception) -> OpsError:
    where = url.render_as_string(hide_password=True)
    cause = getattr(error, "orig", None) or error
    return OpsError("database_unavailable", f"{where}: {str(cause).strip()}", database=where)


def _configure_sqlite(engine: Engine) -> None:
    """Let us begin transactions ourselves: IMMEDIATE for writes, so that two writers wait and never deadlock."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Any) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: switching a new file to WAL and migrating are done by one process at a time."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _prepare_sqlite(path: Path) -> str | None:
    """Create the file if need be, in WAL mode and for the owner only; return its schema version."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(path.parent):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (VERSION_TABLE,)).fetchone():
                return None
            row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
            return str(row[0]) if row else None
        finally:
            connection.close()


async def _postgres_version(engine: AsyncEngine) -> str | None:
    async with engine.connect() as connection:
        try:
            found = await connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
        except ProgrammingError:
            return None
        row = found.first()
        return str(row[0]) if row else None


def migrate(url: URL) -> None:
    """Bring the schema to `HEAD` in one transaction; whoever comes second finds nothing to do."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    sqlite = _is_sqlite(url)
    engine = create_engine(url.set(drivername="sqlite") if sqlite else url, hide_parameters=True)
    if sqlite:
        _configure_sqlite(engine)
    try:
        with engine.connect().execution_options(write=True) as connection, connection.begin():
            if not sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        message = f"the schema is of another version than this program ({HEAD}): {error}; run the newer program"
        raise OpsError("database_unavailable", message) from error
    finally:
        engine.dispose()


class Database:
    """Connections to one database whose schema is current."""

    def __init__(self, url: URL, engine: AsyncEngine) -> None:
        self._url = url
        self._engine = engine

    @classmethod
    async def open(cls, text_url: str) -> Database:
        """Connect, and bring the schema up to date. Raises OpsError(`database_unavailable`)."""
        url = database_url(text_url)
        try:
            database = cls(url, create_async_engine(url, hide_parameters=True, pool_pre_ping=not _is_sqlite(url)))
        except ModuleNotFoundError as error:
            message = "PostgreSQL needs its driver: pip install 'opsconductor[postgres]'"
            raise OpsError("database_unavailable", message) from error
        try:
            await database._make_current()
        except BaseException as error:
            await database.close()
            if isinstance(error, SQLAlchemyError | sqlite3.Error | OSError):
                raise _unavailable(url, error) from error
            raise
        return database

    async def _make_current(self) -> None:
        if _is_sqlite(self._url):
            _configure_sqlite(self._engine.sync_engine)
            version = await asyncio.to_thread(_prepare_sqlite, Path(self._url.database or ""))
        else:
            version = await _postgres_version(self._engine)
        if version != HEAD:
            await asyncio.to_thread(migrate, self._url)

    @asynccontextmanager
    async def transaction(self, *, write: bool = False, keep: bool = True) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end unless `keep` is false; any exception takes it back.

        IntegrityError passes, for the caller knows what it means; other trouble is OpsError(`database_unavailable`).
        """
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(write=write)
                yield connection
                await (connection.commit() if keep else connection.rollback())
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            raise _unavailable(self._url, error) from error

    async def close(self) -> None:
        """Give all connections back."""
        await self._engine.dispose()
