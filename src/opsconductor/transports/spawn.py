"""Starting one local process: what must hold before, the start itself, and why it was refused.

Returns pipes and a pidfd; waits for nothing. Called by `running`. Uses subprocess.Popen for its fork_exec alone: with
no change of user and no limits that is vfork(2), whose cost does not grow with the memory of this process.
"""

from __future__ import annotations

import errno
import functools
import os
import pwd
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.transports.base import CommandRequest, ProcessLimits

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StartedProcess(msgspec.Struct, frozen=True):
    """A process that runs, and our ends of its pipes (non-blocking). `stdin_fd` is -1 when it reads /dev/null."""

    pid: int
    pidfd: int
    stdin_fd: int
    stdout_fd: int
    stderr_fd: int


def find_program(name: str, path: str, cwd: Path | None) -> str:
    """The absolute path of a program: `name` itself when it has a '/', else the first executable file on `path`.

    Relative folders on `path` are passed over: what runs must not depend on where we stand.
    Raises OpsError: `program_not_found`, or `program_not_startable` for a file that may not be executed.
    """
    if "/" in name:
        candidates = [name if name.startswith("/") else str((cwd or Path.cwd()) / name)]
        where = "that file does not exist"
    else:
        candidates = [f"{folder}/{name}" for folder in path.split(":") if folder.startswith("/")]
        where = f"it is in none of the folders of PATH ({path})"
    for file in candidates:
        if os.access(file, os.X_OK) and os.path.isfile(file):  # noqa: PTH113 - one stat, no object
            return file
    files = [candidate for candidate in candidates if os.path.isfile(candidate)]  # noqa: PTH113
    if files:
        raise _refused(name, f"{files[0]} is not executable for this user: chmod +x it, or name another program")
    raise OpsError(
        "program_not_found",
        f"program {name!r} was not found: {where}; install it where the step runs, or correct the name",
        program=name,
        path=path,
    )


def start(request: CommandRequest, env: dict[str, str]) -> StartedProcess:
    """Start the request's program in its own session with `env`.

    Raises OpsError: `program_not_found`, `program_not_startable`, `working_directory_invalid`.
    """
    _check_text(request.argv, env)
    _check_directory(request.cwd)
    name = request.argv[0]
    program = find_program(name, env.get("PATH", _DEFAULT_PATH), request.cwd)
    try:
        return _start(request, program, {**_identity(request), "env": env, "cwd": request.cwd})
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise _refused(name, _reason(error, program, request.argv)) from error


def _start(request: CommandRequest, program: str, options: dict[str, Any]) -> StartedProcess:
    ours: list[int] = []
    theirs: list[int] = []
    try:
        stdin = _nothing() if request.stdin is None else _pipe(theirs, ours)[0]
        process = subprocess.Popen(
            request.argv,
            executable=program,
            stdin=stdin,
            stdout=_pipe(ours, theirs)[1],
            stderr=_pipe(ours, theirs)[1],
            start_new_session=True,
            preexec_fn=_limiter(request.limits),  # noqa: PLW1509 - None unless limits are asked for
            **options,
        )
        # We wait by pidfd and waitid; Popen shall neither warn that nobody did, nor wait itself.
        process.returncode = 0
        pidfd = _watched(process.pid)
    except BaseException:
        _close(ours)
        raise
    finally:
        _close(theirs)
    for fd in ours:
        os.set_blocking(fd, False)
    stdin_fd = -1 if request.stdin is None else ours.pop(0)
    return StartedProcess(process.pid, pidfd, stdin_fd, *ours)


@functools.cache
def _nothing() -> int:
    """/dev/null to read from, opened once: what subprocess.DEVNULL opens and closes at every start."""
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def _pipe(readers: list[int], writers: list[int]) -> tuple[int, int]:
    """A pipe whose ends are noted by their owners. Both are close-on-exec: no other command inherits them."""
    read_fd, write_fd = os.pipe()
    readers.append(read_fd)
    writers.append(write_fd)
    return read_fd, write_fd


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _watched(pid: int) -> int:
    """A pidfd of a process just started; without one it cannot be watched and is ended."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _check_text(argv: tuple[str, ...], env: dict[str, str]) -> None:
    """What the kernel cannot be handed: it would be cut at the NUL, or be taken for another variable."""
    if not argv or not argv[0]:
        raise _refused("", "the argument list is empty; its first element names the program")
    for index, text in enumerate(argv):
        if "\0" in text:
            raise _refused(argv[0], f"argument {index} contains a NUL byte; remove it")
    for name, value in env.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise _refused(
                argv[0], f"environment variable {name!r}: a name has no '=', and neither part has a NUL byte"
            )


def _check_directory(cwd: Path | None) -> None:
    if cwd is None:
        return
    if not os.path.isdir(cwd):  # noqa: PTH112 - unlike Path.is_dir, False for every kind of refusal
        reason = "there is no such directory, or one above it is closed to this user"
    elif not os.access(cwd, os.X_OK):
        reason = "it is closed to this user"
    else:
        return
    raise OpsError(
        "working_directory_invalid",
        f"working directory {str(cwd)!r}: {reason}; create it, open it or name another",
        cwd=str(cwd),
    )


def _identity(request: CommandRequest) -> dict[str, Any]:
    """Options that start as another user with that user's groups; none when it is the one we are."""
    if request.user is None:
        return {}
    try:
        entry = pwd.getpwuid(int(request.user)) if request.user.isdecimal() else pwd.getpwnam(request.user)
    except (KeyError, OverflowError) as error:
        raise _refused(request.argv[0], f"user {request.user!r} does not exist on this machine") from error
    if entry.pw_uid == os.geteuid():
        return {}
    if os.geteuid() != 0:
        raise _refused(
            request.argv[0],
            f"only root may start programs as another user: we are uid {os.geteuid()}, asked for {request.user!r}",
        )
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


def _limiter(limits: ProcessLimits) -> Callable[[], None] | None:
    """A function that limits the new process before its program runs, or None when nothing is limited.

    prlimit(2) after the start would come too late for what the program has done or forked until then.
    """
    asked = {
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: limits.file_size_bytes,
    }
    wanted = [(kind, _within_hard(kind, value)) for kind, value in asked.items() if value is not None]
    if not wanted:
        return None

    def apply() -> None:
        for kind, value in wanted:
            resource.setrlimit(kind, (value, value))

    return apply


def _within_hard(kind: int, value: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _reason(error: Exception, program: str, argv: tuple[str, ...]) -> str:
    """What the operating system's refusal means and what to do."""
    number = error.errno if isinstance(error, OSError) else None
    known = {
        errno.ENOEXEC: f"{program} is no program of this machine's kind, and no script with a #! line",
        errno.ENOENT: f"the interpreter that {program} asks for (its #! line or its loader) does not exist",
        errno.EACCES: f"{program} may not be executed (file permissions, its folder, or a noexec mount)",
        errno.E2BIG: f"{len(argv)} arguments of {sum(map(len, argv))} characters are too long for the kernel; "
        "one may have 131,071 bytes; pass long data through stdin or a file",
        errno.EMFILE: "too many files are open in this service; raise its limit or run fewer commands at once",
        errno.EAGAIN: "the limit of processes is reached",
        errno.ENOMEM: "there is not enough memory",
    }
    return known.get(number or 0, f"{program}: {error}")


def _refused(name: str, reason: str) -> OpsError:
    return OpsError("program_not_startable", f"program {name!r} could not be started: {reason}", program=name)
