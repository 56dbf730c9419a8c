"""chmod and chown on real files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from tests.harness import service
from tests.needs import program, root

pytestmark = pytest.mark.integration


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("chmod", "chown", "stat"):
        program(name, "coreutils")
    path = tmp_path / "it's a file"
    path.touch()
    path.chmod(0o644)
    return path


async def _run(tool: str, operation: str, **inputs: Any) -> StepResult:
    async with service() as bench:
        return await bench.run(tool, operation, inputs)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_chmod_says_what_was_before_and_changes_nothing_the_second_time(file: Path) -> None:
    first = await _run("chmod", "set", paths=[str(file)], mode="u=rw,go=")
    assert first.status is StepStatus.COMPLETED, first.error
    (row,) = first.output["data"]
    assert (row["before"], row["after"], row["changed"]) == ("0644", "0600", True)
    assert _mode(file) == 0o600
    second = await _run("chmod", "set", paths=[str(file)], mode="0600")
    assert [row["changed"] for row in second.output["data"]] == [False]


async def test_chmod_takes_a_mode_that_begins_with_a_dash_for_a_mode(file: Path) -> None:
    file.chmod(0o755)
    result = await _run("chmod", "set", paths=[str(file)], mode="-x")
    assert result.status is StepStatus.COMPLETED, result.error
    assert _mode(file) == 0o644


async def test_chmod_is_recursive_only_when_asked(file: Path) -> None:
    folder = str(file.parent)
    await _run("chmod", "set", paths=[folder], mode="u+rwX,go=")
    assert _mode(file) == 0o644
    await _run("chmod", "set", paths=[folder], mode="u+rwX,go=", recursive=True)
    assert (_mode(file), _mode(file.parent)) == (0o600, 0o700)


async def test_chmod_changes_what_it_can_and_fails_for_a_missing_file(file: Path) -> None:
    result = await _run("chmod", "set", paths=[str(file), f"{file}.none"], mode="0640")
    assert result.status is StepStatus.FAILED
    assert _mode(file) == 0o640
    assert len(result.output["data"]) == 1


@pytest.mark.parametrize("tool", ["chmod", "chown"])
@pytest.mark.parametrize(
    "path", ["/", "//", "/.", "/./", "/etc/..", "/tmp/../etc", "relative", "--reference=/etc/shadow"]
)
async def test_the_root_folder_and_crooked_paths_are_refused(tool: str, path: str) -> None:
    change = {"mode": "0755"} if tool == "chmod" else {"owner": "root"}
    result = await _run(tool, "set", paths=[path], **change)
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert result.error.code in ("input_invalid", "option_like_argument")
    assert "argv" not in result.output


async def test_chown_changes_owner_and_group_and_says_who_had_it(file: Path) -> None:
    root()
    result = await _run("chown", "set", paths=[str(file)], owner="65534:65534")
    assert result.status is StepStatus.COMPLETED, result.error
    (row,) = result.output["data"]
    assert (row["before"], row["changed"]) == ("root:root", True)
    assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65534)
    again = await _run("chown", "set", paths=[str(file)], owner="65534:65534")
    assert [row["changed"] for row in again.output["data"]] == [False]


async def test_chown_leaves_files_of_others_alone_when_the_owner_now_is_given(file: Path) -> None:
    root()
    result = await _run("chown", "set", paths=[str(file)], owner="65534", current_owner="12345")
    assert result.status is StepStatus.COMPLETED, result.error
    assert file.stat().st_uid == 0


async def test_chown_of_a_link_reaches_its_file_unless_links_are_meant(file: Path) -> None:
    root()
    link = file.parent / "link"
    link.symlink_to(file)
    await _run("chown", "set", paths=[str(link)], owner="65534", links=True)
    assert (link.lstat().st_uid, file.stat().st_uid) == (65534, 0)
    await _run("chown", "set", paths=[str(link)], owner=":65534")
    assert file.stat().st_gid == 65534


@pytest.mark.parametrize("tool", ["chmod", "chown"])
async def test_show_is_what_stat_knows(tool: str, file: Path) -> None:
    result = await _run(tool, "show", paths=[str(file)])
    assert result.status is StepStatus.COMPLETED, result.error
    (row,) = result.output["data"]
    assert (row["path"], row["mode"], row["uid"], row["size"]) == (str(file), "0644", os.getuid(), 0)
