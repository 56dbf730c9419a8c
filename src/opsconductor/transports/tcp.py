"""Opening a TCP connection whose every address is judged right before it is used. Called by the mail delivery."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from opsconductor.model.errors import OpsError

Judge = Callable[[str, int, str], None]
"""(host as asked for, port, address about to be connected to); raises OpsError(`destination_not_allowed`)."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) → addresses in the order to try; raises OSError when the name has none."""


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of `host` by the system's resolver (a thread: getaddrinfo(3) blocks). Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


async def connect(host: str, port: int, judge: Judge, *, timeout_s: float, resolve: Resolve = resolve) -> socket.socket:
    """A connected, non-blocking socket. The name is resolved once; its addresses are tried in order.

    Raises OpsError: `destination_not_allowed` (the refused address was not connected to), `peer_unreachable`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _first(host, port, await resolve(host, port), judge)
    except TimeoutError:
        reason = f"no connection within {timeout_s:g} s"
    except (OSError, UnicodeError) as error:
        reason = str(error)
    raise OpsError("peer_unreachable", f"{host} port {port}: {reason}; nothing was sent", host=host, port=port)


async def _first(host: str, port: int, addresses: Sequence[str], judge: Judge) -> socket.socket:
    last: OSError = OSError("the name has no address")
    for address in addresses:
        judge(host, port, address)
        try:
            return await _open(address, port)
        except OSError as error:
            last = error
    raise last


async def _open(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened
