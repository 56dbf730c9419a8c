"""This machine's wiring as the command line uses it: `--help` makes nothing, `run` opens the journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsconductor.bootstrap.machine import SOCKET_NAME, Machine
from opsconductor.model.errors import OpsError

if TYPE_CHECKING:
    from opsconductor.interfaces.ports import Conductor


class LocalRuntime(Machine):
    """Implements `interfaces.ports.Runtime`."""

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
