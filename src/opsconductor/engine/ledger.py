"""What one execution puts on record: facts, and intents that may be acted on only once they are durable.

One call is one commit, so that the result of a step and the dispatch of the next cost the disk once. Used by the
coordinator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from opsconductor.engine.ports import Journal
from opsconductor.engine.records import Dispatched, Record, write_all
from opsconductor.model.errors import OpsError


class Entered(msgspec.Struct, frozen=True):
    """What became of one call: whether the facts are on disk, and why the rest is not."""

    facts: bool = True
    error: OpsError | None = None


class Ledger:
    """Writes the records of one execution. `on_failure` hears of every failed write, before anything else happens.

    After facts were lost nothing more is written: a record that is missing in the middle would be a lie.
    """

    def __init__(self, journal: Journal, execution_id: str, on_failure: Callable[[OpsError], None]) -> None:
        self._journal, self._execution_id, self._on_failure = journal, execution_id, on_failure
        self._lost: OpsError | None = None

    async def enter(self, facts: Sequence[Record], intents: Sequence[Dispatched] = ()) -> Entered:
        """Record all of it with one commit; it is durable when this returns without an error.

        What happened must not be lost for what is only intended: when together they cannot be recorded, the facts are
        tried alone, and no intent is on record.
        """
        if self._lost is not None:
            return Entered(facts=False, error=self._lost)
        if not facts and not intents:
            return Entered()
        try:
            await write_all(self._journal, self._execution_id, [*facts, *intents])
        except OpsError as error:
            self._on_failure(error)
            if facts and intents:
                return Entered(facts=(await self.enter(facts)).facts, error=error)
            if facts:
                self._lost = error
            return Entered(facts=not facts, error=error)
        return Entered()
