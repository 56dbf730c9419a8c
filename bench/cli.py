"""Whole commands, as a person or a loop pays for them. `python -m bench.cli`

Each is held against the bare interpreter of the same run, because machines differ; the limits in milliseconds are
those of two quiet cores. Bytecode is compiled first: without it imports look twice as slow as they are.
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import compare, seconds

SOURCE = Path(__file__).parent.parent / "src"


def command(*words: str, home: str) -> subprocess.CompletedProcess[bytes]:
    """Run one `opsconductor` command in a process of its own."""
    environ = {**os.environ, "OPSCONDUCTOR_HOME": home, "PYTHONDONTWRITEBYTECODE": ""}
    script = Path(sys.executable).parent / "opsconductor"
    return subprocess.run([str(script), *words], env=environ, capture_output=True, check=True, stdin=subprocess.DEVNULL)


def bare() -> None:
    """Start the interpreter and end it."""
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def main() -> None:
    """Print each command's median and how many bare interpreters that is."""
    compileall.compile_dir(SOURCE, quiet=2)
    with tempfile.TemporaryDirectory() as home:
        command("exec", "uname", home=home)
        for words, limit_s in (
            (("--help",), 0.150),
            (("--version",), 0.150),
            (("route", "df", "--json"), 0.200),
            (("exec", "uname"), 0.500),
            (("executions", "list", "--json"), 0.300),
        ):
            found = compare(lambda words=words: command(*words, home=home), bare, pairs=9)  # type: ignore[misc]
            mark = "ok  " if found.ours_s < limit_s else "MISS"
            print(
                f"{mark} opsconductor {' '.join(words)}: {seconds(found.ours_s)} (limit {seconds(limit_s)}), "
                f"{1 / found.times_faster:.1f} bare interpreters of {seconds(found.other_s)}"
            )


if __name__ == "__main__":
    main()
