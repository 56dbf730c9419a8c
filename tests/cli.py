"""The real `opsconductor` command in processes of its own: what the acceptance tests drive, as a person would.

A `Home` is one state folder with an environment; nothing of the caller's own settings reaches the command.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

PROGRAM = Path(sys.executable).with_name("opsconductor")
ROOT = Path(__file__).parent.parent
_URL = re.compile(r"https?://[^\s;]+")
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
READY_S = 30.0


class Result:
    """How a command ended."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.raw_out = code, out
        self.out, self.err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.raw_out)

    @property
    def problems(self) -> list[dict[str, Any]]:
        """The problems of a refusal that was printed as JSON."""
        found: list[dict[str, Any]] = self.json["error"]["context"].get("problems", [])
        return found

    def __repr__(self) -> str:
        return f"exit code {self.code}\nstdout: {self.out[-3000:]}\nstderr: {self.err[-3000:]}"


class Home:
    """One state folder. `env` are settings for every command that works with it."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.folder, self.env = folder, env

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a command gets: a few names of ours, and the settings."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {**kept, "OPSCONDUCTOR_HOME": str(self.folder), **self.env, **(env or {})}

    def run(
        self,
        *args: str | bytes | Path,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run one command to its end. Raises TimeoutExpired for one that hangs."""
        done = subprocess.run(
            [PROGRAM, *args],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            env=self.environment(env),
            cwd=cwd,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own; the caller ends it."""
        return subprocess.Popen(
            [PROGRAM, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(env),
            process_group=0,
        )

    @contextmanager
    def serving(self, *args: str, env: Mapping[str, str] | None = None, ready: bool = True) -> Iterator[Server]:
        """`up` or `serve …` on a free port, ready when this is entered, ended by SIGTERM afterwards."""
        server = Server(self.start(*args, "--port", "0", env=env))
        try:
            server.url = server.announced_url()
            if ready:
                server.wait_ready()
            yield server
        finally:
            server.end()

    def plan(self, name: str, text: str | bytes) -> Path:
        """Write a plan beside the state folder."""
        path = self.folder.parent / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    @property
    def token(self) -> str:
        """The service token that lies in the state folder."""
        return (self.folder / "service-token").read_text().strip()

    def history(self) -> list[dict[str, Any]]:
        """`executions list`, newest first."""
        rows: list[dict[str, Any]] = self.run("executions", "list", "--limit", "999", "--json").json["executions"]
        return rows


class Server:
    """A running `up` or `serve`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.url = ""
        self._lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._said:
                self._lines.append(line.decode("utf-8", "replace"))
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    @property
    def log(self) -> str:
        """Everything it wrote to standard error so far."""
        return "".join(self._lines)

    def announced_url(self) -> str:
        """The URL that it says; AssertionError with its words when it ends or stays silent."""
        deadline = monotonic() + READY_S
        with self._said:
            while True:
                if found := _URL.search(self.log):
                    return found.group()
                assert self.process.poll() is None, f"the server ended: {self.log}"
                assert self._said.wait(deadline - monotonic()), f"the server said no URL: {self.log}"

    def wait_ready(self) -> None:
        """Wait until `GET /ready` answers 200."""
        deadline = monotonic() + READY_S
        while (status := http(self.url, "/ready")[0]) != 200:
            assert self.process.poll() is None and monotonic() < deadline, f"not ready ({status}): {self.log}"

    def end(self) -> int:
        """End it as an operator does; kill it when that does not help within ten seconds."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(5)
            for pipe in (self.process.stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()
        return code


def http(
    url: str, path: str, body: Any = None, *, token: str | None = None, timeout_s: float = 30.0, **headers: str
) -> tuple[int, bytes]:
    """One request by the standard library's client, as a stranger's program would send it: status and body."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        sent["Content-Type"] = "application/json"
    request = urllib.request.Request(url + path, data=data, headers=sent)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


def finish(process: subprocess.Popen[bytes], timeout_s: float = 30.0) -> Result:
    """Wait for a command that was started."""
    out, err = process.communicate(timeout=timeout_s)
    return Result(process.returncode, out or b"", err or b"")


def alive(marker: str) -> list[int]:
    """Processes whose command line holds `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def descendants(pid: int) -> list[int]:
    """A process and everything below it."""
    try:
        direct = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(below for child in direct for below in descendants(int(child)))]


def runs(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be counted by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
