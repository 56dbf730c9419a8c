"""Starting nmap and tcpdump from a handler: argv in, captured streams out, failures as our errors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.services.kit.handlers import StepContext
from opsconductor.transports.base import CommandRequest, CommandResult, Ended, Transport

KEEP_BYTES = 8 * 1024**2


class Programs(msgspec.Struct, frozen=True):
    """How this service starts programs."""

    transport: Transport
    environment: Mapping[str, str]

    async def run(
        self,
        ctx: StepContext,
        argv: list[str],
        *,
        timeout_s: float,
        cancel: asyncio.Event | None = None,
        stdin: bytes | None = None,
        keep_bytes: int = KEEP_BYTES,
        show: bool = False,
    ) -> CommandResult:
        """Run `argv` to its end; `show` sends its lines as step output while it runs.

        Raises OpsError: `program_not_found`, `cancelled` or `cancel_unconfirmed` when the step was told to stop.
        """
        request = CommandRequest(
            argv=tuple(argv),
            stdin=stdin,
            env=dict(self.environment),
            timeout_s=timeout_s,
            keep_bytes=keep_bytes,
            spool_dir=ctx.work_dir / "spool",
        )
        request.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

        def forward(stream: str, chunk: bytes) -> None:
            ctx.emit(stream, chunk.decode("utf-8", "replace"))

        result = await self.transport.run(request, on_output=forward if show else None, cancel=cancel or ctx.cancel)
        if result.ended is Ended.CANCELLED and ctx.cancel.is_set():
            code = "cancelled" if result.tree_gone else "cancel_unconfirmed"
            raise OpsError(code, f"{argv[0]} was cancelled", leftover_pids=list(result.leftover_pids))
        return result


def command_output(argv: list[str], result: CommandResult, **more: Any) -> dict[str, Any]:
    """What every step that ran a program carries in its output."""
    return {
        "stdout": result.stdout.text(),
        "stderr": result.stderr.text(),
        "exit_code": result.exit_code,
        "argv": argv,
        "truncated": result.stdout.truncated or result.stderr.truncated,
        "stdout_bytes": result.stdout.total_bytes,
        "stderr_bytes": result.stderr.total_bytes,
        **more,
    }


def require_success(argv: list[str], result: CommandResult) -> None:
    """Raise `command_failed`, `command_timeout` or `command_signalled` for a program that did not end well."""
    said = result.stderr.text().strip().splitlines()
    last = f": {said[-1][:300]}" if said else ""
    if result.ended is Ended.TIMEOUT:
        raise OpsError("command_timeout", f"{argv[0]} reached its time limit and was ended{last}", argv=argv)
    if result.ended is Ended.SIGNALLED:
        raise OpsError("command_signalled", f"{argv[0]} was ended by signal {result.signal}{last}", argv=argv)
    if result.exit_code != 0:
        message = f"{argv[0]} ended with exit code {result.exit_code}{last}"
        raise OpsError("command_failed", message, exit_code=result.exit_code, argv=argv)
