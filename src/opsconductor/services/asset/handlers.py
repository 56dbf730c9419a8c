"""The asset tools' handlers, by the names their definitions use. Called by the service's step runner.

Every handler turns inputs into one call of the store; rules live in `model` and `store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from opsconductor.model.asset import Asset, to_data
from opsconductor.model.errors import OpsError
from opsconductor.services.asset.changes import changes_of, fields_of, reference_of
from opsconductor.services.asset.filters import selector_of
from opsconductor.services.asset.targets import AssetTargets
from opsconductor.services.kit.handlers import HandlerRegistry, HandlerResult, StepContext
from opsconductor.store.asset_query import DEFAULT_TENANT, MAX_LIMIT, AssetQuery, Author, Change, IfExists, Page

if TYPE_CHECKING:
    from opsconductor.store.asset_store import AssetStore

Inputs = Mapping[str, Any]


def handlers(store: AssetStore) -> HandlerRegistry:
    """Handler name → handler, all on one store."""
    desk = _Desk(store)
    return {
        "asset.query": desk.query,
        "asset.list": desk.query,
        "asset.count": desk.count,
        "asset.get": desk.get,
        "asset.find": desk.find,
        "asset.history": desk.history,
        "asset.resolve": desk.resolve,
        "asset.create": desk.create,
        "asset.create_preview": desk.create_preview,
        "asset.update": desk.update,
        "asset.update_preview": desk.update_preview,
        "asset.delete": desk.delete,
        "asset.delete_preview": desk.delete_preview,
        "asset.restore": desk.restore,
    }


def _tenant(ctx: StepContext) -> str:
    return ctx.tenant_id or DEFAULT_TENANT


def _author(ctx: StepContext, inputs: Inputs) -> Author:
    return Author(
        tenant_id=_tenant(ctx),
        actor=None if ctx.actor_id is None else str(ctx.actor_id),
        reason=inputs.get("reason"),
        execution_id=ctx.execution_id or None,
    )


def _changed(change: Change, **more: Any) -> HandlerResult:
    """What a writing operation answers: the asset as it is now, and what that took."""
    data = {
        "asset": to_data(change.asset),
        "created": change.created,
        "changed": bool(change.differences),
        "changes": change.differences,
        **more,
    }
    return HandlerResult(data=data)


def _shown(assets: tuple[Asset, ...], fields: list[str] | None) -> list[dict[str, Any]]:
    rows = [to_data(asset) for asset in assets]
    if not fields:
        return rows
    known = (*Asset.__struct_fields__, "ip_address")
    if unknown := [name for name in fields if name not in known]:
        message = f"fields: found {', '.join(unknown)}, expected names among {', '.join(known)}"
        raise OpsError("asset_invalid", message, field="fields")
    return [{name: row[name] for name in fields} for row in rows]


class _Desk:
    """The handlers share nothing but the store."""

    def __init__(self, store: AssetStore) -> None:
        self._store = store

    async def _page(self, ctx: StepContext, inputs: Inputs, *, limit: int, with_total: bool) -> Page:
        asked = AssetQuery(
            selector=selector_of(inputs),
            include_retired=inputs.get("include_retired", False),
            sort=inputs.get("sort", "hostname"),
            descending=inputs.get("descending", False),
            limit=limit,
            cursor=inputs.get("cursor"),
            with_total=with_total,
        )
        return await self._store.query(_tenant(ctx), asked)

    async def query(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """A page of assets. Without a limit it is all of them or an error: a plan never acts on a part unawares."""
        limit = inputs.get("limit")
        page = await self._page(ctx, inputs, limit=limit or MAX_LIMIT, with_total=inputs.get("with_total", False))
        if limit is None and page.next_cursor is not None:
            message = f"more than {MAX_LIMIT} assets fit; narrow the filters, or give a limit and go on by next_cursor"
            raise OpsError("asset_invalid", message, field="limit")
        rows = _shown(page.assets, inputs.get("fields"))
        data = {"assets": rows, "count": len(rows), "total": page.total, "next_cursor": page.next_cursor}
        return HandlerResult(data=data)

    async def count(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """How many assets fit."""
        page = await self._page(ctx, inputs, limit=1, with_total=True)
        return HandlerResult(data={"count": page.total})

    async def get(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """One asset, live or retired."""
        asset = await self._store.get(_tenant(ctx), reference_of(inputs))
        return HandlerResult(data={"asset": to_data(asset)})

    async def find(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Whether an asset is there: the probe of what changes assets."""
        asset = await self._store.find(_tenant(ctx), reference_of(inputs))
        live = asset is not None and asset.retired_at is None
        return HandlerResult(data={"found": live, "asset": to_data(asset) if asset else None})

    async def resolve(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """How to reach the one target of that name, id or address: other services ask this before they run on it."""
        target = await AssetTargets(self._store, tenant_id=_tenant(ctx)).resolve(reference_of(inputs))
        return HandlerResult(data={"target": msgspec.to_builtins(target)})

    async def history(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Changes of one asset, newest first."""
        entries = await self._store.history(_tenant(ctx), reference_of(inputs), limit=inputs.get("limit", 100))
        return HandlerResult(data={"history": [msgspec.to_builtins(entry) for entry in entries], "count": len(entries)})

    async def _create(self, ctx: StepContext, inputs: Inputs, *, dry_run: bool) -> Change:
        if_exists = IfExists(inputs.get("if_exists", IfExists.REFUSE))
        by = _author(ctx, inputs)
        return await self._store.create(by, fields_of(inputs), if_exists=if_exists, dry_run=dry_run or ctx.dry_run)

    async def create(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Add an asset."""
        return _changed(await self._create(ctx, inputs, dry_run=False))

    async def create_preview(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Everything that creating checks and would do, taken back."""
        return _changed(await self._create(ctx, inputs, dry_run=True), dry_run=True)

    async def _update(self, ctx: StepContext, inputs: Inputs, *, dry_run: bool) -> Change:
        reference, changes = changes_of(inputs)
        by, version = _author(ctx, inputs), inputs.get("version")
        return await self._store.update(by, reference, changes, version=version, dry_run=dry_run or ctx.dry_run)

    async def update(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Change an asset."""
        return _changed(await self._update(ctx, inputs, dry_run=False))

    async def update_preview(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Everything that updating checks and would do, taken back."""
        return _changed(await self._update(ctx, inputs, dry_run=True), dry_run=True)

    async def _delete(self, ctx: StepContext, inputs: Inputs, *, dry_run: bool) -> Change:
        by, version = _author(ctx, inputs), inputs.get("version")
        return await self._store.delete(by, reference_of(inputs), version=version, dry_run=dry_run or ctx.dry_run)

    async def delete(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Retire an asset."""
        change = await self._delete(ctx, inputs, dry_run=False)
        return HandlerResult(data={"deleted": True, "asset": to_data(change.asset)})

    async def delete_preview(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Everything that deleting checks and would do, taken back."""
        change = await self._delete(ctx, inputs, dry_run=True)
        return HandlerResult(data={"deleted": False, "dry_run": True, "asset": to_data(change.asset)})

    async def restore(self, ctx: StepContext, inputs: Inputs) -> HandlerResult:
        """Bring a retired asset back."""
        by, version = _author(ctx, inputs), inputs.get("version")
        change = await self._store.restore(by, reference_of(inputs), version=version, dry_run=ctx.dry_run)
        return _changed(change, restored=bool(change.differences))
