"""ls, df, du and find on real files, through their definitions and the service."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.clock import to_rfc3339
from tests.harness import Bench, automation
from tests.integration.tools.linux_checks import data, refused, says

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOSTILE = 'x\n-rw-r--r-- 1 root root 1 2026-01-01T00:00:00.0+00:00 "forged"\tß'


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with automation() as service:
        yield service


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file of 1,234 bytes and a known age, a link to it, a folder, a pipe and an empty file."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    root.joinpath("report.log").write_bytes(b"x" * 1234)
    root.joinpath("report.log").chmod(0o640)
    moment_ns = int(MOMENT.timestamp()) * 10**9 + MOMENT.microsecond * 1000
    os.utime(root / "report.log", ns=(moment_ns, moment_ns))
    root.joinpath("sub", "a b.txt").write_text("hello\n")
    root.joinpath("link").symlink_to("report.log")
    root.joinpath(".hidden").touch()
    os.mkfifo(root / "pipe")
    return root


def by(rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in rows}


async def test_ls_gives_each_file_with_typed_values(bench: Bench, folder: Path) -> None:
    rows = by(data(await bench.run("ls", "list", {"paths": [str(folder)]})), "name")
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert list(rows) == ["link", "pipe", "report.log", "sub"]
    assert rows["report.log"] == {
        "name": "report.log",
        "folder": None,
        "kind": "file",
        "mode": "0640",
        "links": 1,
        "owner": me,
        "group": rows["report.log"]["group"],
        "size": 1234,
        "modified": to_rfc3339(MOMENT),
        "target": None,
    }
    assert (rows["link"]["kind"], rows["link"]["target"]) == ("symlink", "report.log")
    assert (rows["sub"]["kind"], rows["pipe"]["kind"]) == ("directory", "pipe")


async def test_ls_of_several_folders_says_where_each_file_is(bench: Bench, folder: Path) -> None:
    rows = data(await bench.run("ls", "list", {"paths": [str(folder)], "recursive": True, "hidden": True}))
    assert {(row["folder"], row["name"]) for row in rows} >= {
        (str(folder), ".hidden"),
        (f"{folder}/sub", "a b.txt"),
    }


async def test_ls_sorts_and_shows_a_device_without_a_size(bench: Bench, folder: Path) -> None:
    rows = data(await bench.run("ls", "list", {"paths": [str(folder)], "sort": "size", "reverse": True}))
    sizes = [row["size"] for row in rows]
    assert sizes == sorted(sizes)
    [device] = data(await bench.run("ls", "list", {"paths": ["/dev/null"]}))
    assert (device["kind"], device["size"], device["mode"]) == ("character_device", None, "0666")


async def test_no_file_name_passes_for_another_entry(bench: Bench, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "")
    (tmp_path / name).write_text("12345")
    [listed] = data(await bench.run("ls", "list", {"paths": [str(tmp_path)]}))
    assert (listed["name"], listed["size"]) == (name, 5)
    [found] = data(await bench.run("find", "search", {"paths": [str(tmp_path)], "kind": "f"}))
    assert (found["path"], found["size"]) == (f"{tmp_path}/{name}", 5)


async def test_ls_of_a_missing_file_fails_with_its_words(bench: Bench, folder: Path) -> None:
    result = await bench.run("ls", "list", {"paths": [str(folder), str(folder / "absent")]})
    says(result, "No such file or directory")
    assert "report.log" in by(result.output["data"], "name")


@pytest.mark.parametrize(
    ("tool", "inputs"),
    [
        ("ls", {"paths": ["--help"]}),
        ("ls", {"paths": ["/", "-R"]}),
        ("df", {"path": "--output"}),
        ("du", {"paths": ["-a"]}),
    ],
)
async def test_a_leading_dash_is_refused(bench: Bench, tool: str, inputs: dict[str, Any]) -> None:
    refused(await bench.run(tool, None, inputs))


@pytest.mark.parametrize("path", ["-delete", "(", "!", "-exec", ","])
async def test_find_takes_no_expression_for_a_folder(bench: Bench, path: str) -> None:
    result = await bench.run("find", "search", {"paths": [path]})
    assert result.error is not None
    assert result.error.code in ("input_invalid", "option_like_argument")
    assert "stdout" not in result.output


async def test_df_gives_bytes_of_the_file_system_that_holds_a_path(bench: Bench, tmp_path: Path) -> None:
    [row] = data(await bench.run("df", "usage", {"path": str(tmp_path)}))
    system = os.statvfs(tmp_path)
    assert row["total"] == system.f_blocks * system.f_frsize
    assert tmp_path.is_relative_to(row["mounted_on"])
    assert 0 <= row["use_percent"] <= 100
    assert shutil.disk_usage(tmp_path).free == pytest.approx(row["available"], rel=0.05)


async def test_df_counts_inodes(bench: Bench, tmp_path: Path) -> None:
    [row] = data(await bench.run("df", "inodes", {"path": str(tmp_path)}))
    assert row["total"] == os.statvfs(tmp_path).f_files


async def test_df_leaves_out_types(bench: Bench) -> None:
    everything = data(await bench.run("df", "usage"))
    [kind, *_] = {row["type"] for row in everything}
    rest = data(await bench.run("df", "usage", {"exclude_types": [kind]})) if len(everything) > 1 else []
    assert kind not in {row["type"] for row in rest}
    assert {row["type"] for row in data(await bench.run("df", "usage", {"types": [kind]}))} == {kind}


async def test_df_of_a_missing_path_fails_with_its_words(bench: Bench, tmp_path: Path) -> None:
    says(await bench.run("df", "usage", {"path": str(tmp_path / "absent")}), "No such file or directory")


async def test_du_counts_bytes_of_folders(bench: Bench, folder: Path) -> None:
    inputs = {"paths": [str(folder)], "apparent_size": True, "depth": 1}
    before = {row["path"]: row["size"] for row in data(await bench.run("du", "usage", inputs))}
    assert set(before) == {str(folder), f"{folder}/sub"}
    with (folder / "sub" / "a b.txt").open("ab") as file:
        file.write(b"x" * 100_000)
    after = {row["path"]: row["size"] for row in data(await bench.run("du", "usage", inputs))}
    assert {path: after[path] - before[path] for path in before} == {str(folder): 100_000, f"{folder}/sub": 100_000}


async def test_du_leaves_out_names_and_small_folders(bench: Bench, folder: Path) -> None:
    inputs = {"paths": [str(folder)], "depth": 3, "larger_than_bytes": 10**12}
    assert data(await bench.run("du", "usage", inputs)) == []
    plain = data(await bench.run("du", "usage", {"paths": [str(folder)]}))
    without = data(await bench.run("du", "usage", {"paths": [str(folder)], "exclude": ["*.log"]}))
    assert without[0]["size"] < plain[0]["size"]


async def test_du_of_a_missing_folder_fails_with_its_words(bench: Bench, tmp_path: Path) -> None:
    says(await bench.run("du", "usage", {"paths": [str(tmp_path / "absent")]}), "No such file or directory")


async def test_find_gives_each_file_with_typed_values(bench: Bench, folder: Path) -> None:
    [row] = data(await bench.run("find", "search", {"paths": [str(folder)], "name": "*.log"}))
    assert row == {
        "path": f"{folder}/report.log",
        "kind": "file",
        "size": 1234,
        "modified": to_rfc3339(MOMENT),
        "mode": "0640",
        "owner": pwd.getpwuid(os.geteuid()).pw_name,
        "group": row["group"],
    }


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"kind": "d"}, {"", "/sub"}),
        ({"kind": "l"}, {"/link"}),
        ({"name_ignore_case": "REPORT*"}, {"/report.log"}),
        ({"kind": "f", "larger_than_bytes": 1233}, {"/report.log"}),
        ({"kind": "f", "smaller_than_bytes": 1234}, {"/sub/a b.txt", "/.hidden"}),
        ({"kind": "f", "older_than_days": 1}, {"/report.log"}),
        ({"kind": "f", "newer_than_minutes": 60}, {"/sub/a b.txt", "/.hidden"}),
        ({"kind": "f", "empty": True}, {"/.hidden"}),
        ({"kind": "f", "max_depth": 1}, {"/report.log", "/.hidden"}),
        ({"kind": "f", "exclude": "*/sub/*", "mode_bits": "0200"}, {"/report.log", "/.hidden"}),
        ({"name": "nothing-has-this-name"}, set()),
    ],
)
async def test_find_filters(bench: Bench, folder: Path, filters: dict[str, Any], expected: set[str]) -> None:
    rows = data(await bench.run("find", "search", {"paths": [str(folder)], **filters}))
    assert {row["path"].removeprefix(str(folder)) for row in rows} == expected


async def test_find_says_what_a_socket_is(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        [row] = data(await bench.run("find", "search", {"paths": [str(tmp_path)], "kind": "s"}))
    assert (row["path"], row["kind"]) == (f"{tmp_path}/s", "socket")


async def test_find_of_a_missing_folder_or_user_fails_with_its_words(bench: Bench, tmp_path: Path) -> None:
    says(await bench.run("find", "search", {"paths": [str(tmp_path / "absent")]}), "No such file or directory")
    inputs = {"paths": [str(tmp_path)], "owner": "no-such-user-here"}
    says(await bench.run("find", "search", inputs), "not the name of a known user")
