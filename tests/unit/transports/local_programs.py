"""The behaviours of the transports' suite as programs every Linux has."""

from __future__ import annotations


class LocalPrograms:
    """Implements `tests.conformance.transport.Programs` for a machine with a POSIX sh and coreutils."""

    def prints(self, stdout: str, stderr: str = "") -> tuple[str, ...]:
        return ("sh", "-c", 'printf %s "$1"; printf %s "$2" >&2', "sh", stdout, stderr)

    def exits(self, code: int) -> tuple[str, ...]:
        return ("sh", "-c", 'exit "$1"', "sh", str(code))

    def dies(self, signal: int) -> tuple[str, ...]:
        return ("sh", "-c", 'kill -"$1" $$', "sh", str(signal))

    def copies(self) -> tuple[str, ...]:
        return ("cat",)

    def ignores_stdin(self) -> tuple[str, ...]:
        return ("true",)

    def floods(self, size_bytes: int) -> tuple[str, ...]:
        return ("head", "-c", str(size_bytes), "/dev/zero")

    def waits(self) -> tuple[str, ...]:
        return ("sh", "-c", "echo ready; sleep 300")

    def shows_variable(self, name: str) -> tuple[str, ...]:
        return ("printenv", name)
