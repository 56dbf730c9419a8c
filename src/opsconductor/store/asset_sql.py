"""The inventory's statements. Called by `store.asset_store` inside its transactions; knows tables, not rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, delete, func, insert, not_, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from opsconductor.model.asset import Asset
from opsconductor.model.asset_terms import ADDRESS_KEYS, NOT_IN_TEXT, address_range, fold, terms
from opsconductor.model.selector import Clause, Operator, Selector, glob
from opsconductor.store.asset_query import SORT_FIELDS, AssetQuery, Author, HistoryEntry, Page
from opsconductor.store.tables import asset_history, asset_terms, assets

_DECODER = msgspec.json.Decoder(Asset)
_ENCODER = msgspec.json.Encoder()
_COPIED = tuple(name for name in SORT_FIELDS if name != "id")


def _row(asset: Asset, tenant_id: str) -> dict[str, Any]:
    copied = {name: fold(getattr(asset, name) or "") for name in _COPIED if not name.endswith("_at")}
    return {
        **copied,
        "id": asset.id,
        "tenant_id": tenant_id,
        "created_at": asset.created_at,
        "updated_at": asset.updated_at,
        "retired_at": asset.retired_at,
        "version": asset.version,
        "document": _ENCODER.encode(asset).decode(),
    }


def _pairs(asset: Asset) -> set[tuple[str, str]]:
    return {(field, value) for field, values in terms(asset).items() for value in values}


_WHOLE = (Operator.IS, Operator.IS_NOT, Operator.IN, Operator.NOT_IN)


# -- selectors as SQL ---------------------------------------------------------------------------------------------


def like(pattern: str) -> str:
    """A folded glob pattern as a LIKE pattern with backslash as its escape character."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def _fitting(clause: Clause) -> ColumnElement[bool]:
    """The condition on a row of terms under which it makes the positive form of `clause` hold."""
    field, value = asset_terms.c.field, asset_terms.c.value
    if clause.field == "addresses" and clause.operator in _WHOLE:
        ranges = [keys for text in clause.values if (keys := address_range(text))]
        conditions = [value.between(low, high) for low, high in ranges]
        return and_(field == ADDRESS_KEYS, or_(*conditions))
    where = field.not_in(NOT_IN_TEXT) if clause.field == "text" else field == clause.field
    if clause.operator in (Operator.HAS, Operator.LACKS):
        return where
    if clause.operator in (Operator.LIKE, Operator.UNLIKE):
        return and_(where, value.like(like(glob(clause.values[0])), escape="\\"))
    texts = sorted(set(map(fold, clause.values)))
    return and_(where, value == texts[0] if len(texts) == 1 else value.in_(texts))


def _selected(clause: Clause, tenant_id: str) -> ColumnElement[bool]:
    found = select(asset_terms.c.asset_id).where(asset_terms.c.tenant_id == tenant_id, _fitting(clause))
    return not_(assets.c.id.in_(found)) if clause.operator.negative else assets.c.id.in_(found)


def _conditions(query: AssetQuery, tenant_id: str) -> list[ColumnElement[bool]]:
    conditions = [assets.c.tenant_id == tenant_id]
    if query.hides_retired:
        conditions.append(assets.c.retired_at.is_(None))
    clauses = query.selector.clauses if query.selector else ()
    return [*conditions, *(_selected(clause, tenant_id) for clause in clauses)]


# -- reading ------------------------------------------------------------------------------------------------------


async def page(connection: AsyncConnection, tenant_id: str, query: AssetQuery) -> Page:
    """One page, by keyset: rows inserted or changed meanwhile neither repeat nor hide others."""
    column, start = assets.c[query.sort], query.position()
    conditions = _conditions(query, tenant_id)
    statement = select(column, assets.c.id, assets.c.document).where(*conditions)
    if start:
        key = tuple_(column, assets.c.id)
        statement = statement.where(key < start if query.descending else key > start)
    order = [column.desc(), assets.c.id.desc()] if query.descending else [column, assets.c.id]
    rows = (await connection.execute(statement.order_by(*order).limit(query.limit + 1))).all()
    kept = rows[: query.limit]
    more = len(rows) > query.limit
    total = None if more or start else len(rows)
    if query.with_total and total is None:
        counted = await connection.execute(select(func.count()).select_from(assets).where(*conditions))
        total = counted.scalar_one()
    return Page(
        assets=tuple(_DECODER.decode(row.document) for row in kept),
        total=total,
        next_cursor=query.position_after(kept[-1][0], kept[-1].id) if more else None,
    )


async def selected(connection: AsyncConnection, tenant_id: str, selector: Selector, limit: int) -> list[Asset]:
    """Live assets by hostname, at most `limit`."""
    return list((await page(connection, tenant_id, AssetQuery(selector=selector, limit=limit))).assets)


async def find(connection: AsyncConnection, tenant_id: str, reference: str, *, lock: bool = False) -> Asset | None:
    """By id, else by hostname: the live one, else the one retired last. `lock` keeps others from changing it."""
    name = reference.strip().rstrip(".").lower()
    if not name.isprintable():  # neither is, and PostgreSQL takes no NUL
        return None
    conditions = (assets.c.id == name, assets.c.hostname == name)
    for condition in conditions:
        statement = select(assets.c.document).where(assets.c.tenant_id == tenant_id, condition)
        newest = statement.order_by(assets.c.retired_at.is_not(None), assets.c.retired_at.desc()).limit(1)
        row = (await connection.execute(newest.with_for_update() if lock else newest)).first()
        if row:
            return _DECODER.decode(row.document)
    return None


async def hostnames(connection: AsyncConnection, tenant_id: str, limit: int) -> list[str]:
    """Names of live assets, at most `limit`: what a misspelt one is compared with."""
    statement = select(assets.c.hostname).where(assets.c.tenant_id == tenant_id, assets.c.retired_at.is_(None))
    return list((await connection.execute(statement.order_by(assets.c.hostname).limit(limit))).scalars())


async def history(connection: AsyncConnection, tenant_id: str, asset_id: str, limit: int) -> list[HistoryEntry]:
    """The newest `limit` changes of one asset, newest first."""
    mine = (asset_history.c.tenant_id == tenant_id, asset_history.c.asset_id == asset_id)
    statement = select(asset_history).where(*mine).order_by(asset_history.c.version.desc()).limit(limit)
    rows = (await connection.execute(statement)).mappings().all()
    names = HistoryEntry.__struct_fields__
    return [
        HistoryEntry(
            **{name: row[name] for name in names if name != "changes"}, changes=msgspec.json.decode(row["changes"])
        )
        for row in rows
    ]


# -- writing ------------------------------------------------------------------------------------------------------


async def add(connection: AsyncConnection, tenant_id: str, *new: Asset) -> None:
    """Insert assets and their terms. Raises IntegrityError when a live asset has one of the hostnames."""
    await connection.execute(insert(assets), [_row(asset, tenant_id) for asset in new])
    pairs = [(asset.id, field, value) for asset in new for field, value in _pairs(asset)]
    await _add_terms(connection, tenant_id, pairs)


async def replace(connection: AsyncConnection, tenant_id: str, before: Asset, after: Asset) -> bool:
    """Write the next version over the one it came from; False when another writer was faster."""
    mine = (assets.c.tenant_id == tenant_id, assets.c.id == before.id, assets.c.version == before.version)
    done = await connection.execute(update(assets).where(*mine).values(**_row(after, tenant_id)))
    if done.rowcount != 1:
        return False
    old, new = _pairs(before), _pairs(after)
    gone = [list(pair) for pair in old - new]
    if gone:
        matching = tuple_(asset_terms.c.field, asset_terms.c.value).in_([tuple(pair) for pair in gone])
        await connection.execute(delete(asset_terms).where(asset_terms.c.asset_id == after.id, matching))
    await _add_terms(connection, tenant_id, [(after.id, field, value) for field, value in new - old])
    return True


async def _add_terms(connection: AsyncConnection, tenant_id: str, new: Iterable[tuple[str, str, str]]) -> None:
    names = ("asset_id", "field", "value")
    rows = [{"tenant_id": tenant_id, **dict(zip(names, entry, strict=True))} for entry in sorted(new)]
    if rows:
        await connection.execute(insert(asset_terms), rows)


async def record(
    connection: AsyncConnection, by: Author, asset: Asset, *, action: str, at: str, changes: dict[str, list[Any]]
) -> None:
    """Append to the history."""
    row = HistoryEntry(
        asset_id=asset.id,
        version=asset.version,
        at=at,
        action=action,
        actor=by.actor,
        reason=by.reason,
        execution_id=by.execution_id,
        changes=changes,
    )
    values = {name: getattr(row, name) for name in HistoryEntry.__struct_fields__}
    values |= {"tenant_id": by.tenant_id, "changes": _ENCODER.encode(changes).decode()}
    await connection.execute(insert(asset_history).values(**values))
