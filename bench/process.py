"""How fast the local transport starts programs, beside a C loop around posix_spawn. Run: `python -m bench.process`.

The C loop starts /bin/true and waits for it, one after another, without pipes: as little as a start can be. The
transport does the same with pipes, limits of time and the look for leftovers; one after another, 50 at once, and again
with 500 MB of memory in this process. Rounds alternate; ratios are medians of pairs. Needs gcc.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from opsconductor.transports.base import CommandRequest
from opsconductor.transports.local import LocalTransport

STARTS = 1000
ROUNDS = 5
AT_ONCE = 50
BALLAST_BYTES = 500_000_000
NEEDED = 0.60
C_LOOP = r"""
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
extern char **environ;
int main(int argc, char **argv) {
  int count = atoi(argv[1]);
  char *args[] = {"/bin/true", 0};
  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (int i = 0; i < count; i++) {
    pid_t pid;
    int status;
    if (posix_spawn(&pid, args[0], 0, 0, args, environ) || waitpid(pid, &status, 0) != pid || status) return 1;
  }
  clock_gettime(CLOCK_MONOTONIC, &to);
  printf("%f\n", count / ((to.tv_sec - from.tv_sec) + (to.tv_nsec - from.tv_nsec) / 1e9));
}
"""


def compiled(folder: Path) -> Path:
    """Compile the C loop."""
    (folder / "spawn.c").write_text(C_LOOP)
    subprocess.run(["gcc", "-O2", "-o", folder / "spawn", folder / "spawn.c"], check=True)
    return folder / "spawn"


def c_rate(program: Path) -> float:
    """Starts per second of the C loop."""
    return float(subprocess.run([program, str(STARTS)], check=True, capture_output=True, text=True).stdout)


async def transport_rate(transport: LocalTransport, folder: Path, at_once: int) -> float:
    """Starts per second through the transport."""
    request = CommandRequest(argv=("/bin/true",), env={"PATH": "/usr/bin:/bin"}, timeout_s=60.0, spool_dir=folder)
    left = iter(range(STARTS))

    async def worker() -> None:
        for _ in left:
            result = await transport.run(request)
            assert result.exit_code == 0

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return STARTS / (time.perf_counter() - started)


async def measure(program: Path, folder: Path) -> dict[str, tuple[float, float]]:
    """Median starts per second, and median ratio to the C loop that ran just before, of each kind."""
    transport = LocalTransport()
    seen: dict[str, list[tuple[float, float]]] = {}

    async def note(name: str, at_once: int) -> None:
        beside = c_rate(program)
        seen.setdefault(name, []).append((await transport_rate(transport, folder, at_once), beside))

    await transport_rate(transport, folder, AT_ONCE)
    for _ in range(ROUNDS):
        await note("one after another", 1)
        await note(f"{AT_ONCE} at once", AT_ONCE)
        ballast = bytearray(BALLAST_BYTES)
        ballast[::4096] = b"x" * len(ballast[::4096])
        await note("one after another, 500 MB in this process", 1)
        await note(f"{AT_ONCE} at once, 500 MB in this process", AT_ONCE)
        del ballast
    return {
        name: (statistics.median(rate for rate, _ in pairs), statistics.median(rate / c for rate, c in pairs))
        for name, pairs in seen.items()
    }


def main() -> int:
    """Print the table; 1 when a ratio misses its mark."""
    with tempfile.TemporaryDirectory() as name:
        program = compiled(Path(name))
        figures = asyncio.run(measure(program, Path(name)))
        print(f"C posix_spawn loop          {c_rate(program):8.0f} starts/s")
    for kind, (rate, ratio) in figures.items():
        print(f"{kind:<46} {rate:8.0f} starts/s   {ratio:6.1%} of C (needed {NEEDED:.0%})")
    for kind in ("one after another", f"{AT_ONCE} at once"):
        change = figures[f"{kind}, 500 MB in this process"][1] / figures[kind][1]
        print(f"{kind}: with 500 MB {change:.1%} of the rate without")
    return 0 if all(ratio >= NEEDED for _, ratio in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
