"""The in-process service passes the suite of every service client, and does what only it can show."""

from __future__ import annotations

import pytest

from opsconductor.engine.ports import ServiceClient
from tests.conformance.service_client import ServiceClientConformance, World


class TestInProcessService(ServiceClientConformance):
    @pytest.fixture
    async def client(self, world: World) -> ServiceClient:
        return world.service
