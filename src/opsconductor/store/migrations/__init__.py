"""Migrations of the inventory's schema, run by `store.database.migrate` (alembic)."""
