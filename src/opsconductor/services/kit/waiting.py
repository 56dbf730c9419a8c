"""Waiting for one thing while a time limit runs and a cancellation may come. Used by the plan and handler runners."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Any


class Woken(StrEnum):
    """What ended the wait."""

    DONE = "done"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


async def wait_for_task(task: asyncio.Task[Any], *, timeout_s: float, cancel: asyncio.Event) -> Woken:
    """Wait until `task` is done, the time is over, or `cancel` is set. Leaves the task as it is in every case."""
    if cancel.is_set():
        return Woken.DONE if task.done() else Woken.CANCELLED
    watcher = asyncio.ensure_future(cancel.wait())
    try:
        await asyncio.wait((task, watcher), timeout=max(timeout_s, 0), return_when=asyncio.FIRST_COMPLETED)
    finally:
        watcher.cancel()
    if task.done():
        return Woken.DONE
    return Woken.CANCELLED if cancel.is_set() else Woken.TIMEOUT


async def end_task(task: asyncio.Task[Any], *, grace_s: float) -> bool:
    """Let `task` end by itself for `grace_s`, then cancel it. True when it ended by itself (also by raising)."""
    await asyncio.wait((task,), timeout=grace_s)
    if task.done():
        return True
    task.cancel()
    await asyncio.wait((task,), timeout=grace_s)
    return False
