"""Assets, their terms and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _word(size: int) -> TypeEngine[str]:
    return sa.String(size).with_variant(sa.String(size, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the three tables."""
    op.create_table(
        "assets",
        sa.Column("id", _word(36), primary_key=True),
        sa.Column("tenant_id", _word(128), nullable=False),
        sa.Column("hostname", _word(253), nullable=False),
        sa.Column("type", _word(256), nullable=False),
        sa.Column("platform", _word(256), nullable=False),
        sa.Column("os", _word(256), nullable=False),
        sa.Column("status", _word(256), nullable=False),
        sa.Column("environment", _word(256), nullable=False),
        sa.Column("location", _word(256), nullable=False),
        sa.Column("owner", _word(256), nullable=False),
        sa.Column("created_at", _word(32), nullable=False),
        sa.Column("updated_at", _word(32), nullable=False),
        sa.Column("retired_at", _word(32)),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    live = sa.text("retired_at IS NULL")
    op.create_index(
        "assets_unique_hostname",
        "assets",
        ["tenant_id", "hostname"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index("assets_by_hostname", "assets", ["tenant_id", "hostname", "id"])
    op.create_table(
        "asset_terms",
        sa.Column("asset_id", _word(36), sa.ForeignKey("assets.id"), primary_key=True),
        sa.Column("field", _word(320), primary_key=True),
        sa.Column("value", _word(256), primary_key=True),
        sa.Column("tenant_id", _word(128), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("asset_terms_by_value", "asset_terms", ["tenant_id", "field", "value", "asset_id"])
    op.create_table(
        "asset_history",
        sa.Column("asset_id", _word(36), sa.ForeignKey("assets.id"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tenant_id", _word(128), nullable=False),
        sa.Column("at", _word(32), nullable=False),
        sa.Column("action", _word(16), nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("execution_id", _word(128)),
        sa.Column("changes", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
