"""Sockets to listen on: a TCP port, and for this machine's own commands a unix socket. Used by `server`.

Bound before anything else starts, so that an address that cannot be had is one clear error.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from opsconductor.model.errors import OpsError

_BACKLOG = 2048
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_REASONS = {
    errno.EADDRINUSE: "another program listens there; stop it, or choose another --port (0 takes any free one)",
    errno.EACCES: "this user may not; choose a port above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address; use 127.0.0.1 or one of its own",
}


def allowed_hosts(host: str, names: Iterable[str] = ()) -> frozenset[str] | None:
    """The Host headers that a server bound to `host` answers to; None (all) unless that is loopback.

    `names` are further ones that the site uses, such as the service's own.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        is_loopback, shown = host.lower() == "localhost", host.lower()
    else:
        is_loopback, shown = address.is_loopback, f"[{address}]" if address.version == 6 else str(address)
    return _LOOPBACK_NAMES | {shown} | {name.lower() for name in names} if is_loopback else None


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OpsError(`address_unavailable`)."""
    if not 0 <= port <= 65535:
        raise _unavailable(f"{host}:{port}", ValueError("a port is a number from 0 to 65535"))
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unavailable(f"{host}:{port}", error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _unavailable(f"{host}:{port}", error) from error
    return sock


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket with mode 0600 in a folder with mode 0700; a dead one in its place is replaced.

    Raises OpsError(`address_unavailable`), also when a living server listens there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.chmod(0o700)
        if path.is_socket() and not _is_answered(path):
            path.unlink()
        sock.bind(str(path))  # nobody else can enter the folder, so the mode comes in time
        path.chmod(0o600)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _unavailable(str(path), error) from error
    return sock


def url_of(sock: socket.socket, host: str) -> str:
    """The URL of a TCP listener, with the port it got; an address that means all is shown as this machine's."""
    port = sock.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name and not name.startswith('[') else name}:{port}"


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _unavailable(where: str, error: Exception) -> OpsError:
    number = error.errno if isinstance(error, OSError) else None
    known = _REASONS.get(number) if number is not None else None
    reason = known or (os.strerror(number) if number and number > 0 else str(error))
    return OpsError("address_unavailable", f"cannot listen on {where}: {reason}", address=where)
