"""Who drives an execution, and whether that process is still there: told by /proc (Linux), never guessed.

Bootstrap asks `this_process` once and hands it to the coordinator; recovery asks `liveness` of recorded owners.
"""

from __future__ import annotations

import os
import socket
from enum import StrEnum
from pathlib import Path

from opsconductor.engine.records import Owner


class Liveness(StrEnum):
    """What can be said about a recorded process. `UNKNOWN`: it lived where this process cannot look."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


def this_process() -> Owner:
    """The identity of the calling process."""
    return Owner(
        pid=os.getpid(),
        start_ticks=_start_ticks(os.getpid()) or 0,
        boot_id=_boot_id(),
        host=socket.gethostname(),
        pid_namespace=_pid_namespace(),
    )


def liveness(owner: Owner) -> Liveness:
    """Whether `owner` still runs.

    Another boot of the same host: gone. The same boot and pid namespace: /proc tells, and the start time tells a later
    process with the same pid apart. Anything else (another machine, another container) cannot be told from here.
    """
    if owner.boot_id != _boot_id():
        return Liveness.GONE if owner.host == socket.gethostname() else Liveness.UNKNOWN
    if owner.pid_namespace != _pid_namespace():
        return Liveness.UNKNOWN
    return Liveness.ALIVE if _start_ticks(owner.pid) == owner.start_ticks else Liveness.GONE


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, in clock ticks since boot; None for no such process or a zombie (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name in parentheses may itself hold spaces and parentheses
    state, start_ticks = fields[0], int(fields[19])
    return None if state in ("Z", "X") else start_ticks


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())
