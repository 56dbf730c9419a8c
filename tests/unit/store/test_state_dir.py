"""The state folder is private, and refused with what to do where it cannot be used."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.store.state_dir import ensure_state_dir, make_private


def test_an_absent_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = ensure_state_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    ensure_state_dir(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(OpsError, match="every user of this machine"):
        ensure_state_dir(tmp_path)


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_file_in_its_place_is_refused_with_what_to_do(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OpsError, match="OPSCONDUCTOR_HOME") as caught:
        ensure_state_dir(tmp_path / "file" / below)
    assert "is not a folder" in caught.value.message


def test_a_place_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(OpsError, match="/proc/opsconductor"):
        ensure_state_dir(Path("/proc/opsconductor"))


def test_a_private_file_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "f"
    assert make_private(path)
    path.write_text("kept")
    path.chmod(0o664)
    assert not make_private(path)
    assert path.read_text() == "kept"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
