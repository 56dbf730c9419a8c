"""A recorded process is told from a later one with its pid, and from one that cannot be seen from here."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import pytest

from opsconductor.engine.process_identity import Liveness, liveness, this_process
from opsconductor.engine.records import Owner

CHILD = """
import msgspec, sys
from opsconductor.engine.process_identity import this_process
print(msgspec.json.encode(this_process()).decode(), flush=True)
sys.stdin.read()
"""


def test_this_process_is_alive() -> None:
    assert liveness(this_process()) is Liveness.ALIVE


def test_another_process_is_alive_until_it_ended_even_as_a_zombie() -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        owner = msgspec.json.decode(child.stdout.readline(), type=Owner)
        assert owner.pid == child.pid
        assert liveness(owner) is Liveness.ALIVE
        child.kill()
        child.stdout.read()  # its end of the pipe closes when it is dead; nobody has waited for it yet
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert liveness(owner) is Liveness.GONE
    assert liveness(owner) is Liveness.GONE


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"start_ticks": 1}, Liveness.GONE),
        ({"pid": 2**22 + 1}, Liveness.GONE),
        ({"boot_id": "another"}, Liveness.GONE),
        ({"boot_id": "another", "host": "elsewhere"}, Liveness.UNKNOWN),
        ({"pid_namespace": "pid:[1]"}, Liveness.UNKNOWN),
        ({"host": "renamed"}, Liveness.ALIVE),
    ],
)
def test_what_can_be_said_of_another(changed: dict[str, object], expected: Liveness) -> None:
    assert liveness(msgspec.structs.replace(this_process(), **changed)) is expected
