"""Handler `tcpdump.capture`: packets of one interface, bounded in number and time.

The packets go through tcpdump's standard output into our spool: no file name and no command can be given to it, and it
may drop its privileges. The filter is compiled before the capture starts, so that a mistake costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from opsconductor.engine.ports import NewId
from opsconductor.model.errors import OpsError
from opsconductor.services.kit.artifacts import ArtifactStore
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from opsconductor.services.network.programs import Programs, command_output, require_success
from opsconductor.transports.base import CapturedStream, CommandResult, Ended

_COUNTS = re.compile(r"^(\d+) packets? (captured|received by filter|dropped by kernel|dropped by interface)", re.M)
_PCAP_HEADER_BYTES = 24
_SHOWN_PACKETS = 1000


class Tcpdump:
    """The handlers, bound to the way programs are started."""

    def __init__(self, programs: Programs, new_id: NewId) -> None:
        self._programs = programs
        self._new_id = new_id

    async def capture(self, ctx: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
        """Capture until `packets` came or `duration_s` is over; data has the counts and the first packets as text."""
        expression = [inputs["filter"]] if inputs.get("filter") else []
        await self._check_filter(ctx, expression)
        argv = ["tcpdump", "-n", "-U", "--immediate-mode", "-i", inputs["interface"], "-c", str(inputs["packets"])]
        argv += ["-s", str(inputs["snap_bytes"]), "-w", "-", "--", *expression]
        result = await self._until(ctx, argv, inputs["duration_s"])
        pcap = await asyncio.to_thread(content_of, result.stdout)
        if len(pcap) < _PCAP_HEADER_BYTES:
            _raise_refusal(argv, result)
        lines = await self._read(ctx, pcap, min(inputs["shown"], _SHOWN_PACKETS))
        artifact = await self._keep(ctx, pcap)
        counts = {name.replace(" ", "_"): int(number) for number, name in _COUNTS.findall(result.stderr.text())}
        ended = "packets" if result.ended is Ended.EXITED else "duration"
        data = {
            "interface": inputs["interface"],
            "ended_by": ended,
            **counts,
            "pcap_bytes": len(pcap),
            "packets": lines,
        }
        output = command_output(argv, result, target="local", artifacts=[artifact])
        return HandlerResult(data=data, output={**output, "stdout": "\n".join(lines), "stdout_bytes": len(pcap)})

    async def _check_filter(self, ctx: StepContext, expression: list[str]) -> None:
        if not expression:
            return
        argv = ["tcpdump", "-y", "EN10MB", "-d", "--", *expression]
        result = await self._programs.run(ctx, argv, timeout_s=10)
        if result.exit_code != 0:
            said = result.stderr.text().strip().splitlines()
            reason = said[-1] if said else "refused"
            message = f"filter: found {expression[0]!r}, expected a pcap-filter expression ({reason})"
            raise OpsError("input_invalid", message, field="inputs.filter")

    async def _until(self, ctx: StepContext, argv: list[str], duration_s: float) -> CommandResult:
        """Run until tcpdump ends, `duration_s` is over (it is asked to end then) or the step is cancelled."""
        stop = asyncio.Event()

        async def watch() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(duration_s):
                    await ctx.cancel.wait()
            stop.set()

        watcher = asyncio.ensure_future(watch())
        try:
            return await self._programs.run(ctx, argv, timeout_s=ctx.timeout_s, cancel=stop, keep_bytes=1024 * 1024)
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def _read(self, ctx: StepContext, pcap: bytes, count: int) -> list[str]:
        argv = ["tcpdump", "-n", "-tttt", "-c", str(count), "-r", "-"]
        result = await self._programs.run(ctx, argv, timeout_s=60, stdin=pcap)
        require_success(argv, result)
        return result.stdout.text().splitlines()

    async def _keep(self, ctx: StepContext, pcap: bytes) -> dict[str, Any]:
        path = ctx.work_dir / "spool" / f"{self._new_id()}.pcap"
        await asyncio.to_thread(path.write_bytes, pcap)
        store = ArtifactStore(ctx.work_dir / "artifacts", self._new_id)
        taken = await store.take(
            ctx.execution_id, path, name=f"{ctx.step_id or 'capture'}.pcap", media_type="application/vnd.tcpdump.pcap"
        )
        return dict(msgspec.to_builtins(taken))


def content_of(stream: CapturedStream) -> bytes:
    """All bytes of a stream: from the spool where it is longer than what was kept.

    Raises OpsError(`output_spool_failed`) when a part is lost: a capture with a hole in it is no capture.
    """
    if not stream.truncated:
        return stream.head + stream.tail
    if stream.spool is None or stream.spool_error is not None or stream.spooled_bytes < stream.total_bytes:
        why = stream.spool_error or f"only {stream.spooled_bytes} of {stream.total_bytes} bytes could be kept"
        raise OpsError("output_spool_failed", f"the capture is not whole: {why}; ask for fewer or shorter packets")
    content = stream.spool.read_bytes()
    stream.spool.unlink(missing_ok=True)
    return content


def _raise_refusal(argv: list[str], result: CommandResult) -> None:
    """tcpdump wrote not even a file header: say why."""
    said = result.stderr.text()
    if "permission" in said.lower():
        raise OpsError(
            "program_not_startable",
            "tcpdump may not capture here; as root: setcap cap_net_raw,cap_net_admin=eip $(command -v tcpdump)",
            argv=argv,
        )
    if result.ended is Ended.EXITED and result.exit_code == 0:
        raise OpsError("peer_answer_invalid", "tcpdump wrote no capture", argv=argv)
    require_success(argv, result)
    raise OpsError("command_failed", f"tcpdump wrote no capture: {said.strip()[-300:]}", argv=argv)
