"""The journal against real crashes and full disks: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.store.history import History
from opsconductor.store.journal import SqliteJournal
from tests import needs
from tests.conformance.journal import ACCEPTED, OUTPUT

ROOT = Path(__file__).parents[2]


def _child(path: Path, prefix: str, count: int, records: int = 0) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.integration.journal_child", str(path), prefix, str(count), str(records)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT)


def _acknowledged(output: bytes) -> dict[str, int]:
    last: dict[str, int] = {}
    for line in output.decode().splitlines():
        name, sequence = line.split()
        assert int(sequence) == last.get(name, 0) + 1
        last[name] = int(sequence)
    return last


def _kill_after(child: subprocess.Popen[bytes], seconds: float) -> bytes:
    """Let the child write for a while after its first acknowledgement, kill it, return what it acknowledged."""
    assert child.stdout is not None
    first = child.stdout.readline()
    timer = threading.Timer(seconds, child.send_signal, [signal.SIGKILL])
    timer.start()
    rest = child.stdout.read()
    child.stdout.close()
    timer.join()
    assert child.wait(timeout=10) == -signal.SIGKILL
    return first + rest


@pytest.mark.integration
@pytest.mark.parametrize("seed", range(6))
async def test_all_that_was_acknowledged_before_kill_9_is_there_and_verifies(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    path = tmp_path / "j.db"
    acknowledged: dict[str, int] = {}
    for turn in range(3):  # each turn opens what the killed one left behind
        output = _kill_after(_child(path, f"t{turn}-", count=1 + seed * 4), moments.uniform(0.0, 0.25))
        acknowledged |= _acknowledged(output)
    journal = SqliteJournal(path)
    for name, sequence in acknowledged.items():
        assert await journal.verify(name) >= sequence
    assert set(acknowledged) <= set(await journal.unfinished())
    assert (await journal.append("after", "accepted", ACCEPTED)).sequence == 1
    await journal.close()


@pytest.mark.integration
async def test_many_processes_begin_and_write_one_journal_together(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    children = [_child(path, f"p{number}-", count=3, records=15) for number in range(8)]
    outputs = [child.communicate(timeout=50)[0] for child in children]
    assert [child.returncode for child in children] == [0] * 8
    journal = SqliteJournal(path)
    for output in outputs:
        acknowledged = _acknowledged(output)
        assert set(acknowledged.values()) == {15}
        for name in acknowledged:
            assert await journal.verify(name) == 15
    assert len(await History(journal.reader).list_executions()) == 24
    await journal.close()


@pytest.mark.integration
async def test_one_flipped_byte_on_disk_fails_closed_and_the_rest_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = SqliteJournal(path)
    for name in ("a", "b"):
        await journal.append(name, "accepted", ACCEPTED)
        await journal.append(name, "step_output", {**OUTPUT, "text": f"marker-of-{name}"})
    await journal.close()  # the last to close moves everything from the WAL into the file
    content = bytearray(path.read_bytes())
    content[content.index(b"marker-of-a") + 3] ^= 1
    path.write_bytes(content)
    journal = SqliteJournal(path)
    with pytest.raises(OpsError, match="record 2 of execution a: its hash") as caught:
        await journal.read("a")
    assert caught.value.code == "journal_corrupt"
    with pytest.raises(OpsError, match="record 2 of execution a"):
        await journal.verify("a")
    assert await journal.verify("b") == 2
    await journal.close()


@pytest.mark.integration
async def test_a_smashed_page_is_an_error_and_not_a_shorter_history(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = SqliteJournal(path)
    await journal.append("a", "accepted", ACCEPTED)
    for number in range(200):
        await journal.append("a", "step_output", {**OUTPUT, "offset": number, "text": "y" * 500})
    await journal.close()
    content = bytearray(path.read_bytes())
    page = content.index(b"y" * 500) // 4096
    content[page * 4096 : (page + 1) * 4096] = os.urandom(4096)
    path.write_bytes(content)
    journal = SqliteJournal(path)
    with pytest.raises(OpsError) as caught:
        await journal.read("a")
    assert caught.value.code == "journal_corrupt"
    await journal.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    needs.root()
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        needs.absent(f"tmpfs cannot be mounted: {mounted.stderr.decode()}", "run where mount(2) is allowed")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.integration
async def test_a_full_disk_refuses_keeps_what_was_there_and_goes_on_when_there_is_space(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    journal = SqliteJournal(small_disk / "j.db")
    await journal.append("a", "accepted", ACCEPTED)
    body = {**OUTPUT, "text": "x" * 20_000}
    ballast.write_bytes(bytes(1024**2))
    written = 1
    with pytest.raises(OpsError, match="the disk is full") as caught:
        while written < 1000:
            written = (await journal.append("a", "step_output", body)).sequence
    assert caught.value.code == "journal_unavailable"
    assert written > 5
    assert await journal.verify("a") == written
    answers = await asyncio.gather(
        *(journal.append(f"n{n}", "accepted", {**ACCEPTED, "plan": {"x": "y" * 50_000}}) for n in range(3)),
        return_exceptions=True,
    )
    assert [getattr(answer, "code", None) for answer in answers] == ["journal_unavailable"] * 3
    assert await journal.unfinished() == ["a"]
    ballast.unlink()
    assert (await journal.append("a", "step_output", body)).sequence == written + 1
    await journal.close()
    again = SqliteJournal(small_disk / "j.db")
    assert await again.verify("a") == written + 1
    await again.close()


@pytest.mark.integration
async def test_a_disk_that_turns_read_only_refuses_and_goes_on_when_it_is_writable_again(small_disk: Path) -> None:
    journal = SqliteJournal(small_disk / "j.db")
    await journal.append("a", "accepted", ACCEPTED)
    await journal.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OpsError) as caught:
        SqliteJournal(small_disk / "j.db")
    assert caught.value.code == "journal_unavailable"
    assert "cannot be" in caught.value.message
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    journal = SqliteJournal(small_disk / "j.db")
    assert (await journal.append("a", "step_output", OUTPUT)).sequence == 2
    await journal.close()
