"""The inventory on SQLite: the common suite, and what is special about files and processes."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.model.selector import parse
from opsconductor.store.asset_query import AssetQuery
from opsconductor.store.asset_store import AssetStore
from opsconductor.store.database import HEAD
from tests.conformance.asset_store_suite import BY, TENANT, AssetStoreSuite, open_store

_WRITER = """
import asyncio, sys
from tests.conformance.asset_store_suite import BY, open_store

async def main(url, mine):
    store = open_store(url)
    for n in range(10):
        await store.create(BY, {"hostname": f"{mine}-{n}"})
        await store.update(BY, "shared", {"labels": {f"{mine}-{n}": "x"}})
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that does not exist yet, in a folder that does not either."""
    return f"sqlite:///{tmp_path}/state/inventory.db"


class TestOnSqlite(AssetStoreSuite):
    """The common suite."""


async def test_several_processes_write_one_database(url: str) -> None:
    store = open_store(url)
    await store.create(BY, {"hostname": "shared"})
    argv = [sys.executable, "-W", "error", "-c", _WRITER, url]
    writers = [await asyncio.create_subprocess_exec(*argv, mine, stderr=subprocess.PIPE) for mine in ("a", "b", "c")]
    for writer in writers:
        _, errors = await asyncio.wait_for(writer.communicate(), 50)
        assert writer.returncode == 0, errors.decode()
    shared = await store.get(TENANT, "shared")
    page = await store.query(TENANT, AssetQuery())
    await store.close()
    assert (len(page.assets), len(shared.labels), shared.version) == (31, 30, 31)


async def test_the_file_belongs_to_its_owner_alone_and_survives_a_reopening(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    await store.create(BY, {"hostname": "web-1"})
    await store.close()
    file = tmp_path / "state" / "inventory.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await store.get(TENANT, "web-1")).hostname == "web-1"
    await store.close()


async def test_a_current_schema_is_opened_without_alembic(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()
    code = (
        "import asyncio, sys\nfrom tests.conformance.asset_store_suite import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "async def main():\n    await store.open()\n    await store.close()\nasyncio.run(main())\n"
        "assert 'alembic' not in sys.modules"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, url], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_store_that_is_not_used_imports_no_sqlalchemy() -> None:
    code = (
        "import sys\nfrom opsconductor.services.asset.handlers import handlers\n"
        "from opsconductor.services.asset.targets import AssetTargets\n"
        "from opsconductor.store.asset_store import AssetStore\n"
        "store = AssetStore('sqlite:////nowhere', now=None, new_id=None)\nhandlers(store), AssetTargets(store)\n"
        "assert 'sqlalchemy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_the_newest_migration_is_the_schema_this_code_expects() -> None:
    folder = Path(sys.modules[AssetStore.__module__].__file__ or "").parent / "migrations" / "versions"
    newest = sorted(file.stem for file in folder.glob("v*.py"))[-1]
    assert newest.startswith(f"v{HEAD}_")


@pytest.mark.parametrize(
    ("bad", "hint"),
    [
        ("not a url", "expected sqlite:"),
        ("mysql://host/name", "'mysql'"),
        ("sqlite://", "names no file"),
        ("sqlite:////proc/nowhere/inventory.db", "/proc"),
        ("sqlite:////dev/null/inventory.db", "/dev/null"),
        ("postgresql://someone:hunter2@127.0.0.1:1/none?connect_timeout=2", "127.0.0.1"),
    ],
)
async def test_a_database_that_cannot_be_used_is_one_clear_error(bad: str, hint: str) -> None:
    with pytest.raises(OpsError) as caught:
        await open_store(bad).get(TENANT, "web-1")
    assert caught.value.code == "database_unavailable"
    assert hint in caught.value.message
    assert "hunter2" not in str(caught.value.to_info())


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "letters.db"
    file.write_bytes(b"dear diary, " * 1000)
    with pytest.raises(OpsError) as caught:
        await open_store(f"sqlite:///{file}").get(TENANT, "web-1")
    assert caught.value.code == "database_unavailable"
    assert file.read_bytes() == b"dear diary, " * 1000


@pytest.mark.slow
async def test_ten_thousand_assets_are_answered_quickly(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    from opsconductor.model.asset import new_asset
    from opsconductor.store import asset_sql
    from tests.conformance.asset_store_suite import new_id

    store = open_store(url)
    database = await store.open()
    new = [
        new_asset(
            {
                "hostname": f"web-{n:05}",
                "environment": ("prod", "dev", "test")[n % 3],
                "addresses": [f"10.{n // 65536}.{n // 256 % 256}.{n % 256}"],
                "tags": ["all", f"t{n % 100}"],
                "labels": {"role": ("web", "api")[n % 2]},
            },
            asset_id=new_id(),
            at="2026-01-01T00:00:00.000000Z",
        )
        for n in range(10_000)
    ]
    async with database.transaction(write=True) as connection:
        await asset_sql.add(connection, TENANT, *new)
    timings = []
    questions = ["env=prod", "tag=t7", "env=prod, role in (api), tag=t7", "ip=10.0.1.0/24", "hostname~0042", "!retired"]
    for text in questions:
        started = time.perf_counter()
        page = await store.query(TENANT, AssetQuery(selector=parse(text), limit=50))
        timings.append(f"{text!r}: {(time.perf_counter() - started) * 1000:.1f} ms for {len(page.assets)}")
        assert page.assets
    started = time.perf_counter()
    everything = await store.query(TENANT, AssetQuery(selector=parse("env!=prod"), limit=10_000))
    timings.append(f"all of env!=prod: {(time.perf_counter() - started) * 1000:.1f} ms for {len(everything.assets)}")
    await store.close()
    assert len(everything.assets) == 6666
    with capsys.disabled():
        print("\n10,000 assets, first page of 50:", *timings, sep="\n  ")  # noqa: T201 - a figure for people
