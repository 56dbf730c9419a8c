"""Clients of services: in this process or over HTTP, the same one every time."""

from __future__ import annotations

import asyncio

from opsconductor.bootstrap.clock import IdSource
from opsconductor.bootstrap.services import AUTOMATION, NETWORK, InventoryTargets, ServiceFactory
from opsconductor.engine.ports import ServiceClient
from opsconductor.settings import Settings


class Clients:
    """Makes a client when something is first sent to its service."""

    def __init__(self, settings: Settings, factory: ServiceFactory, token: str, new_id: IdSource) -> None:
        self._settings, self._factory, self._token, self._new_id = settings, factory, token, new_id
        self._made: dict[tuple[str, str | None], ServiceClient] = {}

    def get(self, service: str, url: str | None) -> ServiceClient:
        """The client of a service; without a URL the service runs in this process. Raises OpsError(`not_found`)."""
        key = (service, url)
        if key not in self._made:
            self._made[key] = self._over_http(url) if url else self._in_process(service)
        return self._made[key]

    def of(self, service: str) -> ServiceClient:
        """The client of a service at the URL that the settings name, if any."""
        return self.get(service, self._settings.service_urls.get(service))

    async def close(self) -> None:
        """Close every client; services in this process end what they run."""
        made, self._made = list(self._made.values()), {}
        await asyncio.gather(*(client.close() for client in made))
        await self._factory.close()

    def _over_http(self, url: str) -> ServiceClient:
        from opsconductor.services.kit.http_client import HttpServiceClient
        from opsconductor.services.kit.http_limits import client_limits_from

        return HttpServiceClient(url, self._token, client_limits_from(self._settings))

    def _in_process(self, service: str) -> ServiceClient:
        needs_targets = service in (AUTOMATION, NETWORK)
        return self._factory.make(service, InventoryTargets(self.of, self._new_id) if needs_targets else None)
