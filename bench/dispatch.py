"""Dispatch of one no-op step: in this process and over HTTP, each against its floor in the same run.

Run: `python -m bench.dispatch`. Floors: a bare async function call that makes the same result; a bare Starlette POST
that answers the same bytes, on the same kind of server and client. The servers run in a process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import msgspec

from bench.measure import seconds, verdict
from opsconductor.model.names import canonical
from opsconductor.model.outcome import PlanRequest, PlanResponse, StepRequest
from opsconductor.model.tool import ToolDefinition
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from opsconductor.services.kit.inbox import Inbox
from opsconductor.services.kit.service import Service
from opsconductor.transports.local import LocalTransport

TOKEN = "token-of-the-bench"
NAME = "automation-service"
IN_PROCESS_LIMIT_S = 0.3e-3
HTTP_LIMIT_S = 1e-3


class _Entry(msgspec.Struct):
    id: str
    tool_name: str
    definition: ToolDefinition


Call = Callable[[], Awaitable[object]]


class _Catalog:
    """Two tools that do nothing: one that reads (remembered in memory), one that changes (on disk before it starts)."""

    def __init__(self) -> None:
        common = {"description": "No-op", "version": "1", "platform": "any", "category": "bench"}
        self._tools = {
            name: _Entry(
                name,
                name,
                msgspec.convert(
                    {
                        **common,
                        "tool_name": name,
                        "execution_location": NAME,
                        "operations": {"run": {"effect": effect, "handler": "bench.nothing"}},
                    },
                    ToolDefinition,
                ),
            )
            for name, effect in (("read_nothing", "read"), ("change_nothing", "change"))
        }

    def find(self, name: str) -> _Entry | None:
        """By any spelling."""
        return self._tools.get(canonical(name))

    def get(self, name: str) -> _Entry:
        """By any spelling; both exist."""
        return self._tools[canonical(name)]

    def entries(self) -> list[_Entry]:
        """Both."""
        return list(self._tools.values())


async def _nothing(_context: StepContext, _inputs: Mapping[str, Any]) -> HandlerResult:
    return HandlerResult(data=None)


def make_service(folder: Path) -> Service:
    """A real service with its inbox on disk."""
    catalog = _Catalog()
    return Service(
        NAME,
        catalog=lambda: catalog,
        handlers={"bench.nothing": _nothing},
        transport=LocalTransport(),
        inbox=Inbox(folder / "inbox.sqlite", now=lambda: datetime.now(UTC)),
        work_dir=folder / "work",
        environment={"PATH": "/usr/bin:/bin"},
        now=lambda: datetime.now(UTC),
        new_id=lambda: str(uuid4()),
    )


def request_for(tool: str) -> PlanRequest:
    """A fresh request of one step."""
    return PlanRequest(execution_id=str(uuid4()), steps=(StepRequest(tool=tool, id="a"),), tenant_id="acme", actor_id=7)


async def p50s(calls: Mapping[str, Call], rounds: int) -> dict[str, float]:
    """The median time of each call in seconds, taken in turns so that noise hits all of them; after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-100, rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            await call()
            if number >= 0:
                times[name].append(time.perf_counter() - begin)
    return {name: median(found) for name, found in times.items()}


def _serve(pipe: Connection, folder: str, answer: bytes) -> None:
    """Two servers in one process: the service, and the floor."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from opsconductor.security.tokens import ServiceToken
    from opsconductor.services.kit.app import create_app
    from opsconductor.services.kit.running_work import RunningWork
    from opsconductor.services.kit.server import Server

    async def bare(request: Request) -> Response:
        await request.body()
        return Response(answer, media_type="application/json")

    async def main() -> None:
        work = RunningWork()
        app = create_app(
            make_service(Path(folder)), name=NAME, authenticator=ServiceToken(TOKEN), version="bench", work=work
        )
        floor = Starlette(routes=[Route("/execute-plan", bare, methods=["POST"])])
        servers = [Server(one, host="127.0.0.1", port=0, work=work, drain_s=1) for one in (app, floor)]
        pipe.send([server.url for server in servers])
        await asyncio.gather(*(server.run() for server in servers))

    asyncio.run(main())


async def _in_process(folder: Path, rounds: int) -> tuple[dict[str, float], PlanResponse]:
    service = make_service(folder)
    response = await service.execute_plan(request_for("read_nothing"))

    async def bare() -> PlanResponse:
        request = request_for("read_nothing")
        return msgspec.structs.replace(response, execution_id=request.execution_id)

    calls: dict[str, Call] = {
        "floor: bare async call": bare,
        "in-process, a read": lambda: service.execute_plan(request_for("read_nothing")),
        "in-process, a change (fsynced first)": lambda: service.execute_plan(request_for("change_nothing")),
    }
    figures = await p50s(calls, rounds)
    await service.close()
    return figures, response


async def _over_http(urls: list[str], answer: bytes, rounds: int) -> dict[str, float]:
    import aiohttp

    from opsconductor.services.kit.http_client import HttpServiceClient

    client = HttpServiceClient(urls[0], TOKEN)
    async with aiohttp.ClientSession() as session:

        async def bare() -> bytes:
            async with session.post(f"{urls[1]}/execute-plan", data=answer) as reply:
                return await reply.read()

        calls: dict[str, Call] = {
            "floor: bare Starlette POST": bare,
            "over HTTP, a read": lambda: client.execute_plan(request_for("read_nothing")),
            "over HTTP, events streamed": lambda: client.execute_plan(
                request_for("read_nothing"), on_event=lambda _: None
            ),
            "over HTTP, a change (fsynced first)": lambda: client.execute_plan(request_for("change_nothing")),
        }
        figures = await p50s(calls, rounds)
    await client.close()
    return figures


def _show(figures: dict[str, float], limit_s: float, judged: str) -> bool:
    floor = next(iter(figures.values()))
    for name, value in figures.items():
        print(f"     {name:40} {seconds(value):>8}  {value / floor:7.1f} x floor")
    return verdict(f"{judged}: p50 / {seconds(limit_s)}", figures[judged] / limit_s, 1, at_most=True)


async def _measure(rounds: int) -> bool:
    with TemporaryDirectory() as folder:
        figures, response = await _in_process(Path(folder) / "inner", rounds)
        print("one no-op step, p50")
        met = _show(figures, IN_PROCESS_LIMIT_S, "in-process, a read")
        answer = msgspec.json.encode(response)
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, str(Path(folder) / "outer"), answer), daemon=True
        )
        process.start()
        try:
            figures = await _over_http(ours.recv(), answer, rounds)
        finally:
            process.kill()  # two servers in one process: a signal reaches the later one alone
            process.join(10)
        return _show(figures, HTTP_LIMIT_S, "over HTTP, a read") and met


def main() -> int:
    """Print the figures; the exit code says whether the limits are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000, help="calls measured for each figure")
    return 0 if asyncio.run(_measure(parser.parse_args().rounds)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
