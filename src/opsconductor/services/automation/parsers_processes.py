"""Parsers of what programs say about processes and users: ps, pgrep, top, id. Pure.

Named in `services.automation.parsers`. Sizes are bytes, durations seconds, times RFC 3339 in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from opsconductor.model.clock import to_rfc3339
from opsconductor.services.kit.parsers_text import parse_lines

_CENTURY_S = 100 * 366 * 86_400


def _elapsed(word: str) -> int:
    """Seconds since a start. procps reckons with unsigned numbers: a start that its clocks put a moment into the future
    comes out as more than a century, and is a process that has just begun.
    """
    seconds = int(word)
    return seconds if seconds < _CENTURY_S else 0


_PS_NUMBERS: tuple[tuple[str, Callable[[str], float], int], ...] = (
    ("pid", int, 1),
    ("ppid", int, 1),
    ("cpu_percent", float, 1),
    ("memory_percent", float, 1),
    ("resident_bytes", int, 1024),
    ("virtual_bytes", int, 1024),
    ("threads", int, 1),
    ("elapsed_s", _elapsed, 1),
    ("cpu_time_s", int, 1),
)
_PROGRAM_WIDTH = 64
_PID_ROW = re.compile(r"(\d+)(?: (.*))?")
_IDENTITY_FIELD = re.compile(r" (?=(?:gid|euid|egid|groups|context)=)")
_IDENTITY = re.compile(r"(\d+)(?:\((.*?)\))?(?:,(?=\d+(?:\(|,|$))|$)")
_LOAD = re.compile(r"load average: ([\d.]+), ([\d.]+), ([\d.]+)")
_SUMMARY = re.compile(r"(\d+(?:\.\d+)?)[ +](\w[\w/]*(?: Mem)?)")
_CPU_NAMES = {
    "us": "user",
    "sy": "system",
    "ni": "nice",
    "id": "idle",
    "wa": "wait",
    "hi": "hardware_interrupts",
    "si": "software_interrupts",
    "st": "steal",
}
_MEMORY_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_TASK_UNITS = {"m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}


def _split_program(rest: str) -> tuple[str, str]:
    """The padded column of the program's name, and the command line after it."""
    padded, command = rest[:_PROGRAM_WIDTH], rest[_PROGRAM_WIDTH:]
    if command and not command.startswith(" "):
        program, _, command = rest.partition(" ")
        return program, command.strip()
    return padded.rstrip(), command[1:].rstrip()


def _ps_row(line: str) -> dict[str, Any]:
    """The columns of `parse_ps_rows`, of which the last two may contain blanks."""
    *words, rest = line.split(maxsplit=16)
    if len(words) != 16:
        raise ValueError("expected 18 columns")
    numbers, user, state, started = words[:9], words[9], words[10], " ".join(words[11:])
    moment = datetime.strptime(started, "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    program, command = _split_program(rest)
    values = {name: kind(word) * factor for (name, kind, factor), word in zip(_PS_NUMBERS, numbers, strict=True)}
    return {
        **values,
        "user": user,
        "state": state,
        "started_at": to_rfc3339(moment),
        "program": program,
        "command": command,
    }


def parse_ps_rows(text: str) -> list[dict[str, Any]]:
    """One object a process, from these columns of procps' ps without a header, with TZ=UTC.

    `pid=,ppid=,pcpu=,pmem=,rss=,vsz=,nlwp=,etimes=,cputimes=,user:64=,stat=,lstart=,comm:64=,args=`
    """
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        try:
            rows.append(_ps_row(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return rows


def parse_pid_rows(text: str) -> list[dict[str, Any]]:
    """`<pid> <command line>` a line, as `pgrep --list-full` writes it."""
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        match = _PID_ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected a process number and a command")
        rows.append({"pid": int(match.group(1)), "command": match.group(2) or ""})
    return rows


def parse_identity(text: str) -> dict[str, Any]:
    """`uid=0(root) gid=0(root) groups=0(root)`: each as id and name (null when it has none), groups as a list."""
    identity: dict[str, Any] = {}
    for field in _IDENTITY_FIELD.split(text.strip()):
        key, _, value = field.partition("=")
        if key == "context":
            identity[key] = value
            continue
        entries = [{"id": int(number), "name": name or None} for number, name in _IDENTITY.findall(value)]
        if not entries:
            raise ValueError(f"found {field[:40]!r}, expected a number and a name")
        identity[key] = entries if key == "groups" else entries[0]
    if not identity.keys() >= {"uid", "gid"}:
        raise ValueError("expected uid= and gid=")
    return identity


def _numbers(line: str) -> dict[str, float]:
    """`12 total, 3.5 free` by name. The last name of top's swap line is `avail Mem`."""
    return {name: float(number) for number, name in _SUMMARY.findall(line.partition(":")[2])}


def _memory(line: str) -> dict[str, int]:
    """`KiB Mem : 10 total, 5 free, 5 used, 0 buff/cache` in bytes."""
    unit = _MEMORY_UNITS[line.split(maxsplit=1)[0]]
    names = {"buff/cache": "cached", "avail Mem": "available"}
    return {names.get(name, name): int(number * unit) for name, number in _numbers(line).items()}


def _task_bytes(word: str) -> int:
    """A size column of `top -e k`: KiB, or another unit where the number would be too wide."""
    unit = _TASK_UNITS.get(word[-1:])
    return int(word) * 1024 if unit is None else round(float(word[:-1]) * unit)


def _cpu_seconds(word: str) -> float | None:
    """`12:34.56` (minutes, seconds); null for the forms in which top shows very long times."""
    match = re.fullmatch(r"(\d+):(\d\d(?:\.\d\d)?)", word)
    return None if match is None else round(int(match.group(1)) * 60 + float(match.group(2)), 2)


def _top_process(line: str) -> dict[str, Any]:
    words = line.split(maxsplit=11)
    if len(words) < 11:
        raise ValueError(f"found {line[:60]!r}, expected twelve columns")
    pid, user, priority, nice, virtual, resident, shared, state, cpu, memory, time, *command = words
    return {
        "pid": int(pid),
        "user": user,
        "priority": None if priority == "rt" else int(priority),
        "nice": int(nice),
        "virtual_bytes": _task_bytes(virtual),
        "resident_bytes": _task_bytes(resident),
        "shared_bytes": _task_bytes(shared),
        "state": state,
        "cpu_percent": float(cpu),
        "memory_percent": float(memory),
        "cpu_time_s": _cpu_seconds(time),
        "command": command[0].rstrip() if command else "",
    }


def _top_frame(lines: list[str]) -> dict[str, Any]:
    load = _LOAD.search(lines[0])
    header = next((place for place, line in enumerate(lines) if line.split()[:2] == ["PID", "USER"]), None)
    if load is None or header is None:
        raise ValueError("expected a summary with the load, and a table of processes")
    frame: dict[str, Any] = dict(zip(("load_1m", "load_5m", "load_15m"), map(float, load.groups()), strict=True))
    for line in lines[1:header]:
        if line.startswith("Tasks:"):
            frame["tasks"] = {name: int(number) for name, number in _numbers(line).items()}
        elif line.startswith("%Cpu"):
            frame["cpu_percent"] = {_CPU_NAMES.get(name, name): number for name, number in _numbers(line).items()}
        elif " Mem :" in line:
            frame["memory_bytes"] = _memory(line)
        elif " Swap:" in line:
            swap = _memory(line)
            frame.setdefault("memory_bytes", {})["available"] = swap.pop("available", None)
            frame["swap_bytes"] = swap
    frame["processes"] = [_top_process(line) for line in lines[header + 1 :] if line.strip()]
    return frame


def parse_top_frames(text: str) -> list[dict[str, Any]]:
    """`top -b -E k -e k`: one object an iteration: load, tasks, CPU and memory of the machine, and its processes."""
    frames: list[list[str]] = []
    for line in parse_lines(text):
        if line.startswith("top - "):
            frames.append([line])
        elif frames:
            frames[-1].append(line)
        elif line.strip():
            raise ValueError("expected a line that begins with 'top - '")
    return [_top_frame(lines) for lines in frames]
