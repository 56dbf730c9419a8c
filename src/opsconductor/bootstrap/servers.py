"""`up` and `serve`: applications made and run until they are told to end."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsconductor import __version__
from opsconductor.bootstrap.clock import IdSource, utc_now
from opsconductor.bootstrap.gateway_client import GatewayClient
from opsconductor.bootstrap.machine import SOCKET_NAME, Machine
from opsconductor.bootstrap.services import SERVICE_NAMES
from opsconductor.interfaces.api.gateway import gateway_intake, gateway_routes
from opsconductor.interfaces.api.once import Once
from opsconductor.model.errors import OpsError
from opsconductor.model.names import canonical_location
from opsconductor.routing.services import Services
from opsconductor.security.tokens import TOKEN_FILE, ServiceToken, load_service_token
from opsconductor.services.kit.app import create_app
from opsconductor.services.kit.http_limits import http_limits_from
from opsconductor.services.kit.inbox import Inbox
from opsconductor.services.kit.listening import allowed_hosts
from opsconductor.services.kit.running_work import RunningWork
from opsconductor.services.kit.server import Server
from opsconductor.store.state_dir import ensure_state_dir
from opsconductor.telemetry.adapter import OpsTelemetry
from opsconductor.telemetry.logs import configure
from opsconductor.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from opsconductor.settings import Settings

LOCK_NAME = "server.lock"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@contextlib.contextmanager
def only_server(state_dir: Path) -> Iterator[None]:
    """Hold the state folder's server lock. Raises OpsError(`address_unavailable`) when another server has it."""
    with (state_dir / LOCK_NAME).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another server works with {state_dir}; end it, or set OPSCONDUCTOR_HOME to another folder"
            raise OpsError("address_unavailable", message) from error
        yield


def _say(text: str) -> None:
    click.echo(text, err=True)


def _configure_logs(settings: Settings, secrets: list[str]) -> None:
    from opsconductor.security.redaction import Redactor
    from opsconductor.settings import secret_values

    masked = [*secrets, *secret_values(settings)]
    configure(level=settings.log_level, log_format=settings.log_format, redact=Redactor(masked).text)


def _end_undisturbed() -> None:
    """Hear no more signals: ending what runs and closing the journal is bounded, and half of it would be a loss."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _metrics(machine: Machine) -> Metrics:
    return Metrics(tools=[entry.id for entry in machine.catalog().entries()])


async def serve_all(machine: Machine, host: str, port: int) -> None:
    """The gateway with all services in this process; also on the socket that local commands look for."""
    await _serve_gateway(machine, host, port, embedded=True)


async def serve_one(machine: Machine, service: str, host: str, port: int) -> None:
    """One service, or the gateway with its services at their URLs."""
    name = canonical_location(service)
    if name == "gateway":
        await _serve_gateway(machine, host, port, embedded=False)
        return
    conductor = await machine.embedded(person_present=False)
    settings, work, metrics = machine.settings, RunningWork(), _metrics(machine)
    token = load_service_token(settings.state_dir, settings.service_token)
    _configure_logs(settings, [token])
    try:
        client = conductor.clients.get(name, None)
        app = create_app(
            client,
            name=name,
            authenticator=ServiceToken(token),
            version=__version__,
            limits=http_limits_from(settings),
            telemetry=OpsTelemetry(metrics),
            work=work,
            allowed_hosts=allowed_hosts(host),
        )
        server = Server(app, host=host, port=port, work=work, drain_s=settings.drain_s)
        await server.run(lambda url: _say(f"{name} answers at {url}; credential: {_where(settings)}"))
    finally:
        _end_undisturbed()
        await conductor.close()


async def _serve_gateway(machine: Machine, host: str, port: int, *, embedded: bool) -> None:
    settings = machine.settings
    state_dir = ensure_state_dir(settings.state_dir)
    with only_server(state_dir):
        # Whoever reaches `up` on loopback is at this machine, as with `run`; others must name their targets.
        here = embedded and host in LOOPBACK
        conductor = await machine.embedded(person_present=here, embedded_services=embedded)
        token = load_service_token(state_dir, settings.service_token)
        metrics, work, limits = _metrics(machine), RunningWork(), http_limits_from(settings)
        conductor.telemetry.metrics, conductor.telemetry.shown = metrics, False
        _configure_logs(settings, [token])
        known = Services(settings.service_urls, embedded=embedded)
        services = [(name, known.url_of(name)) for name in SERVICE_NAMES]
        inbox = Inbox(state_dir / "gateway" / "inbox.sqlite3", now=utc_now, retention_s=settings.inbox_retention_s)
        once = Once(inbox, conductor, now=utc_now, new_id=IdSource())
        try:
            app = create_app(
                GatewayClient(conductor, services),
                name="gateway",
                authenticator=ServiceToken(token),
                version=__version__,
                limits=limits,
                telemetry=conductor.telemetry,
                work=work,
                allowed_hosts=allowed_hosts(host),
                intake=gateway_intake(once),
                extra_routes=gateway_routes(conductor, limits),
            )
            socket = state_dir / SOCKET_NAME
            server = Server(app, host=host, port=port, work=work, drain_s=settings.drain_s, unix_socket=socket)
            await server.run(lambda url: _announce(settings, url))
        finally:
            _end_undisturbed()
            await conductor.close()
            await once.close()


def _where(settings: Settings) -> str:
    return "OPSCONDUCTOR_SERVICE_TOKEN" if settings.service_token else str(settings.state_dir / TOKEN_FILE)


def _announce(settings: Settings, url: str) -> None:
    where = _where(settings)
    _say(f"OpsConductor {__version__} is up at {url}")
    _say("On this machine the opsconductor command finds it by itself. From elsewhere, or with another client:")
    _say(f"  sign in with the token in {where}, for example")
    shown = f"$(cat {where})" if where.startswith("/") else f"${where}"
    _say(f'  curl -H "Authorization: Bearer {shown}" {url}/api/v1/executions')
    _say("Ctrl-C ends it after the work that runs.")
    sys.stderr.flush()
