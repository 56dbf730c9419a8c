"""A cold load of many files on all processors. Only `catalog.compiler` calls it.

Forking is safe only while this process has one thread and runs no event loop; otherwise, and for few files, the work
is done here.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence

# A child costs about 10 ms to start and to collect; below this number of files it does not pay.
MIN_ITEMS_PER_PROCESS = 500
_MAX_PROCESSES = 4

Work = Callable[[Sequence[str]], bytes]


def map_in_processes(work: Work, items: Sequence[str]) -> list[bytes]:
    """`work` applied to slices that together are `items`, in order. A slice whose process dies is done here."""
    count = _process_count(len(items))
    bounds = [len(items) * part // count for part in range(count + 1)]
    slices = [items[start:end] for start, end in itertools.pairwise(bounds)]
    children = [_start(work, part) for part in slices[1:]]
    results = [work(slices[0])]
    for part, child in zip(slices[1:], children, strict=True):
        answer = _collect(child) if child is not None else None
        results.append(work(part) if answer is None else answer)
    return results


def _process_count(items: int) -> int:
    if threading.active_count() > 1 or not hasattr(os, "fork") or _in_event_loop():
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), _MAX_PROCESSES, items // MIN_ITEMS_PER_PROCESS))


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # not imported here: it takes longer than a whole warm start
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _start(work: Work, items: Sequence[str]) -> tuple[int, int] | None:
    """Start a child on `items`: its process id and the pipe its answer comes through; None when none can be had."""
    try:
        reader, writer = os.pipe()
        process = os.fork()
    except OSError:
        return None
    if process:
        os.close(writer)
        return process, reader
    status = 1
    try:  # the child: nothing of the parent's may be flushed, closed or run at exit here
        os.close(reader)
        answer = memoryview(work(items))
        while answer:
            answer = answer[os.write(writer, answer) :]
        status = 0
    finally:
        os._exit(status)


def _collect(child: tuple[int, int]) -> bytes | None:
    process, reader = child
    chunks: list[bytes] = []
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while chunk := pipe.read(1024 * 1024):
            chunks.append(chunk)
    _, status = os.waitpid(process, 0)
    return b"".join(chunks) if status == 0 else None
