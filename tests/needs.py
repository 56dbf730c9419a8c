"""What a test needs from the machine. Absent: a failure in CI, elsewhere a skip that says how to get it."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str | None = None) -> str:
    """Return the path of a program, or end the test."""
    path = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path:
        return path
    return absent(f"program {name!r} is not installed", f"apt-get install {package or name}")


def root() -> None:
    """End the test unless it runs as root."""
    if os.geteuid() != 0:
        absent("needs root", "run the tests as root")


def absent(what: str, remedy: str) -> str:
    """End the test: fail in CI, skip elsewhere."""
    message = f"{what}; to get it: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
