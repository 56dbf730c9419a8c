"""State folders that cannot be one: an error that names the folder and the way out, never a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli import Home

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("command", [["exec", "uname"], ["executions", "list"], ["up", "--port", "0"]])
@pytest.mark.parametrize("name", ["file", "file/below", "n" * 300])
def test_a_place_where_no_folder_can_be_is_named(tmp_path: Path, command: list[str], name: str) -> None:
    (tmp_path / "file").touch()
    result = Home(tmp_path / name).run(*command)
    assert result.code == 1, result
    assert result.err.startswith(f"error: state folder {tmp_path / name}: "), result
    assert "OPSCONDUCTOR_HOME" in result.err and "Traceback" not in result.err


@pytest.mark.parametrize("command", [["exec", "uname"], ["route", "df"], ["doctor"]])
def test_a_user_without_a_home_folder_is_told_what_to_set(command: list[str]) -> None:
    result = Home(Path("~nobody-has-this-name/state")).run(*command)
    assert result.code in (1, 2), result
    assert "OPSCONDUCTOR_HOME: found '~nobody-has-this-name/state'" in result.out + result.err, result
    assert "Traceback" not in result.err
