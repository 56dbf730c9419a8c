"""An operation runs on the target that somebody named, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import StepRequest
from opsconductor.model.target import LOCAL, Target, TargetKind
from opsconductor.services.kit.selection import Selected, select
from opsconductor.services.kit.targets import NoTargets, Placed, place
from tests.conformance.service_client import make_tool

ASSET = Target(kind=TargetKind.ASSET, name="web-1", connection={"transport": "ssh", "address": "192.0.2.1"})
HERE = Target(kind=TargetKind.ASSET, name="this-box", connection={"transport": "local"})
TEXT = {"type": "string", "description": "A text"}


class Inventory:
    async def resolve(self, name: str, tenant_id: str | None) -> Target:
        for target in (ASSET, HERE):
            if target.name == name:
                return target
        raise OpsError("target_unknown", f"no asset {name}")


def selected(inputs: dict[str, Any], *, runs_on: str = "target", declared: tuple[str, ...] = ()) -> Selected:
    definition = make_tool(
        "df",
        {"show": {"effect": "read", "argv": ["df"]}},
        runs_on=runs_on,
        inputs=dict.fromkeys(declared, TEXT),
    )
    return select(definition, StepRequest(tool="df", inputs=inputs))


async def placed(selection: Selected, target: str | None = None, default: str = "") -> Placed:
    return await place(selection, target, default_target=default, resolver=Inventory())


@pytest.mark.parametrize(
    ("inputs", "target", "default", "expected"),
    [
        ({}, "local", "", LOCAL),
        ({}, " LocalHost ", "", LOCAL),
        ({}, None, "local", LOCAL),
        ({"host": "local"}, None, "", LOCAL),
        ({"hosts": ["local"]}, None, "", LOCAL),
        ({"host": "local", "target": "local"}, "local", "", LOCAL),
        ({"host": None}, None, "local", LOCAL),
        ({"hosts": []}, None, "local", LOCAL),
        ({}, "this-box", "", HERE),
    ],
)
async def test_local_is_said_by_the_step_or_by_the_setting(
    inputs: dict[str, Any], target: str | None, default: str, expected: Target
) -> None:
    found = await placed(selected({**inputs}), target, default)
    assert found == Placed(target=expected, inputs={})


async def test_a_declared_input_is_no_target() -> None:
    found = await placed(selected({"host": "web-1", "target_host": "local"}, declared=("host",)))
    assert found == Placed(target=LOCAL, inputs={"host": "web-1"})


@pytest.mark.parametrize(
    ("inputs", "target", "code"),
    [
        ({}, None, "target_missing"),
        ({}, "web-9", "target_unknown"),
        ({}, "web-1", "transport_unavailable"),
        ({"hostname": "web-1"}, None, "transport_unavailable"),
        ({"host": "local"}, "web-1", "input_invalid"),
        ({"hosts": ["local", "web-1"]}, None, "input_invalid"),
        ({"host": 7}, None, "input_invalid"),
        ({"host": {"a": 1}}, None, "input_invalid"),
        ({}, "  ", "input_invalid"),
    ],
)
async def test_a_target_that_is_not_one_reachable_machine_is_an_error(
    inputs: dict[str, Any], target: str | None, code: str
) -> None:
    with pytest.raises(OpsError) as caught:
        await placed(selected(inputs), target)
    assert caught.value.code == code


async def test_an_unreachable_target_is_not_replaced_by_the_default() -> None:
    with pytest.raises(OpsError) as caught:
        await placed(selected({}), "web-9", default="local")
    assert caught.value.code == "target_unknown"


async def test_an_operation_that_runs_from_the_service_takes_no_target() -> None:
    assert await placed(selected({}, runs_on="service"), "local") == Placed(target=LOCAL, inputs={})
    with pytest.raises(OpsError) as caught:
        await placed(selected({}, runs_on="service"), "web-1")
    assert caught.value.code == "step_invalid"


async def test_a_service_without_an_inventory_knows_no_names() -> None:
    with pytest.raises(OpsError) as caught:
        await place(selected({}), "web-1", default_target="", resolver=NoTargets())
    assert caught.value.code == "target_unknown"
