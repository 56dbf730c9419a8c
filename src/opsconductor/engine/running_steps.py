"""The steps of one execution that run now, and those that have ended since one last looked. Used by the coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from opsconductor.model.outcome import StepResult

StepTask = asyncio.Task[StepResult]


class RunningSteps:
    """Tasks by the index of their step. Like `asyncio.wait`, but the ended wake the waiter one turn of the loop sooner:
    with steps of a millisecond that shows.
    """

    def __init__(self) -> None:
        self._tasks: dict[StepTask, int] = {}
        self._wake: asyncio.Future[None] | None = None

    def __bool__(self) -> bool:
        """Whether anything runs, or ended and was not asked for."""
        return bool(self._tasks)

    def start(self, index: int, work: Coroutine[Any, Any, StepResult]) -> None:
        """Run `work`, the step at `index`, in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._run(work))
        task.add_done_callback(self._on_end)  # also when it was cancelled before it began
        self._tasks[task] = index

    async def ended(self) -> list[tuple[int, StepTask]]:
        """Wait until one has ended; all that have, in the order of their start."""
        while not (ended := [task for task in self._tasks if task.done()]):
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        return [(self._tasks.pop(task), task) for task in ended]

    async def _run(self, work: Coroutine[Any, Any, StepResult]) -> StepResult:
        try:
            return await work
        finally:
            self._on_end()

    def _on_end(self, _task: StepTask | None = None) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
