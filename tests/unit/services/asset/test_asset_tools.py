"""The asset tools on SQLite, and what their definitions say."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsconductor.catalog.inputs import check_inputs
from opsconductor.model.tool import Effect
from opsconductor.services.asset.handlers import handlers
from opsconductor.store.asset_query import MAX_LIMIT
from tests.conformance.asset_store_suite import open_store
from tests.conformance.asset_tools_suite import TOOLS, AssetToolsSuite, Desk


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that does not exist yet."""
    return f"sqlite:///{tmp_path}/inventory.db"


class TestOnSqlite(AssetToolsSuite):
    """The common suite."""


def test_every_operation_has_its_handler_and_its_examples_are_accepted(url: str) -> None:
    known = handlers(open_store(url))
    used = set()
    for definition in TOOLS.values():
        for name, body in definition.operations.items():
            assert body.handler in known
            used.add(body.handler)
            assert body.examples
            for example in body.examples:
                check_inputs(definition, name, example.inputs)
    assert used == set(known)


async def test_more_than_a_plan_can_hold_is_an_error_not_a_part(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(url)
    desk = Desk(store)
    for n in range(3):
        await desk.call("create", hostname=f"web-{n}")
    monkeypatch.setattr("opsconductor.services.asset.handlers.MAX_LIMIT", 2)
    assert await desk.code("query") == "asset_invalid"
    assert (await desk.call("query", limit=2))["next_cursor"] is not None
    await store.close()
    assert MAX_LIMIT == 10_000


def test_effects_are_what_the_operations_do() -> None:
    effects = {
        f"{tool}.{name}": (body.effect, body.is_idempotent)
        for tool, definition in TOOLS.items()
        for name, body in definition.operations.items()
        if body.effect is not Effect.READ
    }
    assert effects == {
        "create.create": (Effect.CHANGE, False),
        "update.update": (Effect.CHANGE, True),
        "delete.delete": (Effect.DESTRUCTIVE, False),
        "delete.restore": (Effect.CHANGE, True),
    }
