"""What a person asks about the past: which executions there were, what happened in one, what its steps printed.

Lists come from the derived tables; everything about one execution comes from its verified records. Called by the
command line and the API. `rebuild` makes the derived tables anew from the journal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from opsconductor.engine.replay import ExecutionState, StepState, replay
from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus, StepStatus
from opsconductor.store.history_queries import ExecutionSummary, Filter, list_page, resolve
from opsconductor.store.history_rows import changes
from opsconductor.store.journal_reader import JournalReader, records_of
from opsconductor.store.journal_schema import open_for_writing, unavailable

MAX_PAGE = 1000


class StepLog(msgspec.Struct, frozen=True, kw_only=True):
    """What one step printed, as far as it was kept; `truncated` says that there was more."""

    step_index: int
    id: str
    tool: str
    status: StepStatus
    stdout: str
    stderr: str
    truncated: bool


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """How many executions were derived anew, and which could not be because their records do not verify."""

    executions: int
    corrupt: tuple[str, ...]


class History:
    """Queries of one journal: `History(journal.reader)`, or `History(JournalReader(path))` where nothing is written."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader

    async def list_executions(
        self,
        *,
        limit: int = 50,
        before_id: str | None = None,
        status: ExecutionStatus | None = None,
        tool: str | None = None,
        text: str | None = None,
        since: datetime | None = None,
    ) -> list[ExecutionSummary]:
        """One page of executions, newest first; the next page is `before_id` = the last id of this one.

        `tool` is any spelling of its name. A journal that does not exist yet has none. Raises OpsError: `not_found`
        for an unknown `before_id`, `request_invalid` for a limit outside of 1 to `MAX_PAGE`.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise OpsError("request_invalid", f"limit: found {limit}, expected 1 to {MAX_PAGE}", field="limit")
        if not self._reader.path.exists():
            return []
        moment = None if since is None else to_rfc3339(since)
        wanted = Filter(limit=limit, before_id=before_id, status=status, tool=tool, text=text, since=moment)
        return await self._reader.query(lambda connection: list_page(connection, wanted))

    async def show(self, id_or_prefix: str) -> ExecutionState:
        """Everything about one execution: plan, steps with dispatches and results, timeline.

        Raises OpsError: `not_found`, `request_invalid` (an ambiguous prefix; `candidates`), `journal_corrupt`.
        """
        return await self._reader.query(lambda connection: _state(connection, id_or_prefix))

    async def logs(self, id_or_prefix: str, step: str | None = None) -> list[StepLog]:
        """What the steps printed, in the plan's order; `step` is a step's id or its index. Raises as `show` does."""
        state = await self.show(id_or_prefix)
        chosen = state.steps if step is None else [_named(state, step)]
        shown = (one for one in chosen if one.result is not None or one.output or step is not None)
        return [log for one in shown for log in _logs(one)]

    async def close(self) -> None:
        """Close the reader."""
        await self._reader.close()


def rebuild(path: Path) -> Rebuilt:
    """Make the derived tables anew from the journal, in one transaction; blocks, and other writers wait.

    Executions whose records do not verify are left out and named. Raises OpsError(`journal_unavailable`).
    """
    connection = open_for_writing(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM execution_tools")
        connection.execute("DELETE FROM executions")
        corrupt = _derive_all(connection)
        count: int = connection.execute("SELECT count(*) FROM executions").fetchone()[0]
        connection.execute("COMMIT")
        return Rebuilt(executions=count, corrupt=tuple(corrupt))
    except sqlite3.Error as error:
        raise unavailable(error, path) from error
    finally:
        connection.close()  # rolls back what was not committed


def _derive_all(connection: sqlite3.Connection) -> list[str]:
    corrupt = []
    for (execution_id,) in connection.execute("SELECT DISTINCT execution_id FROM journal").fetchall():
        try:
            records = records_of(connection, execution_id)
        except OpsError:
            corrupt.append(execution_id)
            continue
        for record in records:
            for statement, parameters in changes(execution_id, record.kind, record.at, record.body):
                connection.execute(statement, parameters)
    return corrupt


def _state(connection: sqlite3.Connection, id_or_prefix: str) -> ExecutionState:
    return replay(records_of(connection, resolve(connection, id_or_prefix)))


def _named(state: ExecutionState, step: str) -> StepState:
    by_name = {str(one.step_index): one for one in state.steps} | {one.id: one for one in state.steps}
    if step in by_name:
        return by_name[step]
    known: Sequence[str] = [one.id for one in state.steps]
    raise OpsError(
        "not_found",
        f"execution {state.execution_id} has no step {step!r}; its steps are {', '.join(known)}",
        execution_id=state.execution_id,
        step=step,
    )


def _logs(step: StepState) -> list[StepLog]:
    """A step's output; that of a `for_each` is its items', each under the id `step[index]`."""
    kept = step.output if step.result is None else step.result.output
    items: Any = kept.get("items")
    if not isinstance(items, list) or not all(
        isinstance(one, dict) and {"index", "output"} <= one.keys() for one in items
    ):
        return [_log(step, step.id, kept)]
    return [_log(step, f"{step.id}[{one['index']}]", one["output"]) for one in items]


def _log(step: StepState, name: str, kept: Mapping[str, Any]) -> StepLog:
    return StepLog(
        step_index=step.step_index,
        id=name,
        tool=step.tool,
        status=step.status,
        stdout=str(kept.get("stdout") or ""),
        stderr=str(kept.get("stderr") or ""),
        truncated=bool(kept.get("truncated", False)),
    )
