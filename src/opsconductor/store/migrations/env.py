"""Alembic's entry: runs the migrations on the connection that `store.database.migrate` opened."""

from __future__ import annotations

from alembic import context

from opsconductor.store.database import VERSION_TABLE
from opsconductor.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
