"""Forty local commands as one plan: whole process beside ansible-playbook, and warm beside forty bare starts.

`python -m bench.plan [--ansible PATH]`; ansible-playbook is taken from the PATH when not given. To have one:
`python3 -m venv ansible && ansible/bin/pip install ansible-core`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import compare, seconds, verdict

STEPS = 40


def plan_text() -> str:
    """A plan of forty steps, one after the other."""
    return json.dumps({"name": "forty", "steps": [{"id": f"s{n}", "tool": "whoami"} for n in range(STEPS)]})


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


async def warm_pairs(folder: Path, pairs: int) -> list[tuple[float, float]]:
    """Pairs of (plan in an engine that is warm, bare starts), in seconds."""
    os.environ["OPSCONDUCTOR_HOME"] = str(folder / "warm")
    from opsconductor.bootstrap.runtime import LocalRuntime
    from opsconductor.interfaces.ports import Submission

    conductor = await LocalRuntime().embedded(person_present=True)
    plan = json.loads(plan_text())
    found = []
    try:
        await conductor.execute(Submission(plan=plan))
        for _ in range(pairs):
            start = time.perf_counter()
            response = await conductor.execute(Submission(plan=plan))
            ours = time.perf_counter() - start
            if response.result.successful_steps != STEPS:
                raise SystemExit(f"the plan did not complete: {response.error_message}")
            found.append((ours, bare_starts()))
    finally:
        await conductor.close()
    return found


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
        pairs = asyncio.run(warm_pairs(folder, 7))
        ratio = statistics.median(ours / bare for ours, bare in pairs)
        ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
        detail = f"({seconds(ours)} beside {seconds(bare)})"
        verdict(f"{STEPS} steps in a warm engine, of {STEPS} bare starts", ratio, 1.5, at_most=True, detail=detail)
        if not program:
            print("skip ansible-playbook: not on the PATH; pip install ansible-core, or give --ansible PATH")
            return
        found = compare(lambda: run_plan(folder), lambda: run_playbook(program, folder), pairs=3)
        detail = f"({seconds(found.ours_s)} beside {seconds(found.other_s)})"
        verdict(f"{STEPS} steps whole process, beside ansible-playbook", found.times_faster, 40, detail=detail)


if __name__ == "__main__":
    main()
