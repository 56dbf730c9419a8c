"""A private PostgreSQL for tests: its own data folder and socket, no TCP, gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.needs import absent

_SETTINGS = ["listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB"]


def _program(name: str) -> str:
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return (
        str(versions[-1])
        if versions
        else shutil.which(name) or absent(f"program {name!r} is not installed", "apt-get install postgresql")
    )


def _run(*argv: str) -> None:
    """Run as the user `postgres` when we are root, for the server refuses root."""
    user = "postgres" if os.geteuid() == 0 else None
    done = subprocess.run(argv, user=user, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert done.returncode == 0, f"{argv[0]}: {done.stdout}{done.stderr}"


@contextmanager
def server() -> Iterator[Path]:
    """Start a server; yields the folder of its socket. Databases are made by `url_of_new_database`."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="opsconductor-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    data = str(folder / "data")
    options = " ".join(f"-c {setting}" for setting in [*_SETTINGS, f"unix_socket_directories={folder}"])
    try:
        _run(initdb, "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        _run(pg_ctl, "-D", data, "-w", "-t", "30", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield folder
        finally:
            _run(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def url_of_new_database(folder: Path, name: str) -> str:
    """Create an empty database and return its URL."""
    import psycopg

    with psycopg.connect(host=str(folder), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"postgresql://postgres@/{name}?host={quote(str(folder), safe='')}"
