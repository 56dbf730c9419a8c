"""The parsers of automation-service on texts that programs wrote, odd ones above all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.services.automation.parsers import PARSERS
from opsconductor.services.kit.parsing import TEXT_PARSERS, known_parser, parse

FILE_NAME = st.text(
    st.characters(exclude_characters="/\0\r", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", ".."))
C_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}

TOP = """top - 12:54:29 up 46 min,  0 user,  load average: 1.95, 1.28, 0.75
Tasks:   2 total,   1 running,   1 sleeping,   0 stopped,   0 zombie
%Cpu(s): 12.5 us,  2.5 sy,  0.0 ni,85.0 id,  0.0 wa,  0.0 hi,  0.0 si,  0.0 st
KiB Mem : 24684084 total, 22580016 free,  1210952 used,  1209724 buff/cache
KiB Swap:     1024 total,      512 free,      512 used. 23473132 avail Mem

  PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND
21317 root      20   0    1.5t 100056   2.5m R 125.0   0.4   1:05.72 python -u x
   12 postgres+ rt -20       0      0      0 S   0.0   0.0  12,34:5
"""
PS = (
    "   42    1 12.5  0.1  1000  2000    3     600      75 www-data "
    + " " * 56
    + "S<Ll Mon Nov  2 12:08:06 2026 "
    + "tmux: server".ljust(64)
    + " /usr/bin/tmux  -L main \n"
)


def quoted(name: str) -> str:
    return '"' + "".join(C_ESCAPES.get(char, char) for char in name) + '"'


def ls_line(name: str, rest: str = "") -> str:
    return f"-rw-r-----  1 ada staff   1234 2026-01-02T03:04:05.678901234+02:00 {quoted(name)}{rest}\n"


def test_every_parser_has_a_name_of_its_own_that_definitions_can_use() -> None:
    assert not PARSERS.keys() & TEXT_PARSERS.keys()
    assert all(known_parser(name, PARSERS) for name in PARSERS)


@pytest.mark.parametrize("name", sorted(PARSERS))
@pytest.mark.parametrize("text", ["", "\n", "\t", "::", "1", "\0", "x" * 10_000, "a b c\n" * 3, "\\", '"', "é\n\ud7ff"])
def test_no_text_makes_a_parser_do_anything_but_answer_or_refuse(name: str, text: str) -> None:
    parsed = parse(name, text, extra=PARSERS)
    assert parsed.error is None or parsed.error.startswith(name)
    json.dumps(parsed.data, allow_nan=False)


# short texts


def test_one_line_is_a_text_and_several_are_not() -> None:
    assert PARSERS["line"]("web-1\n") == "web-1"
    with pytest.raises(ValueError, match="found 2 lines, expected one"):
        PARSERS["line"]("a\nb\n")
    assert PARSERS["text"](" a\n") == " a\n"
    assert PARSERS["words"]("10.0.0.1 fd00::2 \n") == ["10.0.0.1", "fd00::2"]


def test_keys_of_pairs_become_names() -> None:
    text = "Distributor ID:\tDebian\nDescription:\tDebian GNU/Linux 12: bookworm\nEmpty:\n"
    expected = {"distributor_id": "Debian", "description": "Debian GNU/Linux 12: bookworm", "empty": ""}
    assert PARSERS["pairs"](text) == expected
    with pytest.raises(ValueError, match="line 1: expected 'key: value'"):
        PARSERS["pairs"]("No LSB modules are available")


def test_counts_keep_the_blanks_of_their_lines() -> None:
    text = "      2 a b\n     12   c\n      1 \n3\tx\ty\n"
    assert PARSERS["count_rows"](text) == [
        {"count": 2, "value": "a b"},
        {"count": 12, "value": "  c"},
        {"count": 1, "value": ""},
        {"count": 3, "value": "x\ty"},
    ]
    with pytest.raises(ValueError, match="line 1"):
        PARSERS["count_rows"]("a b\n")


@given(st.lists(st.lists(st.text(st.characters(exclude_characters="\n\r"), max_size=8), min_size=1), max_size=5))
def test_tab_rows_give_back_what_was_escaped(rows: list[list[str]]) -> None:
    escaped = [[field.replace("\\", "\\\\").replace("\t", "\\t") for field in row] for row in rows]
    assert PARSERS["tab_rows"]("".join("\t".join(row) + "\n" for row in escaped)) == rows


def test_a_time_in_utc_is_rfc_3339() -> None:
    assert PARSERS["utc_time"]("2026-11-23 12:08:07\n") == "2026-11-23T12:08:07.000000Z"
    with pytest.raises(ValueError, match="does not match"):
        PARSERS["utc_time"]("yesterday")


# files


@given(st.lists(FILE_NAME, max_size=5))
def test_ls_gives_back_every_name(names: list[str]) -> None:
    text = "total 8\n" + "".join(map(ls_line, names))
    assert [row["name"] for row in PARSERS["ls_rows"](text)] == names


def test_ls_rows_have_bytes_and_utc_times() -> None:
    [row] = PARSERS["ls_rows"](ls_line("a", ' -> "b c"'))
    assert row == {
        "name": "a",
        "folder": None,
        "kind": "file",
        "mode": "0640",
        "links": 1,
        "owner": "ada",
        "group": "staff",
        "size": 1234,
        "modified": "2026-01-02T01:04:05.678901Z",
        "target": "b c",
    }


def test_ls_names_the_folder_of_each_file() -> None:
    text = f'"a\\nb":\ntotal 4\n{ls_line("x")}\n"c":\ntotal 0\n{ls_line("y")}'
    assert [(row["folder"], row["name"]) for row in PARSERS["ls_rows"](text)] == [("a\nb", "x"), ("c", "y")]


@pytest.mark.parametrize(
    ("mode", "octal"),
    [
        ("drwxrwxrwt", "1777"),
        ("-rwsr-xr-x", "4755"),
        ("-rwSr-Sr-T", "7644"),
        ("----------", "0000"),
        ("-rw-r--r--+", "0644"),
    ],
)
def test_ls_modes_are_octal(mode: str, octal: str) -> None:
    [row] = PARSERS["ls_rows"](f'{mode} 1 a b 0 2026-01-02T03:04:05.0+00:00 "x"\n')
    assert row["mode"] == octal


def test_ls_knows_devices_bytes_that_are_no_text_and_what_it_could_not_look_at() -> None:
    text = (
        'crw-rw-rw- 1 root root 1, 3 2026-01-02T03:04:05.0+00:00 "null"\n'
        '-rw-r--r-- 1 1000 domain users 7 2026-01-02T03:04:05.0+00:00 "bad\\377"\n'
        '-????????? ? ?    ?    ?    ? "gone"\n'
    )
    device, odd, gone = PARSERS["ls_rows"](text)
    assert (device["kind"], device["size"]) == ("character_device", None)
    assert (odd["owner"], odd["group"], odd["name"]) == ("1000", "domain users", "bad�")
    assert [gone[key] for key in ("name", "mode", "links", "size", "modified")] == ["gone", None, None, None, None]


@given(st.lists(FILE_NAME, min_size=1, max_size=4), st.sampled_from(["/srv", "/", "/srv//", "x"]))
def test_find_gives_back_every_name(names: list[str], start: str) -> None:
    text = "".join(f"f\t7\t1767323045.678901234\t644\tada\tstaff\t{start}\t{name}//\n" for name in names)
    rows = PARSERS["find_rows"](text)
    joint = "" if start.endswith("/") else "/"
    assert [row["path"] for row in rows] == [f"{start}{joint}{name}" for name in names]
    assert rows[0] == {**rows[0], "kind": "file", "size": 7, "mode": "0644", "modified": "2026-01-02T03:04:05.678901Z"}


def test_find_refuses_rows_that_were_cut() -> None:
    with pytest.raises(ValueError, match="the last row is not complete"):
        PARSERS["find_rows"]("f\t7\t1767323045.6\t644\tada\tstaff\t/srv\tx")
    with pytest.raises(ValueError, match="row 1 has 2 fields"):
        PARSERS["find_rows"]("f\t7//\n")


def test_a_file_from_a_time_without_a_date_does_not_hide_the_others() -> None:
    listed = PARSERS["ls_rows"]('-rw-r--r-- 1 a b 0 12026-01-02T03:04:05.0+00:00 "x"\n' + ls_line("y"))
    assert [row["modified"] for row in listed] == [None, "2026-01-02T01:04:05.678901Z"]
    found = PARSERS["find_rows"]("f\t7\t999999999999.5\t644\tada\tstaff\t/srv\tx//\n")
    assert found[0]["modified"] is None


def test_df_columns_are_numbers_or_unknown() -> None:
    text = (
        "Filesystem     Type  1B-blocks   Used  Avail Use% Mounted on\n"
        "//nas/my share cifs       1000    250    700  27% /mnt/my share\n"
        "fuse           fuse          -      -      -    - /run/fuse\n"
        "/dev/sda1      ext4       1000   1000    -50 106% /\n"
    )
    share, fuse, full = PARSERS["df_rows"](text)
    assert share == {
        "filesystem": "//nas/my share",
        "type": "cifs",
        "total": 1000,
        "used": 250,
        "available": 700,
        "use_percent": 27,
        "mounted_on": "/mnt/my share",
    }
    assert [fuse[key] for key in ("total", "used", "available", "use_percent")] == [None] * 4
    assert (full["available"], full["use_percent"]) == (-50, 106)
    with pytest.raises(ValueError, match="line 2: expected seven columns"):
        PARSERS["df_rows"]("header\n/dev/sda1 ext4\n")


def test_du_keeps_names_whole() -> None:
    assert PARSERS["du_rows"]("4096\t/srv/a\nb\n12\t/srv/c d\n") == [
        {"path": "/srv/a\nb", "size": 4096},
        {"path": "/srv/c d", "size": 12},
    ]
    with pytest.raises(ValueError, match="line 1"):
        PARSERS["du_rows"]("nothing\n")


def test_grep_lines_are_told_from_names_with_digits_and_dashes() -> None:
    text = "app-2024-01-01.log: 2:\t\ttwo\napp-2024-01-01.log-13-\tthree-1-x\n--\nb:5:x: 7:\ny: 8:\t:9:\t\n"
    rows = PARSERS["grep_rows"](text)
    assert [(row["path"], row["line"], row["text"], row["match"]) for row in rows] == [
        ("app-2024-01-01.log", 2, "\ttwo", True),
        ("app-2024-01-01.log", 13, "three-1-x", False),
        ("b:5:x", 7, "", True),
        ("y", 8, ":9:\t", True),
    ]
    assert PARSERS["path_counts"]("a:1:0\nb:12\n") == [{"path": "a:1", "count": 0}, {"path": "b", "count": 12}]


# processes and users


def test_ps_rows_have_bytes_seconds_and_utc_times() -> None:
    assert PARSERS["ps_rows"](PS) == [
        {
            "pid": 42,
            "ppid": 1,
            "cpu_percent": 12.5,
            "memory_percent": 0.1,
            "resident_bytes": 1_024_000,
            "virtual_bytes": 2_048_000,
            "threads": 3,
            "elapsed_s": 600,
            "cpu_time_s": 75,
            "user": "www-data",
            "state": "S<Ll",
            "started_at": "2026-11-02T12:08:06.000000Z",
            "program": "tmux: server",
            "command": "/usr/bin/tmux  -L main",
        }
    ]
    with pytest.raises(ValueError, match="line 1: expected 18 columns"):
        PARSERS["ps_rows"]("1 2 3\n")


def test_a_process_that_ps_takes_for_older_than_a_century_has_just_begun() -> None:
    [row] = PARSERS["ps_rows"](PS.replace(" 600 ", " 4123168608 "))
    assert row["elapsed_s"] == 0


def test_a_program_name_that_fills_its_column_does_not_take_the_command_along() -> None:
    long = PS.replace("tmux: server".ljust(64), "k" * 70)
    [row] = PARSERS["ps_rows"](long)
    assert (row["program"], row["command"]) == ("k" * 70, "/usr/bin/tmux  -L main")


def test_pgrep_rows_may_lack_a_command() -> None:
    assert PARSERS["pid_rows"]("12 sleep 5\n13\n14 \n") == [
        {"pid": 12, "command": "sleep 5"},
        {"pid": 13, "command": ""},
        {"pid": 14, "command": ""},
    ]


def test_top_frames_have_bytes_and_seconds() -> None:
    first, second = PARSERS["top_frames"](TOP + "\n" + TOP)
    assert first == second
    assert (first["load_1m"], first["load_15m"]) == (1.95, 0.75)
    assert first["tasks"] == {"total": 2, "running": 1, "sleeping": 1, "stopped": 0, "zombie": 0}
    assert (first["cpu_percent"]["user"], first["cpu_percent"]["idle"]) == (12.5, 85.0)
    assert first["memory_bytes"] == {
        "total": 24684084 * 1024,
        "free": 22580016 * 1024,
        "used": 1210952 * 1024,
        "cached": 1209724 * 1024,
        "available": 23473132 * 1024,
    }
    assert first["swap_bytes"] == {"total": 1024**2, "free": 512 * 1024, "used": 512 * 1024}
    python, kernel = first["processes"]
    assert python == {
        "pid": 21317,
        "user": "root",
        "priority": 20,
        "nice": 0,
        "virtual_bytes": round(1.5 * 1024**4),
        "resident_bytes": 100056 * 1024,
        "shared_bytes": round(2.5 * 1024**2),
        "state": "R",
        "cpu_percent": 125.0,
        "memory_percent": 0.4,
        "cpu_time_s": 65.72,
        "command": "python -u x",
    }
    assert (kernel["priority"], kernel["cpu_time_s"], kernel["command"]) == (None, None, "")


@pytest.mark.parametrize("text", ["PID USER\n", "top - 12:00:00 up\n", TOP.replace("PID USER", "PID"), TOP + "1 x\n"])
def test_what_is_not_from_top_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        PARSERS["top_frames"](text)


def test_an_identity_has_numbers_and_names() -> None:
    text = "uid=1000(EX\\ada b) gid=100 groups=100,27(sudo),513(domain users, all) context=user_u:user_r:t:s0\n"
    assert PARSERS["identity"](text) == {
        "uid": {"id": 1000, "name": "EX\\ada b"},
        "gid": {"id": 100, "name": None},
        "groups": [
            {"id": 100, "name": None},
            {"id": 27, "name": "sudo"},
            {"id": 513, "name": "domain users, all"},
        ],
        "context": "user_u:user_r:t:s0",
    }
    for wrong in ("uid=root", "gid=0(root)", ""):
        with pytest.raises(ValueError, match="expected"):
            PARSERS["identity"](wrong)
