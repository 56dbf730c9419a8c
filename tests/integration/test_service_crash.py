"""A service that is killed in the middle of what must not run twice: the next one says that it does not know."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.model.execution import ExecutionStatus
from opsconductor.transports.local import LocalTransport
from tests.conformance.service_client import PATIENCE_S, World, request

ROOT = Path(__file__).parents[2]


@pytest.mark.integration
async def test_after_a_kill_the_request_is_unknown_and_does_not_run_again(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.service_child",
        str(tmp_path),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        assert await asyncio.wait_for(child.stdout.readline(), PATIENCE_S) == b"started\n"
    finally:
        child.kill()
        await child.wait()
    world = World(tmp_path, LocalTransport())
    asked = request("count", execution_id="crashed", idempotency_key="dispatch-1")
    response = await world.service.execute_plan(asked)
    assert response.status is ExecutionStatus.OUTCOME_UNKNOWN
    assert world.count == 0
    with pytest.raises(OpsError) as caught:
        await world.service.execute_plan(
            request("count", "count", execution_id="crashed", idempotency_key="dispatch-1")
        )
    assert caught.value.code == "idempotency_key_reused"
    await world.service.close()
