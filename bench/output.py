"""How fast one gigabyte of output is taken, and with how much memory. Run: `python -m bench.output`.

Floors in the same run: the same command's pipe read in 256 KiB chunks that are thrown away, and the same written to a
file. The transport spools all of it, keeps both ends and counts. Each round is a process of its own, as its greatest
memory is part of the result; rounds alternate, ratios are medians of pairs.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from opsconductor.transports.base import CommandRequest
from opsconductor.transports.local import LocalTransport

SIZE = 2**30
CHUNK = 256 * 1024
ROUNDS = 5
NEEDED = 0.60
MOST_MEMORY_MIB = 40
COMMAND = ("head", "-c", str(SIZE), "/dev/zero")


def raw(spool: Path | None) -> float:
    """Seconds to read the command's output in chunks, written to `spool` or thrown away."""
    file = None if spool is None else os.open(spool, os.O_WRONLY | os.O_CREAT)
    started = time.perf_counter()
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), CHUNK):
            if file is not None:
                os.write(file, chunk)
    return time.perf_counter() - started


def through_transport(folder: Path) -> float:
    """Seconds of the same command through the transport."""
    transport = LocalTransport()
    request = CommandRequest(argv=COMMAND, env={"PATH": "/usr/bin:/bin"}, timeout_s=300.0, spool_dir=folder)

    async def run() -> float:
        started = time.perf_counter()
        out = (await transport.run(request)).stdout
        took = time.perf_counter() - started
        assert (out.total_bytes, out.spooled_bytes) == (SIZE, SIZE)
        return took

    return asyncio.run(run())


def peak_mib() -> float:
    """Greatest resident memory of this process. Not ru_maxrss, which a vfork child takes over from its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def one(kind: str) -> None:
    """One round: print seconds and MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = through_transport(folder) if kind == "transport" else raw(folder / "raw" if kind == "spool" else None)
        print(seconds, peak_mib())


def measured(kind: str) -> tuple[float, float]:
    """MB/s and MiB of one round in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "bench.output", kind], check=True, capture_output=True, text=True)
    seconds, memory = map(float, done.stdout.split())
    return SIZE / seconds / 1e6, memory


def main() -> int:
    """Print the table; 1 when the speed or the memory misses its mark."""
    kinds = ("raw", "spool", "transport")
    measured("spool")  # the first gigabyte of page cache is slower for whoever comes first
    rounds = [{kind: measured(kind) for kind in kinds} for _ in range(ROUNDS)]
    for kind in kinds:
        rate, memory = (statistics.median(one_round[kind][part] for one_round in rounds) for part in (0, 1))
        print(f"{kind:<10} {rate:7.0f} MB/s  {memory:5.1f} MiB")
    of_raw, of_spool = (
        statistics.median(one_round["transport"][0] / one_round[kind][0] for one_round in rounds)
        for kind in ("raw", "spool")
    )
    memory = max(one_round["transport"][1] for one_round in rounds)
    print(f"transport / raw read   {of_raw:.1%} (needed {NEEDED:.0%})")
    print(f"transport / raw spool  {of_spool:.1%}")
    print(f"greatest memory        {memory:.1f} MiB (at most {MOST_MEMORY_MIB})")
    return 0 if of_raw >= NEEDED and memory <= MOST_MEMORY_MIB else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(sys.argv[1])
    else:
        sys.exit(main())
