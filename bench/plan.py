"""Forty local commands as one plan: whole process beside ansible-playbook, and warm beside forty bare starts.

Warm, the commands run independent of each other, and one after the other. Then each waits for the commit before it: the
floor of that form, a bare start and one fsynced SQLite commit forty times, is printed beside it.

`python -m bench.plan [--ansible PATH]`; ansible-playbook is taken from the PATH when not given. To have one:
`python3 -m venv ansible && ansible/bin/pip install ansible-core`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.measure import compare, seconds, verdict

STEPS = 40


def plan_text(*, independent: bool = False) -> str:
    """A plan of forty steps, one after the other or independent of each other."""
    more: dict[str, Any] = {"depends_on": []} if independent else {}
    return json.dumps({"name": "forty", "steps": [{"id": f"s{n}", "tool": "whoami", **more} for n in range(STEPS)]})


def playbook_text() -> str:
    """The same for Ansible: a local connection, no facts, the command module."""
    tasks = [{"name": f"s{n}", "ansible.builtin.command": {"cmd": "whoami"}} for n in range(STEPS)]
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    return json.dumps(play)


def run_plan(folder: Path) -> None:
    """`opsconductor run` as a process."""
    script = Path(sys.executable).parent / "opsconductor"
    environ = {**os.environ, "OPSCONDUCTOR_HOME": str(folder / "home")}
    subprocess.run([str(script), "run", str(folder / "plan.json")], env=environ, check=True, capture_output=True)


def run_playbook(program: str, folder: Path) -> None:
    """`ansible-playbook` as a process."""
    environ = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False"}
    interpreter = f"ansible_python_interpreter={sys.executable}"
    words = [program, "-i", "localhost,", "-e", interpreter, str(folder / "playbook.yml")]
    subprocess.run(words, env=environ, check=True, capture_output=True)


def bare_starts() -> float:
    """Seconds for forty programs started one after the other from a warm interpreter, their output read."""
    start = time.perf_counter()
    for _ in range(STEPS):
        subprocess.run(["/usr/bin/whoami"], check=True, capture_output=True)
    return time.perf_counter() - start


def committed_starts(folder: Path) -> float:
    """Seconds for forty bare starts, each after one durable commit: what journalling before acting costs at least."""
    with closing(sqlite3.connect(folder / "floor.sqlite3", isolation_level=None)) as database:
        database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS t (b)")
        start = time.perf_counter()
        for _ in range(STEPS):
            database.execute("INSERT INTO t VALUES (?)", (bytes(1600),))
            subprocess.run(["/usr/bin/whoami"], check=True, capture_output=True)
        return time.perf_counter() - start


def script_of_starts() -> float:
    """Seconds of a plain Python script that starts forty programs, its own start included."""
    loop = f"import subprocess\nfor _ in range({STEPS}): subprocess.run(['/usr/bin/whoami'], capture_output=True)"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", loop], check=True)
    return time.perf_counter() - start


async def warm_rounds(folder: Path, rounds: int) -> list[tuple[float, float, float, float, float]]:
    """Rounds of (independent steps, steps in sequence, bare starts, committed starts, a script), in seconds."""
    os.environ["OPSCONDUCTOR_HOME"] = str(folder / "warm")
    from opsconductor.bootstrap.runtime import LocalRuntime
    from opsconductor.interfaces.ports import Conductor, Submission

    async def timed_plan(conductor: Conductor, *, independent: bool) -> float:
        plan = json.loads(plan_text(independent=independent))
        start = time.perf_counter()
        response = await conductor.execute(Submission(plan=plan))
        if response.result.successful_steps != STEPS:
            raise SystemExit(f"the plan did not complete: {response.error_message}")
        return time.perf_counter() - start

    conductor = await LocalRuntime().embedded(person_present=True)
    found = []
    try:
        for number in range(rounds + 1):
            ours = [await timed_plan(conductor, independent=form) for form in (True, False)]
            if number:  # the first round warms up
                found.append((ours[0], ours[1], bare_starts(), committed_starts(folder), script_of_starts()))
    finally:
        await conductor.close()
    return found


def show_warm(rounds: list[tuple[float, float, float, float, float]]) -> None:
    """Print both forms beside their floors."""
    independent, sequence, bare, _, script = (statistics.median(side) for side in zip(*rounds, strict=True))
    ratio = statistics.median(one[0] / one[2] for one in rounds)
    detail = f"({seconds(independent)} beside {seconds(bare)})"
    verdict(f"{STEPS} independent steps, warm, of {STEPS} bare starts", ratio, 1.5, at_most=True, detail=detail)
    ratio = statistics.median(one[1] / one[2] for one in rounds)
    detail = f"({seconds(sequence)} beside {seconds(bare)})"
    verdict(f"{STEPS} steps in sequence, warm, of {STEPS} bare starts", ratio, 1.5, at_most=True, detail=detail)
    floor = statistics.median(one[3] / one[2] for one in rounds)
    ratio = statistics.median(one[1] / one[4] for one in rounds)
    print(f"     … the floor of that form, bare starts with one durable commit before each: {floor:.2f}x")
    print(f"     … beside a plain script of {STEPS} starts, its interpreter included: {ratio:.2f}x ({seconds(script)})")


def main() -> None:
    """Print the two ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ansible", default=shutil.which("ansible-playbook"))
    program = parser.parse_args().ansible
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plan.json").write_text(plan_text())
        (folder / "playbook.yml").write_text(playbook_text())
        run_plan(folder)
        show_warm(asyncio.run(warm_rounds(folder, 7)))
        if not program:
            print("skip ansible-playbook: not on the PATH; pip install ansible-core, or give --ansible PATH")
            return
        found = compare(lambda: run_plan(folder), lambda: run_playbook(program, folder), pairs=3)
        detail = f"({seconds(found.ours_s)} beside {seconds(found.other_s)})"
        verdict(f"{STEPS} steps whole process, beside ansible-playbook", found.times_faster, 40, detail=detail)


if __name__ == "__main__":
    main()
