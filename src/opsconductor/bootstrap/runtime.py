"""This machine's wiring, made on demand: `--help` makes nothing, `route` reads the catalog, `run` opens the journal."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.settings import Settings, load

if TYPE_CHECKING:
    from opsconductor.bootstrap.embedded import EmbeddedConductor
    from opsconductor.catalog.catalog import Catalog, CatalogSource
    from opsconductor.interfaces.ports import Conductor
    from opsconductor.routing.router import LiveRouter, Router

SOCKET_NAME = "server.sock"


class LocalRuntime:
    """Implements `interfaces.ports.Runtime`."""

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

    async def conductor(self, *, server_only: bool = False) -> Conductor:
        """The server that the settings name, else the one on this machine, else this process.

        Raises OpsError(`service_unreachable`) instead of the last with `server_only`.
        """
        settings = self.settings
        if settings.url:
            from opsconductor.interfaces.remote import RemoteConductor
            from opsconductor.services.kit.service_url import parse_service_url

            server = parse_service_url(settings.url, settings.token)
            named = None if server.unix_socket is None else Path(server.unix_socket)
            return RemoteConductor(server.base, server.authorization or "", unix_socket=named)
        socket = settings.state_dir / SOCKET_NAME
        if _is_there(socket):
            from opsconductor.interfaces.remote import RemoteConductor, answers

            if await answers(socket):
                from opsconductor.security.tokens import load_service_token

                token = load_service_token(settings.state_dir, settings.service_token)
                return RemoteConductor("http://localhost", f"Bearer {token}", unix_socket=socket)
        if server_only:
            message = "no server runs on this machine; start one with `opsconductor up`, or set OPSCONDUCTOR_URL"
            raise OpsError("service_unreachable", message)
        self._configure_logs()
        return await self.embedded(person_present=True)

    def _configure_logs(self) -> None:
        from opsconductor.security.redaction import Redactor
        from opsconductor.settings import secret_values
        from opsconductor.telemetry.logs import configure

        redactor = Redactor(secret_values(self.settings))
        configure(level=self.settings.log_level, log_format=self.settings.log_format, redact=redactor.text)

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

    def serve_all(self, host: str, port: int) -> None:
        """Run everything on this machine until SIGTERM."""
        import asyncio

        from opsconductor.bootstrap.servers import serve_all

        asyncio.run(serve_all(self, host, port))

    def serve_one(self, service: str, host: str, port: int) -> None:
        """Run one service, or the gateway, until SIGTERM."""
        import asyncio

        from opsconductor.bootstrap.servers import serve_one

        asyncio.run(serve_one(self, service, host, port))

    async def examine(self) -> list[dict[str, Any]]:
        """What works on this machine and what does not."""
        from opsconductor.bootstrap.doctor import examine

        return await examine(self)


def _is_there(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - unlike Path.exists, False also behind a folder that is closed to us
