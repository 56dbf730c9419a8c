"""`opsconductor up` and `opsconductor serve`."""

from __future__ import annotations

import click

from opsconductor.interfaces.ports import Runtime

HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")


@click.command()
@HOST
@click.option(
    "--port", default=3000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.pass_obj
def up(runtime: Runtime, host: str, port: int) -> None:
    """Start the gateway and the four services in one process, with the embedded database."""
    runtime.serve_all(host, port)


@click.command()
@click.argument("service")
@HOST
@click.option("--port", type=click.IntRange(0, 65535), help="Port; the service's usual one when left out.")
@click.pass_obj
def serve(runtime: Runtime, service: str, host: str, port: int | None) -> None:
    """Start SERVICE alone.

    One of automation-service, communication-service, asset-service, network-analyzer-service, gateway.
    """
    usual = {
        "gateway": 3000,
        "automation-service": 3003,
        "communication-service": 3004,
        "asset-service": 3005,
        "network-analyzer-service": 3006,
    }
    runtime.serve_one(service, host, usual.get(service, 3000) if port is None else port)
