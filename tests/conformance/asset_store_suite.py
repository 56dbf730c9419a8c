"""What the inventory promises on every database. Subclassed with a `url` fixture for SQLite and for PostgreSQL."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from opsconductor.model.asset import Asset
from opsconductor.model.clock import uuid7
from opsconductor.model.errors import OpsError
from opsconductor.model.selector import Clause, Operator, Selector, clause, parse
from opsconductor.store.asset_query import AssetQuery, Author, IfExists
from opsconductor.store.asset_store import AssetStore
from opsconductor.store.database import HEAD, Database

BY = Author(actor="7", reason="test", execution_id="e-1")
TENANT = BY.tenant_id
HOSTILE = [
    "'; DROP TABLE assets; --",
    '" OR 1=1 --',
    "100%_\\%",
    "a*b?c",
    "{{ 7 * 7 }} ${HOME} $(id)",
    "naïve ÇA Ω 漢字 🦊",
    "\\x00 \\u0000",
]


def new_id() -> str:
    """A fresh UUIDv7."""
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))


def open_store(url: str) -> AssetStore:
    """A store as bootstrap makes it."""
    return AssetStore(url, now=lambda: datetime.now(UTC), new_id=new_id)


async def names(store: AssetStore, selector: str, **more: Any) -> list[str]:
    """Hostnames that fit."""
    page = await store.query(TENANT, AssetQuery(selector=parse(selector), **more))
    return [asset.hostname for asset in page.assets]


async def code_of(awaitable: Any) -> str:
    """The code of the error it raises."""
    with pytest.raises(OpsError) as caught:
        await awaitable
    return caught.value.code


class AssetStoreSuite:
    """Behaviour of `AssetStore`."""

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[AssetStore]:
        """A store on an empty database."""
        store = open_store(url)
        yield store
        await store.close()

    # -- the schema

    async def test_migrations_lead_to_exactly_the_tables(self, url: str) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        from opsconductor.store.database import VERSION_TABLE
        from opsconductor.store.tables import metadata

        database = await Database.open(url)
        options = {"version_table": VERSION_TABLE, "compare_server_default": True}
        async with database.transaction() as connection:
            found = await connection.run_sync(
                lambda sync: compare_metadata(MigrationContext.configure(sync, opts=options), metadata)
            )
        await database.close()
        assert found == []

    async def test_a_schema_of_a_newer_program_is_refused(self, url: str) -> None:
        from sqlalchemy import text

        database = await Database.open(url)
        async with database.transaction(write=True) as connection:
            await connection.execute(text("UPDATE asset_schema_version SET version_num = '9999'"))
        await database.close()
        with pytest.raises(OpsError, match=f"another version than this program .{HEAD}") as caught:
            await open_store(url).open()
        assert caught.value.code == "database_unavailable"

    async def test_several_openings_at_once_migrate_once(self, url: str) -> None:
        stores = [open_store(url) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        await stores[0].create(BY, {"hostname": "web-1"})
        assert (await stores[3].get(TENANT, "web-1")).hostname == "web-1"
        for store in stores:
            await store.close()

    # -- creating

    async def test_what_is_stored_comes_back_the_same(self, store: AssetStore) -> None:
        fields = {
            "hostname": "web-1",
            "addresses": ["10.0.0.1", "2001:db8::1"],
            "type": "server",
            "platform": "linux",
            "os": "Ubuntu 22.04",
            "environment": "prod",
            "location": "Zürich",
            "owner": "team-web",
            "tags": ["Blue"],
            "groups": ["frontend"],
            "labels": {"role": "web"},
            "metadata": {"rack": {"unit": 14}, "list": [1, 2.5, None, True, "x\ny"]},
            "connection": {"transport": "ssh", "port": 2222, "user": "deploy", "jump_host": "bastion"},
            "credential": "ssh/deploy",
        }
        made = await store.create(BY, fields)
        assert made.created
        assert await store.get(TENANT, made.asset.id) == made.asset
        assert await store.get(TENANT, "WEB-1") == made.asset

    async def test_a_hostname_is_unique_among_live_assets_of_a_tenant(self, store: AssetStore) -> None:
        first = await store.create(BY, {"hostname": "web-1"})
        assert await code_of(store.create(BY, {"hostname": "WEB-1"})) == "asset_conflict"
        other = await store.create(Author(tenant_id="acme"), {"hostname": "web-1"})
        await store.delete(BY, "web-1")
        again = await store.create(BY, {"hostname": "web-1"})
        assert len({first.asset.id, other.asset.id, again.asset.id}) == 3

    async def test_an_existing_asset_is_updated_or_kept_when_asked(self, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "web-1", "owner": "me", "labels": {"a": "1"}})
        kept = await store.create(BY, {"hostname": "web-1", "owner": "you"}, if_exists=IfExists.KEEP)
        assert (kept.created, kept.asset.owner, kept.differences) == (False, "me", {})
        fields = {"hostname": "web-1", "owner": "you", "labels": {"b": "2"}}
        updated = await store.create(BY, fields, if_exists=IfExists.UPDATE)
        assert (updated.created, updated.asset.version) == (False, 2)
        assert updated.asset.labels == {"a": "1", "b": "2"}
        same = await store.create(BY, fields, if_exists=IfExists.UPDATE)
        assert (same.differences, same.asset.version) == ({}, 2)

    async def test_of_many_creating_one_name_at_once_exactly_one_succeeds(self, url: str, store: AssetStore) -> None:
        other = open_store(url)
        tries = [store.create(BY, {"hostname": "web-1"}) for _ in range(4)]
        tries += [other.create(BY, {"hostname": "web-1"}) for _ in range(4)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        await other.close()
        codes = [result.code for result in results if isinstance(result, OpsError)]
        assert codes == ["asset_conflict"] * 7

    async def test_of_many_making_sure_of_one_name_all_succeed(self, url: str, store: AssetStore) -> None:
        other = open_store(url)
        wanted = {"hostname": "web-1", "owner": "me"}
        tries = [one.create(BY, wanted, if_exists=IfExists.KEEP) for one in (store, other) for _ in range(4)]
        results = await asyncio.gather(*tries)
        await other.close()
        assert sorted(result.created for result in results) == [False] * 7 + [True]
        assert len({result.asset.id for result in results}) == 1

    @pytest.mark.parametrize("value", HOSTILE)
    async def test_hostile_texts_are_stored_and_found_literally(self, store: AssetStore, value: str) -> None:
        fields = {"owner": value, "tags": [value], "labels": {"x": value}, "metadata": {value: value}}
        await store.create(BY, {"hostname": "odd", **fields})
        await store.create(BY, {"hostname": "plain", "owner": "someone", "tags": ["t"], "labels": {"x": "y"}})
        made = await store.get(TENANT, "odd")
        assert (made.owner, made.tags, made.labels["x"], made.metadata) == (value, (value,), value, {value: value})
        for name in ("owner", "tags", "labels.x"):
            for operator in (Operator.IS, Operator.IN):
                found = await store.query(TENANT, AssetQuery(selector=Selector((clause(name, operator, value),))))
                assert [asset.hostname for asset in found.assets] == ["odd"]
        assert await store.find(TENANT, value) is None
        assert await code_of(store.get(TENANT, value)) == "asset_not_found"

    @pytest.mark.parametrize("reference", ["\0", "web\0-1", "", " ", "%", "a" * 10_000])
    async def test_a_reference_that_no_asset_can_have_is_not_found(self, store: AssetStore, reference: str) -> None:
        await store.create(BY, {"hostname": "web-1"})
        assert await code_of(store.get(TENANT, reference)) == "asset_not_found"
        assert await code_of(store.delete(BY, reference)) == "asset_not_found"

    # -- changing

    async def test_of_two_writers_with_one_version_the_second_is_refused(self, url: str, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "web-1"})
        other = open_store(url)
        results = await asyncio.gather(
            store.update(BY, "web-1", {"owner": "a"}, version=1),
            other.update(BY, "web-1", {"owner": "b"}, version=1),
            return_exceptions=True,
        )
        await other.close()
        refused = [result for result in results if isinstance(result, OpsError)]
        assert [error.code for error in refused] == ["asset_conflict"]
        assert refused[0].context["version"] == 2
        assert (await store.get(TENANT, "web-1")).version == 2

    async def test_without_a_version_no_change_is_lost(self, url: str, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "web-1"})
        other = open_store(url)
        writers = [
            one.update(BY, "web-1", {"labels": {f"k{n}": "v"}, "add_tags": [f"t{n}"]})
            for n, one in enumerate([store, other] * 5)
        ]
        await asyncio.gather(*writers)
        await other.close()
        asset = await store.get(TENANT, "web-1")
        assert (len(asset.labels), len(asset.tags), asset.version) == (10, 10, 11)
        assert [entry.version for entry in await store.history(TENANT, "web-1")] == list(range(11, 0, -1))

    async def test_a_repeated_update_writes_nothing_even_with_the_old_version(self, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "web-1"})
        first = await store.update(BY, "web-1", {"owner": "me"}, version=1)
        again = await store.update(BY, "web-1", {"owner": "me"}, version=1)
        assert (first.asset, again.differences) == (again.asset, {})
        assert len(await store.history(TENANT, "web-1")) == 2

    async def test_renaming_keeps_the_identity_and_respects_others(self, store: AssetStore) -> None:
        first = await store.create(BY, {"hostname": "web-1"})
        await store.create(BY, {"hostname": "web-2"})
        assert await code_of(store.update(BY, "web-1", {"hostname": "web-2"})) == "asset_conflict"
        renamed = await store.update(BY, "web-1", {"hostname": "web-3"})
        assert renamed.asset.id == first.asset.id
        assert await names(store, "hostname~web") == ["web-2", "web-3"]
        assert await code_of(store.get(TENANT, "web-1")) == "asset_not_found"

    async def test_selectors_see_a_change_at_once(self, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "web-1", "tags": ["blue"], "labels": {"role": "web"}})
        await store.update(BY, "web-1", {"tags": ["green"], "labels": {"role": None}, "addresses": ["10.0.0.1"]})
        assert await names(store, "tag=blue") == []
        assert await names(store, "role") == []
        assert await names(store, "tag=green, ip=10.0.0.0/24, !role") == ["web-1"]

    async def test_an_invalid_change_changes_nothing(self, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "web-1", "owner": "me"})
        assert await code_of(store.update(BY, "web-1", {"owner": "you", "addresses": ["x"]})) == "asset_invalid"
        assert (await store.get(TENANT, "web-1")).owner == "me"

    async def test_a_dry_run_answers_and_keeps_nothing(self, store: AssetStore) -> None:
        made = await store.create(BY, {"hostname": "web-1"}, dry_run=True)
        assert made.created
        assert await store.find(TENANT, "web-1") is None
        await store.create(BY, {"hostname": "web-1"})
        assert (await store.update(BY, "web-1", {"owner": "me"}, dry_run=True)).differences == {"owner": [None, "me"]}
        assert (await store.delete(BY, "web-1", dry_run=True)).asset.retired_at is not None
        asset = await store.get(TENANT, "web-1")
        assert (asset.version, asset.retired_at, asset.owner) == (1, None, None)
        assert len(await store.history(TENANT, "web-1")) == 1

    # -- retiring

    async def test_a_deleted_asset_is_hidden_and_can_be_restored(self, store: AssetStore) -> None:
        made = await store.create(BY, {"hostname": "web-1", "owner": "me"})
        gone = await store.delete(BY, "web-1", version=1)
        assert gone.asset.retired_at is not None
        assert await names(store, "hostname~web") == []
        assert await names(store, "hostname~web", include_retired=True) == ["web-1"]
        assert await names(store, "retired") == ["web-1"]
        assert await code_of(store.delete(BY, "web-1")) == "asset_not_found"
        assert await code_of(store.update(BY, "web-1", {"owner": "x"})) == "asset_conflict"
        back = await store.restore(BY, "web-1")
        assert (back.asset.id, back.asset.retired_at, back.asset.version) == (made.asset.id, None, 3)
        assert await names(store, "owner=me") == ["web-1"]
        assert (await store.restore(BY, "web-1")).differences == {}

    async def test_deleting_another_version_is_refused(self, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "web-1"})
        await store.update(BY, "web-1", {"owner": "me"})
        assert await code_of(store.delete(BY, "web-1", version=1)) == "asset_conflict"
        assert (await store.get(TENANT, "web-1")).retired_at is None

    async def test_restoring_a_name_that_is_taken_is_refused(self, store: AssetStore) -> None:
        old = await store.create(BY, {"hostname": "web-1"})
        await store.delete(BY, "web-1")
        new = await store.create(BY, {"hostname": "web-1"})
        assert await code_of(store.restore(BY, old.asset.id)) == "asset_conflict"
        assert await store.get(TENANT, "web-1") == new.asset

    async def test_a_jump_host_in_use_is_neither_deleted_nor_renamed(self, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "bastion"})
        await store.create(BY, {"hostname": "web-1", "connection": {"jump_host": "bastion"}})
        with pytest.raises(OpsError, match="jump host of web-1"):
            await store.delete(BY, "bastion")
        assert await code_of(store.update(BY, "bastion", {"hostname": "b2"})) == "asset_conflict"
        await store.update(BY, "web-1", {"connection": {"jump_host": None}})
        await store.delete(BY, "bastion")

    async def test_the_history_says_who_what_when_and_why(self, store: AssetStore) -> None:
        await store.create(BY, {"hostname": "web-1"})
        await store.update(Author(actor="ann", reason="CHG-1"), "web-1", {"owner": "me"})
        await store.delete(Author(actor="bob"), "web-1")
        deleted, updated, created = await store.history(TENANT, "web-1")
        assert (created.action, created.actor, created.reason, created.execution_id) == ("create", "7", "test", "e-1")
        assert (updated.action, updated.actor, updated.reason) == ("update", "ann", "CHG-1")
        assert updated.changes == {"owner": [None, "me"]}
        assert (deleted.action, deleted.version, list(deleted.changes)) == ("delete", 3, ["retired_at"])
        assert created.at < updated.at < deleted.at
        assert len(await store.history(TENANT, "web-1", limit=1)) == 1

    async def test_tenants_see_nothing_of_each_other(self, store: AssetStore) -> None:
        made = await store.create(Author(tenant_id="acme"), {"hostname": "web-1", "tags": ["blue"]})
        assert await names(store, "tag=blue") == []
        assert await names(store, "tag!=blue") == []
        assert await store.find(TENANT, made.asset.id) is None
        for attempt in (store.update(BY, made.asset.id, {"owner": "x"}), store.delete(BY, "web-1")):
            assert await code_of(attempt) == "asset_not_found"
        assert await code_of(store.history(TENANT, "web-1")) == "asset_not_found"

    # -- asking

    async def _fill(self, store: AssetStore, amount: int) -> None:
        for n in range(amount):
            await store.create(BY, {"hostname": f"web-{n:03}", "owner": f"team-{n % 3}"})

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("sort", ["hostname", "owner", "environment", "created_at", "id"])
    async def test_pages_join_to_the_whole(self, store: AssetStore, sort: str, descending: bool) -> None:
        await self._fill(store, 11)
        seen: list[Asset] = []
        cursor = None
        for _ in range(6):
            page = await store.query(
                TENANT, AssetQuery(sort=sort, descending=descending, limit=3, cursor=cursor, with_total=True)
            )
            seen += page.assets
            assert page.total == 11
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len({asset.id for asset in seen}) == len(seen) == 11
        keys = [(getattr(asset, sort) or "", asset.id) for asset in seen]
        assert keys == sorted(keys, reverse=descending)

    async def test_paging_is_stable_while_assets_come_and_go(self, store: AssetStore) -> None:
        await self._fill(store, 10)
        query = AssetQuery(limit=4)
        first = await store.query(TENANT, query)
        assert [asset.hostname for asset in first.assets] == [f"web-{n:03}" for n in range(4)]
        await store.create(BY, {"hostname": "web-0000"})  # before the cursor
        await store.create(BY, {"hostname": "web-0045"})  # behind it
        await store.delete(BY, "web-001")  # seen already
        rest = await store.query(TENANT, AssetQuery(limit=100, cursor=first.next_cursor))
        got = [asset.hostname for asset in (*first.assets, *rest.assets)]
        before, after = [f"web-{n:03}" for n in range(5)], [f"web-{n:03}" for n in range(5, 10)]
        assert got == [*before, "web-0045", *after]  # "web-0045" sorts behind "web-004"

    async def test_a_cursor_of_another_question_is_refused(self, store: AssetStore) -> None:
        await self._fill(store, 3)
        cursor = (await store.query(TENANT, AssetQuery(limit=1))).next_cursor
        assert cursor is not None
        others = [
            AssetQuery(limit=1, cursor=cursor, sort="owner"),
            AssetQuery(limit=1, cursor=cursor, selector=parse("owner=team-0")),
            AssetQuery(limit=1, cursor=cursor[:-4]),
            AssetQuery(limit=1, cursor="not a cursor"),
            AssetQuery(limit=0),
            AssetQuery(sort="document"),
        ]
        for query in others:
            assert await code_of(store.query(TENANT, query)) == "asset_invalid"

    async def test_a_total_is_known_without_counting_when_all_fits(self, store: AssetStore) -> None:
        await self._fill(store, 3)
        assert (await store.query(TENANT, AssetQuery(limit=3))).total == 3
        assert (await store.query(TENANT, AssetQuery(limit=2))).total is None

    async def test_the_database_selects_exactly_what_matches(self, store: AssetStore) -> None:
        dice = random.Random(7)
        for n in range(60):
            await store.create(BY, _some_asset(dice, n))
        for n in range(0, 60, 7):
            await store.delete(BY, f"web-{n}.example.com" if n % 2 else f"db-{n}")
        everything = (await store.query(TENANT, AssetQuery(include_retired=True))).assets
        assert len(everything) == 60
        hits = 0
        for _ in range(250):
            selector = Selector(tuple(_some_clause(dice) for _ in range(dice.choice([1, 1, 2, 3]))))
            page = await store.query(TENANT, AssetQuery(selector=selector, include_retired=True))
            expected = [asset.hostname for asset in everything if selector.matches(asset)]
            assert [asset.hostname for asset in page.assets] == expected, str(selector)
            hits += 0 < len(expected) < 60
        assert hits > 80


_WORDS = ["prod", "dev", "Ünïcode", "a_b", "a%b", "straße", "x" * 90, "back\\slash"]


def _some_asset(dice: random.Random, n: int) -> dict[str, Any]:
    return {
        "hostname": f"web-{n}.example.com" if n % 2 else f"db-{n}",
        "environment": dice.choice(["prod", "dev", None]),
        "os": dice.choice(["Windows Server 2022", "Ubuntu 22.04", None]),
        "platform": dice.choice(["linux", "windows", None]),
        "owner": dice.choice([*_WORDS, None]),
        "tags": dice.sample(_WORDS, dice.randint(0, 3)),
        "labels": {key: dice.choice(_WORDS) for key in dice.sample(["role", "Tier", "os"], dice.randint(0, 3))},
        "metadata": {"rack": {"unit": dice.randint(1, 3)}, "on": dice.choice([True, False, None])},
        "addresses": [f"10.{dice.randint(0, 3)}.0.{n}", *dice.sample([f"2001:db8::{n}"], dice.randint(0, 1))],
        "connection": {"transport": dice.choice(["ssh", "psrp", None])},
    }


def _some_clause(dice: random.Random) -> Clause:
    operator = dice.choice(list(Operator))
    field, values = dice.choice(
        [
            ("env", ["prod", "dev", "PROD"]),
            ("os", ["windows", "ubuntu", "linux", "Ubuntu 22.04"]),
            ("owner", [*_WORDS, "STRASSE", "ÜNÏCODE"]),
            ("tag", _WORDS),
            ("role", _WORDS),
            ("labels.os", _WORDS),
            ("tier", _WORDS),
            ("text", ["prod", "10.1", "windows", "a_b", "%"]),
            ("metadata.rack.unit", ["1", "2"]),
            ("metadata.on", ["true", "false"]),
            ("transport", ["ssh", "psrp"]),
            ("retired", ["2026"]),
            ("ip", ["10.0.0.0/15", "10.1.0.0/16", "2001:db8::/64", "10.2.0.4", "::/0"]),
            ("hostname", ["web-1.example.com", "db-2", "db-4"]),
        ]
    )
    if operator in (Operator.HAS, Operator.LACKS):
        return clause(field, operator)
    if operator in (Operator.LIKE, Operator.UNLIKE):
        return clause(field, operator, dice.choice([*values, "*", "?*", "a_*", "*ß*", "*1*", "e?*", "*\\*"]))
    amount = dice.randint(1, 3) if operator in (Operator.IN, Operator.NOT_IN) else 1
    return clause(field, operator, *(dice.choice(values) for _ in range(amount)))
