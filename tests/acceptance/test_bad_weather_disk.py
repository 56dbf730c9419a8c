"""A disk that fills up, and output as large as one: nothing is called done that is not on record, and words say why."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.acceptance.site import site_tools
from tests.cli import PROGRAM, Home, finish

pytestmark = pytest.mark.integration

BIG_BYTES = 300_000_000
MOST_MEMORY_KB = 120_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    needs.root()
    mount = needs.program("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=False).returncode:
        needs.absent("tmpfs cannot be mounted", "run where mount(2) is allowed")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file with lines that differ, so that no part can stand for another."""
    path = tmp_path / "big"
    with path.open("wb") as file:
        for block in range(BIG_BYTES // 1_000_000):
            file.write(b"%09d\n" % block * 100_000)
    return path


def output_of(response: Any) -> dict[str, Any]:
    found: dict[str, Any] = response["step_results"][0]["output"]
    return found


def fill(folder: Path, leave_bytes: int) -> Path:
    ballast = folder / "ballast"
    disk = os.statvfs(folder)
    size = disk.f_bavail * disk.f_frsize - leave_bytes
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return ballast


def test_output_larger_than_memory_is_cut_counted_and_kept_whole(tmp_path: Path, big: Path) -> None:
    home = Home(tmp_path / "state")
    process = home.start("exec", "cat", f"paths={big}", "--json")
    assert process.stdout is not None and process.stderr is not None
    # The first byte says that the work is done; the rest of the answer does not fit the pipe yet.
    first = os.read(process.stdout.fileno(), 1)
    peak_kb = int(Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0])
    result = finish(process)
    assert result.code == 0, result.err
    assert peak_kb < MOST_MEMORY_KB
    response = json.loads(first + result.raw_out)
    output = output_of(response)
    assert (output["stdout_bytes"], output["truncated"]) == (BIG_BYTES, True)
    assert len(output["stdout"]) < 1_100_000
    assert output["stdout"].startswith("000000000\n") and output["stdout"].endswith("000000299\n")
    (artifact,) = output["artifacts"]
    digest = hashlib.sha256(big.read_bytes()).hexdigest()
    assert (artifact["size"], artifact["sha256"]) == (BIG_BYTES, digest)
    assert (home.folder / "journal.sqlite3").stat().st_size < 4_000_000
    shown = home.run("executions", "show", response["execution_id"], "--json").json
    assert shown["steps"][0]["output"]["artifacts"] == [artifact]


def test_output_that_does_not_fit_the_disk_leaves_room_for_its_record(small_disk: Path, big: Path) -> None:
    home = Home(small_disk / "state")
    result = home.run("exec", "cat", f"paths={big}")
    assert result.code == 0, result.err
    assert "the whole could not be kept" in result.err and f"{BIG_BYTES} bytes of stdout" in result.err
    assert "is an artifact" not in result.err
    assert [row["status"] for row in home.history()] == ["completed"]
    assert home.run("exec", "uname").code == 0


def test_a_result_that_cannot_be_recorded_is_not_called_completed(small_disk: Path) -> None:
    home = Home(small_disk / "state")
    assert home.run("exec", "uname").code == 0
    ballast = fill(small_disk, leave_bytes=100_000)
    (small_disk.parent / "text").write_text("x" * 400_000)
    result = home.run("exec", "cat", f"paths={small_disk.parent / 'text'}")
    assert result.code == 4, result.err
    assert "the disk is full" in result.err
    ballast.unlink()
    assert [row["status"] for row in home.history()] == ["outcome_unknown", "completed"]
    assert home.run("exec", "uname").code == 0


@pytest.mark.parametrize("left", [0, 40_000])
def test_on_a_full_disk_nothing_starts_and_the_words_say_what_to_do(
    small_disk: Path, tmp_path: Path, left: int
) -> None:
    home = Home(small_disk / "state")
    assert home.run("exec", "uname").code == 0
    ballast = fill(small_disk, leave_bytes=left)
    marked = tmp_path / "marked"
    marked.touch(mode=0o600)
    result = home.run("exec", "chmod", "mode=0644", f"paths={marked}")
    assert result.code == 1, result
    assert "the disk is full" in result.err and "Free some space" in result.err
    assert marked.stat().st_mode & 0o777 == 0o600
    ballast.unlink()
    assert home.run("exec", "uname").code == 0


def test_what_is_kept_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "state", OPSCONDUCTOR_TOOLS_PATH=site_tools(tmp_path / "site"))
    subprocess.run([PROGRAM, "tools", "list"], env=home.environment(), check=True, capture_output=True, umask=0o022)
    assert home.run("exec", "pause", "seconds=0").code == 0
    assert home.folder.stat().st_mode & 0o077 == 0
    files = [path for path in home.folder.rglob("*") if path.is_file()]
    assert "inbox.sqlite3" in {path.name for path in files}
    assert [path for path in files if path.stat().st_mode & 0o077] == []
