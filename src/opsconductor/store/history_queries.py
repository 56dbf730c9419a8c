"""The SQL of history: which executions were there, newest first, and what a shortened id means.

Functions of a connection, called in the journal reader's thread by `history.History`.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus
from opsconductor.model.names import canonical

MAX_CANDIDATES = 5
_LAST = "\U0010ffff"


class ExecutionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list. Times are RFC 3339 UTC; `tools` is text for people: `df ×3, ping`."""

    id: str
    plan_name: str
    status: ExecutionStatus
    accepted_at: str
    started_at: str | None
    completed_at: str | None
    steps_total: int
    steps_succeeded: int
    steps_failed: int
    tools: str
    tenant_id: str | None
    actor_id: str | int | None
    source: str | None
    error_message: str | None


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions: all given conditions hold. `since` is RFC 3339 UTC; `text` occurs in names or errors."""

    limit: int
    before_id: str | None = None
    status: ExecutionStatus | None = None
    tool: str | None = None
    text: str | None = None
    since: str | None = None


_COLUMNS = ", ".join(f"e.{name}" for name in ExecutionSummary.__struct_fields__)


def list_page(connection: sqlite3.Connection, wanted: Filter) -> list[ExecutionSummary]:
    """One page, newest first. Each order is an index, so a page costs the same at any depth (`text` alone scans)."""
    if wanted.tool is None:
        source, at, name = "executions e", "e.accepted_at", "e.id"
        conditions: list[str] = []
        parameters: list[Any] = []
    else:
        # CROSS JOIN fixes the order of the loops: the tool's index first.
        source = "execution_tools t CROSS JOIN executions e ON e.id = t.execution_id"
        at, name = "t.accepted_at", "t.execution_id"
        conditions, parameters = ["t.tool = ?"], [canonical(wanted.tool)]
    if wanted.before_id is not None:
        conditions.append(f"({at}, {name}) < (?, ?)")
        parameters += [_accepted_at(connection, wanted.before_id), wanted.before_id]
    if wanted.status is not None:
        conditions.append("e.status = ?")
        parameters.append(wanted.status.value)
    if wanted.since is not None:
        conditions.append(f"{at} >= ?")
        parameters.append(wanted.since)
    if wanted.text is not None:
        conditions.append(
            "(instr(lower(e.plan_name || ' ' || e.tools || ' ' || coalesce(e.error_message, '')), ?) > 0)"
        )
        parameters.append(wanted.text.lower())
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"SELECT {_COLUMNS} FROM {source} {where} ORDER BY {at} DESC, {name} DESC LIMIT ?"  # noqa: S608
    return [_summary(row) for row in connection.execute(statement, (*parameters, wanted.limit))]


def resolve(connection: sqlite3.Connection, prefix: str) -> str:
    """The execution whose id is `prefix`, or the only one whose id begins with it.

    Raises OpsError: `not_found`; `request_invalid` with `candidates` when several begin with it.
    """
    statement = "SELECT id FROM executions WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
    found: list[str] = [row[0] for row in connection.execute(statement, (prefix, prefix + _LAST, MAX_CANDIDATES + 1))]
    if prefix and (len(found) == 1 or prefix in found):
        return found[0]  # in order, an exact id comes before all that are longer
    if not found and connection.execute("SELECT 1 FROM journal WHERE execution_id = ?", (prefix,)).fetchone():
        return prefix  # recorded, but left out by a rebuild because its records do not verify: reading it says so
    if not prefix or not found:
        raise OpsError(
            "not_found",
            f"there is no execution {prefix!r}; list the known ones with: opsconductor executions list",
            execution_id=prefix,
        )
    shown = ", ".join(found[:MAX_CANDIDATES])
    more = " and more" if len(found) > MAX_CANDIDATES else ""
    raise OpsError(
        "request_invalid",
        f"several executions begin with {prefix!r}: {shown}{more}; give more of the id",
        field="execution_id",
        candidates=found[:MAX_CANDIDATES],
    )


def _accepted_at(connection: sqlite3.Connection, execution_id: str) -> str:
    row = connection.execute("SELECT accepted_at FROM executions WHERE id = ?", (execution_id,)).fetchone()
    if row is None:
        raise OpsError("not_found", f"before_id: there is no execution {execution_id!r}", field="before_id")
    return str(row[0])


def _summary(row: tuple[Any, ...]) -> ExecutionSummary:
    fields = dict(zip(ExecutionSummary.__struct_fields__, row, strict=True))
    if fields["actor_id"] is not None:
        fields["actor_id"] = msgspec.json.decode(fields["actor_id"])
    return msgspec.convert(fields, ExecutionSummary)
