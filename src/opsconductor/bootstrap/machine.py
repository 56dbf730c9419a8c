"""What commands are made of on this machine: settings, catalog, routes and the engine, each made when asked for."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from opsconductor.settings import Settings, load

if TYPE_CHECKING:
    from opsconductor.bootstrap.embedded import EmbeddedConductor
    from opsconductor.catalog.catalog import Catalog, CatalogSource
    from opsconductor.routing.router import LiveRouter, Router

SOCKET_NAME = "server.sock"


class Machine:
    """The parts of one process; nothing is opened before it is needed."""

    @cached_property
    def settings(self) -> Settings:
        """The settings in force. Raises OpsError(`request_invalid`)."""
        return load()

    @cached_property
    def catalog_source(self) -> CatalogSource:
        """Shipped tools, then the site's folders in their order."""
        from opsconductor.catalog.catalog import CatalogSource, shipped_folder
        from opsconductor.model.limits import DocumentLimits

        settings = self.settings
        site = [Path(part).expanduser() for part in settings.tools_path.split(":") if part]
        limits = DocumentLimits(
            max_bytes=settings.max_document_bytes,
            max_depth=settings.max_document_depth,
            max_nodes=settings.max_document_nodes,
        )
        return CatalogSource([shipped_folder(), *site], settings.state_dir / "cache", limits=limits)

    def catalog(self) -> Catalog:
        """The tools as of now."""
        return self.catalog_source.current()

    def live_router(self, *, embedded: bool = True) -> LiveRouter:
        """Routes by the newest catalog; embedded, services without a URL run in this process."""
        from opsconductor.routing.router import LiveRouter
        from opsconductor.routing.services import Services

        settings = self.settings
        services = Services(settings.service_urls, embedded=embedded)
        return LiveRouter(self.catalog_source, services, settings.routing_fallback)

    def router(self) -> Router:
        """Routes as of now."""
        return self.live_router().current()

    async def embedded(self, *, person_present: bool, embedded_services: bool = True) -> EmbeddedConductor:
        """The engine in this process. A person at this machine means `local` where a step names no target."""
        from opsconductor.bootstrap.clients import Clients
        from opsconductor.bootstrap.clock import IdSource, utc_now
        from opsconductor.bootstrap.embedded import JOURNAL_FILE, EmbeddedConductor
        from opsconductor.bootstrap.services import ServiceFactory
        from opsconductor.security.tokens import load_service_token
        from opsconductor.store.journal import SqliteJournal
        from opsconductor.store.state_dir import ensure_state_dir
        from opsconductor.telemetry.adapter import OpsTelemetry

        settings = self.settings
        if person_present and not settings.default_target:
            settings = msgspec.structs.replace(settings, default_target="local")
        state_dir = ensure_state_dir(settings.state_dir)
        new_id = IdSource()
        factory = ServiceFactory(settings, self.catalog, new_id)
        token = load_service_token(state_dir, settings.service_token)
        conductor = EmbeddedConductor(
            settings,
            catalog=self.catalog_source,
            router=self.live_router(embedded=embedded_services),
            factory=factory,
            clients=Clients(settings, factory, token, new_id),
            journal=SqliteJournal(state_dir / JOURNAL_FILE, now=utc_now),
            telemetry=OpsTelemetry(shown=person_present),
            new_id=new_id,
            with_receivers=person_present,
        )
        await conductor.settle()
        return conductor
