"""Runs a rendered command through the transport and turns how it ended into an outcome.

Called by the step runner for operations with an argv. Everything that leaves here has its secrets masked.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from opsconductor.catalog.render import RenderedCommand
from opsconductor.model.errors import ErrorInfo, OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import Artifact
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.artifacts import ArtifactStore
from opsconductor.services.kit.handlers import StepContext
from opsconductor.services.kit.limits import ServiceLimits
from opsconductor.services.kit.outcomes import Outcome
from opsconductor.services.kit.parsing import Parser, empty_data, parse_output
from opsconductor.services.kit.step_events import StepOutput
from opsconductor.transports.base import CapturedStream, CommandRequest, CommandResult, Ended, Transport

log = logging.getLogger(__name__)
_MESSAGE_CHARS = 300


def stream_text(stream: CapturedStream, redactor: Redactor) -> str:
    """A stream as text with secrets masked, also one that the cut between head and tail goes through."""
    if not redactor:
        return stream.text()
    if not stream.truncated:
        return redactor.binary(stream.head + stream.tail).decode("utf-8", "replace")
    head = stream.head[: redactor.undecided_from(stream.head)]
    tail = stream.tail[redactor.longest :]
    cut = stream.total_bytes - len(head) - len(tail)
    ends = (redactor.binary(part).decode("utf-8", "replace") for part in (head, tail))
    return f"\n[… {cut} bytes left out …]\n".join(ends)


def _signal_name(number: int | None) -> str:
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_MESSAGE_CHARS] if lines else ""


def _still_open(result: CommandResult) -> list[str]:
    """Streams that a process left running still holds open: what it says later is not here."""
    return [name for name, stream in (("stdout", result.stdout), ("stderr", result.stderr)) if not stream.eof]


def _error(code: str, message: str, **context: Any) -> ErrorInfo:
    return OpsError(code, message, **context).to_info()


def _ended_early(ctx: StepContext, result: CommandResult) -> tuple[StepStatus, ErrorInfo]:
    """Status and error of a command that was ended by us: by its time limit or a cancellation."""
    program, left = ctx.tool.tool_name, list(result.leftover_pids)
    timed_out = result.ended is Ended.TIMEOUT
    what = f"{program} reached its time limit of {ctx.timeout_s:g} s" if timed_out else f"{program} was cancelled"
    if result.tree_gone and timed_out:
        return StepStatus.TIMEOUT, _error("command_timeout", f"{what} and was ended", timeout_s=ctx.timeout_s)
    if result.tree_gone:
        return StepStatus.CANCELLED, _error("cancelled", f"{what} and its processes are gone")
    message = f"{what}; its processes could not be seen to end: {left}"
    if timed_out and ctx.operation.is_idempotent:
        return StepStatus.TIMEOUT, _error(
            "command_timeout", message, timeout_s=ctx.timeout_s, cancel_unconfirmed=True, leftover_pids=left
        )
    return StepStatus.OUTCOME_UNKNOWN, _error("cancel_unconfirmed", message, leftover_pids=left)


def _verdict(ctx: StepContext, result: CommandResult, stderr: str) -> tuple[StepStatus, ErrorInfo | None]:
    """The step's status from how its command ended; `stderr` is masked already."""
    if result.ended in (Ended.TIMEOUT, Ended.CANCELLED):
        return _ended_early(ctx, result)
    program = ctx.tool.tool_name
    said = f": {line}" if (line := _last_line(stderr)) else ""
    if result.ended is Ended.SIGNALLED:
        name = _signal_name(result.signal)
        return StepStatus.FAILED, _error("command_signalled", f"{program} was ended by {name}{said}", signal=name)
    if result.exit_code in (*ctx.operation.ok_exit_codes, *ctx.operation.empty_exit_codes):
        return StepStatus.COMPLETED, None
    message = f"{program} ended with exit code {result.exit_code}{said}"
    return StepStatus.FAILED, _error("command_failed", message, exit_code=result.exit_code)


class CommandRunner:
    """Runs commands of one service."""

    def __init__(
        self,
        *,
        transport: Transport,
        artifacts: ArtifactStore,
        parsers: Mapping[str, Parser],
        limits: ServiceLimits,
        environment: Mapping[str, str],
        spool_dir: Path,
    ) -> None:
        """`environment` is what every command gets; definitions and steps add to it."""
        self._transport = transport
        self._artifacts = artifacts
        self._parsers = parsers
        self._limits = limits
        self._environment = dict(environment)
        self._spool_dir = spool_dir

    async def run(
        self, ctx: StepContext, command: RenderedCommand, *, redactor: Redactor, output: StepOutput
    ) -> Outcome:
        """Run to the end. Raises OpsError when nothing ran (`program_not_found` …) or output is lost."""
        self._make_spool_dir()
        request = self._request(ctx, command)
        result = await self._transport.run(
            request, on_output=output.chunk if output.wanted else None, cancel=ctx.cancel
        )
        stdout, stderr = stream_text(result.stdout, redactor), stream_text(result.stderr, redactor)
        status, error = _verdict(ctx, result, stderr)
        shown = {
            "stdout": stdout,
            "stderr": stderr,
            "exit_code": result.exit_code,
            "argv": redactor.data(list(command.argv)),
            "target": ctx.target.name,
            "truncated": result.stdout.truncated or result.stderr.truncated,
            "stdout_bytes": result.stdout.total_bytes,
            "stderr_bytes": result.stderr.total_bytes,
            **({"signal": _signal_name(result.signal)} if result.signal else {}),
            **({"leftover_pids": list(result.leftover_pids)} if result.leftover_pids else {}),
            **({"open_streams": still_open} if (still_open := _still_open(result)) else {}),
            **await self._data(ctx, result, stdout),
            **await self._kept_files(ctx, result, redactor),
        }
        return Outcome(status=status, output=shown, error=error)

    def _make_spool_dir(self) -> None:
        if os.path.isdir(self._spool_dir):  # noqa: PTH112 - once a command: a third of what Path.mkdir takes
            return
        try:
            self._spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            message = f"the spool folder {self._spool_dir} cannot be made: {error}; nothing was started"
            raise OpsError("program_not_startable", message) from error

    def _request(self, ctx: StepContext, command: RenderedCommand) -> CommandRequest:
        return CommandRequest(
            argv=command.argv,
            stdin=command.stdin,
            env={**self._environment, **command.env, **ctx.env},
            timeout_s=ctx.timeout_s,
            keep_bytes=min(ctx.operation.output_limit_bytes, self._limits.max_kept_bytes),
            spool_limit_bytes=self._limits.max_spool_bytes,
            spool_dir=self._spool_dir,
            grace_s=self._limits.kill_grace_s,
        )

    async def _data(self, ctx: StepContext, result: CommandResult, stdout: str) -> dict[str, Any]:
        """`data` or `parse_error`, where the operation names a parser and the program came to its own end."""
        name = ctx.operation.parse
        if name is None or result.ended is not Ended.EXITED:
            return {}
        if result.exit_code in ctx.operation.empty_exit_codes and not stdout.strip():
            return {"data": empty_data(name, self._parsers)}
        if result.stdout.truncated:
            return {"parse_error": "the output was cut and is not parsed; the artifact has all of it"}
        if result.exit_code not in (*ctx.operation.ok_exit_codes, *ctx.operation.empty_exit_codes) and not stdout:
            return {}
        parsed = await parse_output(name, stdout, extra=self._parsers, max_bytes=self._limits.max_parse_bytes)
        return {"data": parsed.data} if parsed.error is None else {"parse_error": parsed.error}

    async def _kept_files(self, ctx: StepContext, result: CommandResult, redactor: Redactor) -> dict[str, Any]:
        """The whole output as artifacts where it was cut. A disk that is full costs the artifact, not the result."""
        artifacts: list[Artifact] = []
        problems: list[str] = []
        for name, stream in (("stdout", result.stdout), ("stderr", result.stderr)):
            if stream.spool_error is not None:
                problems.append(f"{name}: {stream.spool_error}; the middle of the output is lost")
            if stream.spool is None:
                continue
            if not stream.truncated:
                stream.spool.unlink(missing_ok=True)
                continue
            try:
                file_name = f"{ctx.tool.id}.{name}.txt"
                artifacts.append(
                    await self._artifacts.take(
                        ctx.execution_id, stream.spool, name=file_name, media_type="text/plain", redactor=redactor
                    )
                )
            except OpsError as error:
                log.error("artifact of execution %s lost: %s", ctx.execution_id, error.message)
                problems.append(error.message)
        kept = {"artifacts": [msgspec.to_builtins(artifact) for artifact in artifacts]} if artifacts else {}
        return {**kept, **({"artifact_error": "; ".join(problems)} if problems else {})}
