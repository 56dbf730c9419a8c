"""The inventory: create, change, retire, restore, find and page assets, with the history of every change.

One object per process, shared by the asset handlers and target resolution. Nothing is opened, and SQLAlchemy not
imported, before the first call. Several processes may use one database at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from opsconductor.engine.ports import NewId, Now
from opsconductor.model.asset import Asset, changed_asset, differences, new_asset, retired_asset
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.selector import Clause, Operator, Selector
from opsconductor.store.asset_query import AssetQuery, Author, Change, HistoryEntry, IfExists, Page

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from opsconductor.store.database import Database

_NAMES_COMPARED = 10_000


class AssetStore:
    """The inventory in the database at `url` (`sqlite:////path`, `postgresql://…`). Ids must be UUIDv7."""

    def __init__(self, url: str, *, now: Now, new_id: NewId) -> None:
        self._url = url
        self._now = now
        self._new_id = new_id
        self._opened: Database | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> Database:
        """Connect unless connected. Raises OpsError(`database_unavailable`); for readiness checks."""
        async with self._opening:
            if self._opened is None:
                from opsconductor.store.database import Database

                self._opened = await Database.open(self._url)
            return self._opened

    async def close(self) -> None:
        """Give connections back; a later call connects again."""
        async with self._opening:
            if self._opened is not None:
                await self._opened.close()
                self._opened = None

    # -- reading

    async def find(self, tenant_id: str, reference: str) -> Asset | None:
        """The asset with this id or hostname, a live one before a retired one."""
        from opsconductor.store import asset_sql

        database = await self.open()
        async with database.transaction() as connection:
            return await asset_sql.find(connection, tenant_id, reference)

    async def get(self, tenant_id: str, reference: str) -> Asset:
        """As `find`. Raises OpsError(`asset_not_found`) with the nearest names."""
        asset = await self.find(tenant_id, reference)
        return asset if asset is not None else await self._unknown(tenant_id, reference)

    async def query(self, tenant_id: str, query: AssetQuery) -> Page:
        """One page. Raises OpsError(`asset_invalid`) for a limit, sort or cursor that does not fit."""
        from opsconductor.store import asset_sql

        query.check()
        query.position()
        database = await self.open()
        async with database.transaction() as connection:
            return await asset_sql.page(connection, tenant_id, query)

    async def history(self, tenant_id: str, reference: str, *, limit: int = 100) -> tuple[HistoryEntry, ...]:
        """The newest changes of one asset, newest first. Raises OpsError(`asset_not_found`)."""
        from opsconductor.store import asset_sql

        asset = await self.get(tenant_id, reference)
        database = await self.open()
        async with database.transaction() as connection:
            return tuple(await asset_sql.history(connection, tenant_id, asset.id, limit))

    async def nearest_names(self, tenant_id: str, name: str) -> list[str]:
        """Up to three hostnames of live assets that look like `name`."""
        from opsconductor.store import asset_sql

        database = await self.open()
        async with database.transaction() as connection:
            known = await asset_sql.hostnames(connection, tenant_id, _NAMES_COMPARED)
        return get_close_matches(name.lower(), known, n=3)

    # -- writing

    async def create(
        self, by: Author, fields: Mapping[str, Any], *, if_exists: IfExists = IfExists.REFUSE, dry_run: bool = False
    ) -> Change:
        """Add an asset. When a live one has the hostname: refuse, update it with `fields`, or keep it as it is.

        Raises OpsError: `asset_invalid` with all problems, `asset_conflict`.
        """
        from sqlalchemy.exc import IntegrityError

        at = to_rfc3339(self._now())
        asset = new_asset(fields, asset_id=self._new_id(), at=at)
        try:
            return await self._create(by, asset, fields, if_exists=if_exists, dry_run=dry_run)
        except IntegrityError as error:  # another writer added it since we looked
            if if_exists is IfExists.REFUSE:
                raise _taken(asset.hostname) from error
        try:
            return await self._create(by, asset, fields, if_exists=if_exists, dry_run=dry_run)
        except IntegrityError as error:
            raise _taken(asset.hostname) from error

    async def _create(
        self, by: Author, asset: Asset, fields: Mapping[str, Any], *, if_exists: IfExists, dry_run: bool
    ) -> Change:
        from opsconductor.store import asset_sql

        at = asset.created_at
        database = await self.open()
        async with database.transaction(write=True, keep=not dry_run) as connection:
            there = await asset_sql.find(connection, by.tenant_id, asset.hostname, lock=True)
            if there is None or there.retired_at is not None:
                changes = differences(None, asset)
                await asset_sql.add(connection, by.tenant_id, asset)
                await asset_sql.record(connection, by, asset, action="create", at=at, changes=changes)
                return Change(asset=asset, created=True, differences=changes)
            if if_exists is IfExists.REFUSE:
                raise _taken(asset.hostname, there)
            if if_exists is IfExists.KEEP:
                return Change(asset=there)
            given = {name: value for name, value in fields.items() if value is not None}
            return await _write(connection, by, there, changed_asset(there, given, at=at), action="update", at=at)

    async def update(
        self,
        by: Author,
        reference: str,
        changes: Mapping[str, Any],
        *,
        version: int | None = None,
        dry_run: bool = False,
    ) -> Change:
        """Change an asset (`model.asset.changed_asset` says how). Changes that are there already write nothing.

        Raises OpsError: `asset_not_found`, `asset_invalid`, `asset_conflict` (not of `version` any more, retired,
        the new hostname is taken, or others name the old one as their jump host).
        """
        from sqlalchemy.exc import IntegrityError

        at = to_rfc3339(self._now())
        database = await self.open()
        try:
            async with database.transaction(write=True, keep=not dry_run) as connection:
                before = await self._locked(connection, by.tenant_id, reference)
                if before.retired_at is not None:
                    raise _conflict(before, "is retired; restore it first")
                after = changed_asset(before, changes, at=at)
                if after is not before:
                    _check_version(before, version)
                if after.hostname != before.hostname:
                    await _check_unused(connection, by.tenant_id, before, "renamed")
                return await _write(connection, by, before, after, action="update", at=at)
        except IntegrityError as error:
            raise _taken(str(changes.get("hostname"))) from error

    async def delete(self, by: Author, reference: str, *, version: int | None = None, dry_run: bool = False) -> Change:
        """Retire an asset; it keeps its id and history and can be restored. Nothing else is changed.

        Raises OpsError: `asset_not_found` (also when it is retired already), `asset_conflict` (not of `version` any
        more, or others name it as their jump host).
        """
        at = to_rfc3339(self._now())
        database = await self.open()
        async with database.transaction(write=True, keep=not dry_run) as connection:
            before = await self._locked(connection, by.tenant_id, reference)
            if before.retired_at is not None:
                message = f"asset {before.hostname} was retired at {before.retired_at} already"
                raise OpsError("asset_not_found", message, asset_id=before.id)
            _check_version(before, version)
            await _check_unused(connection, by.tenant_id, before, "deleted")
            return await _write(connection, by, before, retired_asset(before, at=at, now=at), action="delete", at=at)

    async def restore(self, by: Author, reference: str, *, version: int | None = None, dry_run: bool = False) -> Change:
        """Bring a retired asset back. One that is not retired stays as it is.

        Raises OpsError: `asset_not_found`, `asset_conflict` (not of `version`, or its hostname is taken by now).
        """
        from sqlalchemy.exc import IntegrityError

        at = to_rfc3339(self._now())
        database = await self.open()
        try:
            async with database.transaction(write=True, keep=not dry_run) as connection:
                before = await self._locked(connection, by.tenant_id, reference)
                if before.retired_at is None:
                    return Change(asset=before)
                _check_version(before, version)
                return await _write(
                    connection, by, before, retired_asset(before, at=None, now=at), action="restore", at=at
                )
        except IntegrityError as error:
            raise _taken(before.hostname) from error

    async def _locked(self, connection: AsyncConnection, tenant_id: str, reference: str) -> Asset:
        from opsconductor.store import asset_sql

        asset = await asset_sql.find(connection, tenant_id, reference, lock=True)
        if asset is None:
            known = await asset_sql.hostnames(connection, tenant_id, _NAMES_COMPARED)
            raise _not_found(reference, get_close_matches(reference.lower(), known, n=3))
        return asset

    async def _unknown(self, tenant_id: str, reference: str) -> NoReturn:
        raise _not_found(reference, await self.nearest_names(tenant_id, reference))


async def _write(
    connection: AsyncConnection, by: Author, before: Asset, after: Asset, *, action: str, at: str
) -> Change:
    from opsconductor.store import asset_sql

    if after is before:
        return Change(asset=before)
    changes = differences(before, after)
    if not await asset_sql.replace(connection, by.tenant_id, before, after):
        raise _conflict(before, "was changed by another writer; read it again")
    await asset_sql.record(connection, by, after, action=action, at=at, changes=changes)
    return Change(asset=after, differences=changes)


async def _check_unused(connection: AsyncConnection, tenant_id: str, asset: Asset, verb: str) -> None:
    """Refuse to take away a jump host on which others rely."""
    from opsconductor.store import asset_sql

    users = Selector((Clause("connection.jump_host", Operator.IS, (asset.hostname,)),))
    names = [user.hostname for user in await asset_sql.selected(connection, tenant_id, users, 6)]
    if names and names != [asset.hostname]:
        shown = ", ".join(names[:5]) + (" and more" if len(names) > 5 else "")
        raise _conflict(asset, f"cannot be {verb}: it is the jump host of {shown}; change those first")


def _check_version(asset: Asset, version: int | None) -> None:
    if version is not None and version != asset.version:
        raise _conflict(asset, f"has version {asset.version}, not {version}; read it again and decide anew")


def _conflict(asset: Asset, why: str) -> OpsError:
    context: dict[str, Any] = {"asset_id": asset.id, "hostname": asset.hostname, "version": asset.version}
    return OpsError("asset_conflict", f"asset {asset.hostname} {why}", **context)


def _taken(hostname: str, there: Asset | None = None) -> OpsError:
    known: dict[str, Any] = {"asset_id": there.id, "version": there.version} if there else {}
    message = f"an asset {hostname} exists already; choose another hostname, or update that one (if_exists: update)"
    return OpsError("asset_conflict", message, hostname=hostname, **known)


def _not_found(reference: str, near: list[str]) -> OpsError:
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return OpsError("asset_not_found", f"no asset has the id or hostname {reference!r}{hint}", nearest=near)
