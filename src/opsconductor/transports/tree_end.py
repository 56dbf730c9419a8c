"""Ending everything a command started: TERM, a grace time, KILL, and the check that nothing is left.

The command's main process is not reaped before its tree has ended: until then the kernel gives its pid, process group
and session number to nobody else, so that signalling the group is safe. Called by `running`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress

from opsconductor.transports.household import Household
from opsconductor.transports.process_tree import ProcessInfo, living_tree, signal_process

_FIRST_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.05


class CommandTree:
    """All processes of one command, wherever they have gone."""

    def __init__(self, household: Household, command_id: str, main_pid: int, start_ticks: int) -> None:
        self._household = household
        self._command_id = command_id
        self._main_pid = main_pid
        self._start_ticks = start_ticks

    def left_behind(self) -> dict[int, ProcessInfo]:
        """Living processes after the main one has ended."""
        self._household.sweep()
        return living_tree(self._household.orphans_of(self._command_id), except_pids=self._household.mains)

    def alive(self) -> dict[int, ProcessInfo]:
        """Living processes, the main one included."""
        self._household.sweep()
        roots = [self._main_pid, *self._household.orphans_of(self._command_id)]
        found = living_tree(roots, except_pids=self._household.mains)
        for info in found.values():
            self._household.claim(info, self._command_id)
        return found

    def strays(self) -> list[int]:
        """Living orphans of unknown origin that started since the command did: they may be part of this tree."""
        return self._household.strays_since(self._start_ticks)

    def signal(self, alive: dict[int, ProcessInfo], signum: signal.Signals) -> None:
        """Signal each of `alive` once: the main process's group in one step, the others one by one."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._main_pid, signum)
        for info in alive.values():
            if info.group != self._main_pid:
                signal_process(info, signum)


async def end_tree(tree: CommandTree, *, grace_s: float, confirm_s: float) -> tuple[int, ...]:
    """End every process of the tree; return the pids that were not seen to end.

    TERM first, once (and CONT, as a stopped process cannot act on it); what a process starts to clean up is left to do
    so. What lives `grace_s` later gets KILL, again and again for at most `confirm_s`, as processes may go on forking.
    A process of another user, or one that waits in the kernel for a dead disk, outlives that and is reported.
    """
    if alive := _alive(tree):
        tree.signal(alive, signal.SIGTERM)
        tree.signal(alive, signal.SIGCONT)
        await _until_gone(tree, grace_s, None)
        await _until_gone(tree, confirm_s, signal.SIGKILL)
    return tuple(sorted({*_alive(tree), *tree.strays()}))


def _alive(tree: CommandTree) -> dict[int, ProcessInfo]:
    """What lives. An empty reading counts when a second one confirms it: a process may move between two looks."""
    return tree.alive() or tree.alive()


async def _until_gone(tree: CommandTree, limit_s: float, signum: signal.Signals | None) -> None:
    """Wait until nothing is left or the time is over, signalling again at each look where `signum` is given."""
    deadline = time.monotonic() + limit_s
    pause_s = _FIRST_PAUSE_S
    while (alive := _alive(tree)) and time.monotonic() < deadline:
        if signum is not None:
            tree.signal(alive, signum)
        await asyncio.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
