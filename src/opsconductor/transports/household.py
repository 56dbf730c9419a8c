"""Children of this process that no command waits for: orphans, whose command they are, and their reaping.

As a subreaper (see `process_tree.become_subreaper`) this process inherits every orphan of every command. Here each is
given to its command, and its zombie is collected, without touching children that others in this process wait for:
only specific pids are ever waited for. Called by `LocalTransport` and `tree_end`, from one event loop's thread.

An orphan belongs to a command when, in this order:
1. its environment carries the command's id (`process_tree.MARKER`), which survives setsid and double forks;
2. it was seen below the command before it was orphaned (`claim`);
3. its session is the one the command's main process leads, whose number is taken as long as that is not reaped.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress

import msgspec

from opsconductor.transports.process_tree import (
    MARKER,
    ProcessInfo,
    become_subreaper,
    find_process,
    marker_ids,
    orphans_and_children,
)

# A zombie that leads its own session may be a child that other code of this process started so and has yet to wait for.
# Nobody leaves one that long; then it is an orphan whose origin could not be read before it ended.
_ZOMBIE_PATIENCE_S = 600.0


class Orphan(msgspec.Struct, frozen=True):
    """An orphan and its command; `command_id` is None while nobody knows."""

    info: ProcessInfo
    command_id: str | None


class Household:
    """The children of this process that commands started or left behind."""

    def __init__(self) -> None:
        become_subreaper()
        self._family = secrets.token_hex(6)
        self._outer = "".join(f"{outer}/" for outer in sorted(marker_ids(os.getpid())))
        self._count = 0
        self._mains: dict[int, str] = {}
        self._claims: dict[int, Orphan] = {}
        self._orphans: dict[int, Orphan] = {}
        self._zombies: dict[int, float] = {}

    def new_command_id(self) -> str:
        """An id that no other command on this machine has."""
        self._count += 1
        return f"{self._family}.{self._count}"

    def environment(self, env: dict[str, str], command_id: str) -> dict[str, str]:
        """`env` with the command's id in it, below the ids of the commands this process itself belongs to."""
        return {**env, MARKER: self._outer + command_id}

    def add_main(self, pid: int, command_id: str) -> None:
        """A command's main process was started; only its own command reaps it."""
        self._mains[pid] = command_id

    def remove_main(self, pid: int) -> None:
        """A command is over: its main process was reaped, or cannot be ended and is from now on an orphan."""
        command_id = self._mains.pop(pid)
        self._claims = {pid: claim for pid, claim in self._claims.items() if claim.command_id != command_id}

    def claim(self, info: ProcessInfo, command_id: str) -> None:
        """Remember that a process was seen below a command's main process."""
        self._claims[info.pid] = Orphan(info, command_id)

    @property
    def mains(self) -> frozenset[int]:
        """Main processes of all running commands."""
        return frozenset(self._mains)

    def orphans_of(self, command_id: str) -> list[int]:
        """Pids of a command's orphans, those just ended included."""
        return [pid for pid, orphan in self._orphans.items() if orphan.command_id == command_id]

    def strays_since(self, start_ticks: int) -> list[int]:
        """Living orphans that cannot be given to any command and started at `start_ticks` or later."""
        found = (find_process(pid) for pid, orphan in self._orphans.items() if orphan.command_id is None)
        return [info.pid for info in found if info is not None and info.alive and info.start_ticks >= start_ticks]

    def sweep(self) -> None:
        """Look at every child that is nobody's main process: reap ended orphans, find the command of new ones."""
        children = [pid for pid in orphans_and_children() if pid not in self._mains]
        if not children:
            self._orphans.clear()
            self._zombies.clear()
            return
        present = set(children)
        self._orphans = {pid: orphan for pid, orphan in self._orphans.items() if pid in present}
        self._zombies = {pid: since for pid, since in self._zombies.items() if pid in present}
        for pid in children:
            known = self._orphans.get(pid)
            if known is None or known.command_id is None:
                self._examine(pid)
            else:
                self._reap(pid)

    def _examine(self, pid: int) -> None:
        info = find_process(pid)
        if info is None or info.parent_pid != os.getpid():
            return
        if info.alive:
            self._meet(info)
        elif self._may_reap(info):
            self._reap(pid)

    def _meet(self, info: ProcessInfo) -> None:
        """Keep a living child as an orphan, with its command if that shows, unless other code here started it."""
        ids = marker_ids(info.pid)
        command_id = next((one for one in ids if one.startswith(f"{self._family}.")), None)
        claim = self._claims.get(info.pid)
        if command_id is None and claim is not None and claim.info.start_ticks == info.start_ticks:
            command_id = claim.command_id
        command_id = command_id or self._mains.get(info.session)
        outer = set(self._outer.split("/"))
        if command_id is not None or (info.session != os.getsid(0) and ids <= outer):
            self._orphans[info.pid] = Orphan(info, command_id)

    def _may_reap(self, info: ProcessInfo) -> bool:
        """Whether a zombie is surely an orphan: nobody else in this process waits for it."""
        if info.session == os.getsid(0):
            return False  # others' children usually share our session; ours never do
        if info.session != info.pid:
            return True  # what this process starts is in our session or leads its own; this came from further below
        since = self._zombies.setdefault(info.pid, time.monotonic())
        return time.monotonic() - since > _ZOMBIE_PATIENCE_S

    def _reap(self, pid: int) -> None:
        with suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                return
        self._orphans.pop(pid, None)
        self._zombies.pop(pid, None)
