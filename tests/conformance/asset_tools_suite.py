"""The five asset tools through their definitions: inputs checked as a service checks them, handlers, outputs by schema.

Subclassed with a `url` fixture for SQLite and for PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

import opsconductor
from opsconductor.catalog.inputs import check_inputs
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from opsconductor.model.target import TargetKind
from opsconductor.model.tool import ToolDefinition
from opsconductor.services.asset.handlers import handlers
from opsconductor.services.asset.targets import AssetTargets, target_of_answer
from opsconductor.services.kit.handlers import StepContext
from opsconductor.store.asset_store import AssetStore
from tests.conformance.asset_store_suite import HOSTILE, open_store

FOLDER = Path(opsconductor.__file__).parent / "tools" / "custom"
TOOLS: dict[str, ToolDefinition] = {
    name: msgspec.convert(yaml.safe_load((FOLDER / f"asset_{name}.yaml").read_text()), ToolDefinition)
    for name in ("query", "list", "create", "update", "delete")
}


class Desk:
    """Calls tools as a step does."""

    def __init__(self, store: AssetStore) -> None:
        self.store = store
        self._handlers = handlers(store)

    async def call(self, tool: str, operation: str | None = None, *, tenant: str | None = None, **inputs: Any) -> Any:
        """The data of one step. Raises OpsError."""
        definition = TOOLS[tool]
        name = operation or definition.default_operation or ""
        body = definition.operations[name]
        assert body.handler is not None
        context = StepContext(
            execution_id="e-1",
            step_id="s-1",
            step_index=0,
            dispatch_id="d-1",
            tenant_id=tenant,
            actor_id=7,
            tool=definition,
            operation_name=name,
            operation=body,
            timeout_s=30,
            cancel=asyncio.Event(),
            emit=lambda stream, text: None,
            work_dir=Path("/nonexistent"),
        )
        result = await self._handlers[body.handler](context, check_inputs(definition, name, inputs))
        data = json.loads(json.dumps(result.data))
        assert body.output_schema is not None
        jsonschema.validate(data, body.output_schema)
        return data

    async def code(self, tool: str, operation: str | None = None, **inputs: Any) -> str:
        """The code of the error that the step ends with."""
        with pytest.raises(OpsError) as caught:
            await self.call(tool, operation, **inputs)
        return caught.value.code

    async def names(self, tool: str = "query", **inputs: Any) -> list[str]:
        """Hostnames of the answer."""
        return [asset["hostname"] for asset in (await self.call(tool, **inputs))["assets"]]


class AssetToolsSuite:
    """Behaviour of the tools."""

    @pytest.fixture
    async def desk(self, url: str) -> AsyncIterator[Desk]:
        """The tools on an empty inventory."""
        store = open_store(url)
        yield Desk(store)
        await store.close()

    async def _fill(self, desk: Desk) -> None:
        await desk.call(
            "create",
            hostname="Web-1",
            asset_type="server",
            ip_address="10.0.0.1",
            env="prod",
            os="Ubuntu 22.04",
            tags=["blue", "web"],
            labels={"role": "web"},
            metadata={"rack": {"unit": 14}},
            owner="team-web",
            transport="ssh",
            port=2222,
        )
        await desk.call(
            "create", name="web-2", type="server", ip=["10.0.1.1"], environment="prod", tag="web", platform="windows"
        )
        await desk.call(
            "create",
            hostname="sw-1",
            type="switch",
            addresses=["10.9.0.1"],
            location="DC 2",
            groups=["net"],
            status="planned",
        )

    async def test_create_answers_with_the_asset(self, desk: Desk) -> None:
        data = await desk.call("create", hostname="Web-1", ip_address="10.0.0.1", reason="new")
        assert (data["created"], data["changed"]) == (True, True)
        asset = data["asset"]
        assert (asset["hostname"], asset["addresses"], asset["ip_address"]) == ("web-1", ["10.0.0.1"], "10.0.0.1")
        assert (asset["status"], asset["version"], asset["owner"]) == ("active", 1, None)

    @pytest.mark.parametrize(
        ("inputs", "expected"),
        [
            ({}, ["sw-1", "web-1", "web-2"]),
            ({"asset_id": "web-1"}, ["web-1"]),
            ({"hostname": "WEB"}, ["web-1", "web-2"]),
            ({"name": "*-1"}, ["sw-1", "web-1"]),
            ({"ip": "10.0.0.1"}, ["web-1"]),
            ({"ip_address": ["10.0.0.0/16", "10.9.0.0/24"]}, ["sw-1", "web-1", "web-2"]),
            ({"type": "switch"}, ["sw-1"]),
            ({"asset_type": ["server", "switch"]}, ["sw-1", "web-1", "web-2"]),
            ({"platform": "windows"}, ["web-2"]),
            ({"os": "ubuntu"}, ["web-1"]),
            ({"status": "planned"}, ["sw-1"]),
            ({"env": "PROD", "owner": "TEAM-web"}, ["web-1"]),
            ({"location": "dc 2"}, ["sw-1"]),
            ({"group": "net"}, ["sw-1"]),
            ({"tags": ["web"]}, ["web-1", "web-2"]),
            ({"tags": ["web", "blue"]}, ["web-1"]),
            ({"labels": {"role": "web"}}, ["web-1"]),
            ({"labels": {"role": None}}, ["web-1"]),
            ({"metadata": {"rack.unit": 14}}, ["web-1"]),
            ({"text": "ubuntu"}, ["web-1"]),
            ({"selector": "env=prod, os!=windows"}, ["web-1"]),
            ({"selector": "transport=ssh", "type": "server"}, ["web-1"]),
            ({"hostname": "nothing"}, []),
        ],
    )
    async def test_query_finds_by_every_filter(self, desk: Desk, inputs: dict[str, Any], expected: list[str]) -> None:
        await self._fill(desk)
        data = await desk.call("query", **inputs)
        assert [asset["hostname"] for asset in data["assets"]] == expected
        assert (data["count"], data["total"], data["next_cursor"]) == (len(expected), len(expected), None)
        filters = {key: value for key, value in inputs.items() if key not in ("sort", "limit")}
        assert (await desk.call("query", "count", **filters))["count"] == len(expected)

    async def test_list_pages_sorts_and_selects_fields(self, desk: Desk) -> None:
        await self._fill(desk)
        first = await desk.call(
            "list", limit=2, sort="type", descending=True, fields=["hostname", "type"], with_total=True
        )
        assert (first["assets"][0], first["total"]) == ({"hostname": "sw-1", "type": "switch"}, 3)
        rest = await desk.call("list", sort="type", descending=True, cursor=first["next_cursor"], limit=2)
        assert rest["count"] == 1
        assert rest["next_cursor"] is None
        assert await desk.code("list", fields=["hostname", "colour"]) == "asset_invalid"
        assert await desk.code("list", cursor="x", limit=1) == "asset_invalid"
        assert await desk.names("list", type="server", tags=["blue"]) == ["web-1"]

    async def test_a_bad_filter_is_an_error_not_an_empty_answer(self, desk: Desk) -> None:
        assert await desk.code("query", selector="env=") == "selector_invalid"
        assert await desk.code("query", ip="web-1") == "input_invalid"
        assert await desk.code("query", hostnam="web-1") == "input_unknown"
        assert await desk.code("query", labels={"role": {"a": 1}}) == "asset_invalid"
        assert await desk.code("query", sort="colour") == "input_invalid"

    @pytest.mark.parametrize("value", HOSTILE)
    async def test_hostile_texts_are_only_texts(self, desk: Desk, value: str) -> None:
        await self._fill(desk)
        await desk.call("create", hostname="odd", owner=value, location=value, tags=[value])
        for inputs in ({"owner": value}, {"location": [value]}, {"tags": [value]}):
            assert await desk.names(**inputs) == ["odd"]
        assert "odd" in await desk.names(text=value)
        assert await desk.code("create", hostname=value) == "input_invalid"
        assert await desk.code("query", "get", asset_id=value) == "asset_not_found"
        assert len(await desk.names()) == 4

    async def test_an_existing_hostname_is_refused_updated_or_kept(self, desk: Desk) -> None:
        await desk.call("create", hostname="web-1", status="maintenance")
        assert await desk.code("create", hostname="WEB-1") == "asset_conflict"
        kept = await desk.call("create", hostname="web-1", owner="me", if_exists="keep")
        assert (kept["created"], kept["changed"], kept["asset"]["owner"]) == (False, False, None)
        updated = await desk.call("create", hostname="web-1", owner="me", if_exists="update")
        assert (updated["created"], updated["changes"]) == (False, {"owner": [None, "me"]})
        assert updated["asset"]["status"] == "maintenance"

    async def test_two_writers_at_once_and_one_is_told(self, desk: Desk) -> None:
        await desk.call("create", hostname="web-1")
        results = await asyncio.gather(
            *(desk.call("update", asset_id="web-1", owner=owner, version=1) for owner in ("a", "b")),
            return_exceptions=True,
        )
        assert [result.code for result in results if isinstance(result, OpsError)] == ["asset_conflict"]

    async def test_update_changes_what_is_given(self, desk: Desk) -> None:
        await self._fill(desk)
        data = await desk.call(
            "update",
            id="web-1",
            status="maintenance",
            add_tags=["patching"],
            labels={"role": None, "tier": 1},
            clear=["owner"],
            connection={"port": None, "user": "deploy"},
            reason="CHG-1",
        )
        asset = data["asset"]
        assert set(data["changes"]) == {"status", "tags", "labels", "owner", "connection"}
        assert (asset["tags"], asset["labels"], asset["owner"]) == (["blue", "web", "patching"], {"tier": "1"}, None)
        assert (asset["connection"]["port"], asset["connection"]["user"]) == (None, "deploy")
        assert (asset["connection"]["transport"], asset["environment"]) == ("ssh", "prod")
        history = await desk.call("query", "history", asset_id="web-1")
        newest = history["history"][0]
        assert (newest["action"], newest["actor"], newest["reason"]) == ("update", "7", "CHG-1")

    async def test_update_names_its_asset_by_id_or_hostname_and_renames(self, desk: Desk) -> None:
        made = (await desk.call("create", hostname="web-1"))["asset"]
        assert (await desk.call("update", hostname="web-1", owner="me"))["changed"]
        again = await desk.call("update", hostname="web-1", owner="me")
        assert (again["changed"], again["asset"]["version"]) == (False, 2)
        renamed = await desk.call("update", asset_id=made["id"], hostname="web-9")
        assert renamed["asset"]["hostname"] == "web-9"
        assert await desk.code("update", owner="me") == "asset_invalid"
        assert await desk.code("update", asset_id="web-9", owner="x", clear=["owner"]) == "asset_invalid"
        assert await desk.code("update", asset_id="web-99", owner="x") == "asset_not_found"
        assert await desk.code("update", asset_id="web-9", port=22, connection={"port": 23}) == "asset_invalid"

    async def test_delete_hides_and_restore_brings_back(self, desk: Desk) -> None:
        made = (await desk.call("create", hostname="web-1"))["asset"]
        data = await desk.call("delete", asset_id="web-1", version=1, reason="scrapped")
        assert data["deleted"]
        assert data["asset"]["retired_at"] is not None
        assert await desk.names() == []
        assert await desk.names(include_retired=True) == ["web-1"]
        assert await desk.code("delete", hostname="web-1") == "asset_not_found"
        assert not (await desk.call("delete", "find", asset_id="web-1"))["found"]
        assert (await desk.call("query", "get", id=made["id"]))["asset"]["retired_at"] is not None
        assert (await desk.call("delete", "restore", hostname="web-1"))["restored"]
        assert await desk.names() == ["web-1"]

    async def test_delete_needs_one_name_and_the_right_version(self, desk: Desk) -> None:
        await desk.call("create", hostname="web-1")
        assert await desk.code("delete") == "asset_invalid"
        assert await desk.code("delete", asset_id="web-1", hostname="web-2") == "asset_invalid"
        assert await desk.code("delete", asset_id="web-1", version=7) == "asset_conflict"
        assert await desk.names() == ["web-1"]

    async def test_previews_check_and_keep_nothing(self, desk: Desk) -> None:
        assert (await desk.call("create", "preview", hostname="web-1"))["created"]
        assert not (await desk.call("create", "find", hostname="web-1"))["found"]
        await desk.call("create", hostname="web-1")
        assert await desk.code("create", "preview", hostname="web-1") == "asset_conflict"
        assert (await desk.call("update", "preview", hostname="web-1", owner="me"))["changed"]
        assert not (await desk.call("delete", "preview", hostname="web-1"))["deleted"]
        asset = (await desk.call("update", "find", hostname="web-1"))["asset"]
        assert (asset["version"], asset["owner"], asset["retired_at"]) == (1, None, None)

    async def test_a_misplaced_secret_is_not_repeated(self, desk: Desk) -> None:
        secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r"
        with pytest.raises(OpsError) as caught:
            await desk.call("create", hostname="web-1", credential=secret)
        assert caught.value.code == "asset_invalid"
        assert "b3Blbn" not in str(caught.value.to_info())

    async def test_tenants_are_apart(self, desk: Desk) -> None:
        await desk.call("create", tenant="acme", hostname="web-1")
        assert await desk.names() == []
        assert await desk.names(tenant="acme") == ["web-1"]

    async def test_targets_are_resolved_by_name_id_and_address(self, desk: Desk) -> None:
        await self._fill(desk)
        made = await desk.call("create", hostname="here", transport="local")
        targets = AssetTargets(desk.store)
        web = await targets.resolve("WEB-1")
        assert (web.kind, web.name) == (TargetKind.ASSET, "web-1")
        assert (web.connection["transport"], web.connection["address"], web.connection["port"]) == (
            "ssh",
            "10.0.0.1",
            2222,
        )
        assert await targets.resolve("10.0.0.1") == web
        assert (await targets.resolve(made["asset"]["id"])).kind is TargetKind.LOCAL
        assert (await targets.resolve("here")).name == "here"
        assert [target.name for target in await targets.select("type=server")] == ["web-1", "web-2"]

    async def test_other_services_learn_targets_from_the_answer_of_resolve(self, desk: Desk) -> None:
        await self._fill(desk)
        data = await desk.call("query", "resolve", name="WEB-1")
        completed = StepResult(
            step_index=0, id="r", tool="asset-query", status=StepStatus.COMPLETED, output={"data": data}
        )
        assert target_of_answer("WEB-1", completed) == await AssetTargets(desk.store).resolve("web-1")
        assert await desk.code("query", "resolve", name="web-77") == "target_unknown"

    async def test_a_target_that_is_not_there_is_an_error_with_the_nearest_names(self, desk: Desk) -> None:
        await self._fill(desk)
        await desk.call("create", hostname="twin-1", ip="10.5.0.1")
        await desk.call("create", hostname="twin-2", ip="10.5.0.1")
        await desk.call("delete", hostname="sw-1")
        expected = {"wbe-1": "web-1", "10.0.0.9": "no asset has", "10.5.0.1": "twin-1, twin-2", "sw-1": "retired"}
        for name, hint in {**expected, "localhost": "not in the inventory", "\0": "not in"}.items():
            with pytest.raises(OpsError, match=hint) as caught:
                await AssetTargets(desk.store).resolve(name)
            assert caught.value.code == "target_unknown"
