"""The inventory's tables, one schema for SQLite and PostgreSQL. Migrations must lead to exactly this (tested).

`assets.document` is the asset; the other columns are what uniqueness, sorting and paging need. `asset_terms` holds what
selectors compare (`model.asset_terms`), so that one statement answers any selector on either database. Times are
RFC 3339 texts of fixed width, which sort as times do. Texts sort by code point (collation "C") on both.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, text
from sqlalchemy.types import TypeEngine


def word(size: int) -> TypeEngine[str]:
    """Text of at most `size` characters that sorts by code point."""
    return String(size).with_variant(String(size, collation="C"), "postgresql")


metadata = MetaData()

assets = Table(
    "assets",
    metadata,
    Column("id", word(36), primary_key=True),
    Column("tenant_id", word(128), nullable=False),
    Column("hostname", word(253), nullable=False),
    *(
        Column(name, word(256), nullable=False)
        for name in ("type", "platform", "os", "status", "environment", "location", "owner")
    ),
    Column("created_at", word(32), nullable=False),
    Column("updated_at", word(32), nullable=False),
    Column("retired_at", word(32)),
    Column("version", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Index(
        "assets_unique_hostname",
        "tenant_id",
        "hostname",
        unique=True,
        sqlite_where=text("retired_at IS NULL"),
        postgresql_where=text("retired_at IS NULL"),
    ),
    Index("assets_by_hostname", "tenant_id", "hostname", "id"),
)

asset_terms = Table(
    "asset_terms",
    metadata,
    Column("asset_id", word(36), ForeignKey("assets.id"), primary_key=True),
    Column("field", word(320), primary_key=True),
    Column("value", word(256), primary_key=True),
    Column("tenant_id", word(128), nullable=False),
    Index("asset_terms_by_value", "tenant_id", "field", "value", "asset_id"),
    sqlite_with_rowid=False,
)

asset_history = Table(
    "asset_history",
    metadata,
    Column("asset_id", word(36), ForeignKey("assets.id"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("tenant_id", word(128), nullable=False),
    Column("at", word(32), nullable=False),
    Column("action", word(16), nullable=False),
    Column("actor", Text),
    Column("reason", Text),
    Column("execution_id", word(128)),
    Column("changes", Text, nullable=False),
    sqlite_with_rowid=False,
)
