"""A process that executes one request of the suite's tool `count`, says so, and never ends it.

Started by `test_service_crash`, which kills it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from opsconductor.transports.local import LocalTransport
from tests.conformance.service_client import World, request


async def work(folder: Path) -> None:
    """Print `started` when the handler runs."""
    world = World(folder, LocalTransport())
    world.release.clear()
    asked = request("count", execution_id="crashed", idempotency_key="dispatch-1")
    call = asyncio.ensure_future(world.service.execute_plan(asked))
    await world.started.wait()
    sys.stdout.write("started\n")
    sys.stdout.flush()
    await call


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])))
