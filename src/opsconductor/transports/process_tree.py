"""What Linux tells about processes, and signals that cannot hit the wrong one.

Reads /proc and signals through pidfds; knows nothing of commands or of asyncio. Called by `household` and `tree_end`.
A process is identified by its pid together with its start time: the pid alone may be given to another process at any
moment. Facts: proc(5), pidfd_open(2), prctl(2) PR_SET_CHILD_SUBREAPER.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

MARKER = "OPSCONDUCTOR_COMMAND_ID"
"""Environment name that tells which command a process belongs to.

A session id does not survive setsid(2) and a parent does not survive a double fork; the environment a process was
started with survives both, and /proc/<pid>/environ shows it to its own user. Nested commands join their ids with '/'.
"""

_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ProcessInfo(msgspec.Struct, frozen=True):
    """One process at one moment. `start_ticks` counts clock ticks since boot."""

    pid: int
    parent_pid: int
    group: int
    session: int
    start_ticks: int
    alive: bool


def become_subreaper() -> None:
    """Let orphaned descendants become children of this process instead of init's, so that none gets out of sight.

    Holds for the whole process, for good, and is not inherited. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(code)}")


def _read(path: str) -> bytes:
    """A file of /proc, whole. Path.read_bytes takes three times as long, and a kill reads hundreds."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def ticks_now() -> int:
    """The present in the unit of `ProcessInfo.start_ticks`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_S)


def find_process(pid: int) -> ProcessInfo | None:
    """Read /proc/<pid>/stat; None when there is no such process.

    A zombie is not alive, unless it is the ended first thread of a process whose other threads go on.
    """
    try:
        stat = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may itself hold spaces and parentheses.
    fields = stat[stat.rindex(b")") + 2 :].split()
    alive = fields[0] not in b"ZX" or int(fields[17]) > 1
    return ProcessInfo(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), alive)


def children_of(pid: int) -> list[int]:
    """Direct children of all threads of a process; empty when it is gone.

    One reading may miss a child while a sibling is being reaped (proc(5)): who needs to be sure reads twice.
    """
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in (_PROC / str(pid) / "task").iterdir():
            found += _children_of_thread(pid, thread.name)
    return found


def orphans_and_children() -> list[int]:
    """Children of this process's first thread: where the kernel puts orphans, beside what that thread started."""
    own = os.getpid()
    return _children_of_thread(own, str(own))


def _children_of_thread(pid: int, thread: str) -> list[int]:
    path = f"/proc/{pid}/task/{thread}/children"
    try:
        return [int(child) for child in _read(path).split()]
    except ProcessLookupError:
        return []
    except FileNotFoundError:
        # The thread is gone, or the kernel was built without CONFIG_PROC_CHILDREN.
        return [] if _children_files_exist() or str(pid) != thread else children_by_scan(pid)


def _children_files_exist() -> bool:
    own = os.getpid()
    return (_PROC / str(own) / "task" / str(own) / "children").exists()


def children_by_scan(pid: int) -> list[int]:
    """Direct children of a process by reading every process's parent: works on every kernel, takes longer."""
    numbers = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    found = (find_process(number) for number in numbers)
    return [info.pid for info in found if info is not None and info.parent_pid == pid]


def marker_ids(pid: int) -> frozenset[str]:
    """Ids of the commands (nested ones: of all of them) that a process belongs to; empty when it does not tell.

    It does not when it is a zombie, belongs to another user, or has overwritten its environment.
    """
    try:
        environ = _read(f"/proc/{pid}/environ")
    except OSError:
        return frozenset()
    prefix = MARKER.encode() + b"="
    values = [item[len(prefix) :] for item in environ.split(b"\0") if item.startswith(prefix)]
    return frozenset(values[0].decode("ascii", "replace").split("/")) if values else frozenset()


def living_tree(
    roots: Iterable[int], *, except_pids: frozenset[int] | set[int] = frozenset()
) -> dict[int, ProcessInfo]:
    """Living processes among `roots` (children of this process) and all their descendants, by pid."""
    own = os.getpid()
    alive: dict[int, ProcessInfo] = {}
    seen: set[int] = set()
    queue = [(pid, own) for pid in roots]
    while queue:
        pid, parent = queue.pop()
        info = None if pid in seen else find_process(pid)
        seen.add(pid)
        # A pid read a moment ago counts only if it still hangs where it was seen, or was orphaned since.
        if info is None or info.parent_pid not in (parent, own):
            continue
        if info.alive:
            alive[pid] = info
        queue += [(child, pid) for child in children_of(pid) if child not in except_pids]
    return alive


def signal_process(info: ProcessInfo, signum: signal.Signals) -> None:
    """Signal exactly this process; nothing happens when it is gone, is no longer the same, or may not be signalled."""
    with suppress(ProcessLookupError, PermissionError):
        pidfd = os.pidfd_open(info.pid)
        try:
            # The pidfd holds on to one process: if that one has our start time, no later reuse of the pid matters.
            now = find_process(info.pid)
            if now is not None and now.start_ticks == info.start_ticks:
                signal.pidfd_send_signal(pidfd, signum)
        finally:
            os.close(pidfd)
