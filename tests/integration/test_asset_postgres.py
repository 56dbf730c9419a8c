"""The inventory and its tools on a real PostgreSQL: the same suites as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.conformance.asset_store_suite import AssetStoreSuite
from tests.conformance.asset_tools_suite import AssetToolsSuite
from tests.postgres import server, url_of_new_database

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
_NUMBERS = count()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Path]:
    """A server of our own."""
    with server() as folder:
        yield folder


@pytest.fixture
def url(postgres: Path) -> str:
    """An empty database."""
    return url_of_new_database(postgres, f"inventory{next(_NUMBERS)}")


class TestStoreOnPostgres(AssetStoreSuite):
    """The common suite of the store."""


class TestToolsOnPostgres(AssetToolsSuite):
    """The common suite of the tools."""
