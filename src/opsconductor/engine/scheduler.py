"""Which steps may start now. Pure bookkeeping, linear in steps and dependencies; the coordinator drives it.

A step may start when everything it waits for has ended, in whatever way: failures stop the plan through `stop`, and a
plan that goes on after a failure (`on_failure: continue`) goes on with the steps that depend on it too.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from opsconductor.model.plan import Step


class Schedule:
    """The progress of one execution. Steps are known by their index in the plan; earlier ones go first."""

    def __init__(self, steps: Sequence[Step], *, max_parallel: int) -> None:
        index_of = {step.id: index for index, step in enumerate(steps)}
        self._max_parallel = max_parallel
        self._waiting = [len(step.depends_on) for step in steps]
        self._dependents: list[list[int]] = [[] for _ in steps]
        for index, step in enumerate(steps):
            for name in step.depends_on:
                self._dependents[index_of[name]].append(index)
        self._ready = [index for index, count in enumerate(self._waiting) if count == 0]
        self._running: set[int] = set()
        self._untouched = set(range(len(steps)))
        self._stopped = False

    def take(self) -> list[int]:
        """Steps to start now; they count as running until `finish`."""
        taken = []
        while self._ready and not self._stopped and len(self._running) < self._max_parallel:
            index = heapq.heappop(self._ready)
            self._running.add(index)
            self._untouched.discard(index)
            taken.append(index)
        return taken

    def finish(self, index: int) -> None:
        """A running step has ended."""
        self._running.remove(index)
        for dependent in self._dependents[index]:
            self._waiting[dependent] -= 1
            if self._waiting[dependent] == 0:
                heapq.heappush(self._ready, dependent)

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True

    @property
    def running(self) -> frozenset[int]:
        """Steps that were taken and have not ended."""
        return frozenset(self._running)

    @property
    def never_started(self) -> list[int]:
        """Steps that were never taken, in the plan's order."""
        return sorted(self._untouched)
