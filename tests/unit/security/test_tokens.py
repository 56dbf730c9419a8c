from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.security.tokens import SERVICE_PRINCIPAL, ServiceToken, load_service_token


def test_a_token_is_made_once_and_readable_by_nobody_else(tmp_path: Path) -> None:
    token = load_service_token(tmp_path / "state")
    assert len(token) >= 43, "256 bits"
    assert load_service_token(tmp_path / "state") == token
    path = tmp_path / "state" / "service-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["service-token"], "nothing is left beside it"


def _load(state_dir: Path, _number: int) -> str:
    return load_service_token(state_dir)


def test_processes_that_start_at_once_get_the_same_token(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        tokens = pool.starmap(_load, [(tmp_path / "state", number) for number in range(16)])
    assert len(set(tokens)) == 1


def test_a_configured_token_wins_and_is_not_written(tmp_path: Path) -> None:
    assert load_service_token(tmp_path, "s3cret") == "s3cret"
    assert list(tmp_path.iterdir()) == []


def test_a_token_file_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    load_service_token(tmp_path)
    (tmp_path / "service-token").chmod(0o644)
    with pytest.raises(OpsError, match="chmod 600") as caught:
        load_service_token(tmp_path)
    assert caught.value.code == "setting_missing"


@pytest.mark.parametrize("token", ["two words", "line\nfeed", "ümlaut", "x" * 4097])
def test_a_token_that_no_header_carries_is_refused_without_being_repeated(tmp_path: Path, token: str) -> None:
    with pytest.raises(OpsError) as caught:
        load_service_token(tmp_path, token)
    assert token not in str(caught.value)


def test_a_state_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OpsError, match="OPSCONDUCTOR_SERVICE_TOKEN"):
        load_service_token(tmp_path / "file")


def test_only_the_very_token_is_known() -> None:
    known = ServiceToken("s3cret")
    assert known.authenticate("s3cret") == SERVICE_PRINCIPAL
    for wrong in ("", "s3cre", "s3crett", "S3cret", "\udcff"):
        assert known.authenticate(wrong) is None


def test_the_text_is_not_kept() -> None:
    known = ServiceToken("s3cret")
    assert "s3cret" not in repr(known)
    assert b"s3cret" not in b"".join(value for value in vars(known).values() if isinstance(value, bytes))
