"""The asset tools through asset-service, and targets of other services resolved by it."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.bootstrap.services import ASSET
from opsconductor.model.execution import StepStatus
from tests.harness import Bench, service


async def data(bench: Bench, tool: str, operation: str | None = None, **inputs: Any) -> dict[str, Any]:
    result = await bench.run(tool, operation, inputs)
    assert result.status is StepStatus.COMPLETED, result.error
    found: dict[str, Any] = result.output["data"]
    return found


async def code(bench: Bench, tool: str, operation: str | None = None, **inputs: Any) -> str:
    result = await bench.run(tool, operation, inputs)
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    return result.error.code


async def test_an_asset_from_its_creation_to_its_end() -> None:
    async with service(ASSET) as bench:
        made = await data(bench, "asset-create", hostname="web-1", type="server", environment="prod", tags=["blue"])
        assert made["created"] is True
        assert await code(bench, "ASSET CREATE", hostname="web-1") == "asset_conflict"
        kept = await data(bench, "asset_create", hostname="web-1", owner="ops", if_exists="update")
        assert (kept["created"], kept["asset"]["owner"]) == (False, "ops")
        changed = await data(bench, "asset-update", asset_id="web-1", environment="lab")
        assert changed["asset"]["version"] == 3
        assert await code(bench, "asset-update", asset_id="web-1", owner="x", version=1) == "asset_conflict"
        assert (await data(bench, "asset-list"))["count"] == 1
        assert (await data(bench, "asset-query", selector="environment=prod"))["count"] == 0
        assert (await data(bench, "asset-query", selector="env=lab, tag=blue, hostname~web-*"))["count"] == 1
        assert (await data(bench, "asset-delete", asset_id="web-1"))["deleted"] is True
        assert (await data(bench, "asset-query"))["count"] == 0
        assert (await data(bench, "asset-delete", "restore", asset_id="web-1"))["asset"]["hostname"] == "web-1"


@pytest.mark.parametrize("value", ["'; DROP TABLE assets; --", "%", "_", "x' OR '1'='1"])
async def test_what_looks_like_sql_is_text(value: str) -> None:
    async with service(ASSET) as bench:
        await data(bench, "asset-create", hostname="web-1", owner=value)
        found = await data(bench, "asset-query", owner=value)
        assert [asset["owner"] for asset in found["assets"]] == [value]
        assert (await data(bench, "asset-query", hostname=value))["count"] == 0
