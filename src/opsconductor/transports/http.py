"""Outgoing HTTP whose every connection is judged: the one way in which deliveries leave a service.

Each request gets a connection of its own: one kept alive might be closed by the peer while we send, and then nobody
knows whether the request was acted on. The address is judged in aiohttp's `socket_factory`, right before connect(2),
IP literals included. Answers are read up to a limit and never decompressed. Proxies of the environment are not used.
Imported only where a request is made: aiohttp costs start-up time.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from yarl import URL

from opsconductor.model.errors import OpsError
from opsconductor.transports.tls import default_tls

USER_AGENT = "opsconductor"
REDIRECTS_KEPT = frozenset({307, 308})
REDIRECTS_AS_GET = frozenset({301, 302, 303})
ORIGIN_BOUND_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


class Egress(Protocol):
    """Who judges destinations (`security.egress`); both raise OpsError(`destination_not_allowed`)."""

    def check_url(self, url: str) -> None:
        """Refuse a URL for how it is written."""
        ...

    def judge(self, host: str, port: int, address: str) -> None:
        """Refuse the address that is about to be connected to."""
        ...


class OutgoingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `keep_bytes` is how much of the answer's body is read; `max_redirects` 0 follows none.

    Redirects are followed with method and body (307, 308), and for GET and HEAD also 301, 302 and 303: a delivery
    that a redirect turns into a GET would deliver nothing. Never from https to http.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    keep_bytes: int = 64 * 1024
    max_redirects: int = 0


class IncomingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. `complete` is whether `body` is all of it; one that breaks off after its status is kept as it is."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes
    complete: bool
    redirects: int = 0


class Outlet(msgspec.Struct, frozen=True, kw_only=True):
    """How requests leave: who judges them, who resolves names (None: the system), which certificates are trusted."""

    egress: Egress
    resolver: AbstractResolver | None = None
    tls: ssl.SSLContext | None = None


class Progress:
    """How far a delivery got: `sent` once its bytes began to leave. What ends before is safe to repeat."""

    def __init__(self) -> None:
        self.sent = False


async def send(request: OutgoingRequest, outlet: Outlet, progress: Progress | None = None) -> IncomingAnswer:
    """Send `request` and give back the answer, whatever its status.

    Raises OpsError: `destination_not_allowed`, `peer_unreachable` (nothing was sent), `outcome_unknown` (sent, and no
    answer that can be understood came back).
    """
    progress = progress or Progress()
    for hop in range(request.max_redirects + 1):
        answer, moved = await _send_once(request, outlet, progress)
        if moved is None or hop == request.max_redirects:
            return msgspec.structs.replace(answer, redirects=hop)
        request = _redirected(request, moved)
    raise AssertionError("unreachable: the last hop returns")


async def _send_once(request: OutgoingRequest, outlet: Outlet, progress: Progress) -> tuple[IncomingAnswer, URL | None]:
    outlet.egress.check_url(request.url)
    url = _parse(request.url)
    shown = f"{url.host} port {url.port}"
    refusals: list[OpsError] = []
    try:
        connector = _connector(outlet, url, refusals)
        async with (
            _session(request, connector, progress) as session,
            session.request(
                request.method, url, headers=request.headers, data=request.body, allow_redirects=False
            ) as response,
        ):
            body, complete = await _read_head(response, request.keep_bytes)
            return _answer(response, body, complete), _moved_to(request, response)
    except aiohttp.InvalidURL as error:
        raise OpsError("destination_not_allowed", f"the URL is refused: its host {url.host!r} is malformed") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        if refusals and isinstance(error, aiohttp.ClientConnectorError):
            raise refusals[0] from error
        raise _translated(error, shown, sent=progress.sent, timeout_s=request.timeout_s) from error


def _connector(outlet: Outlet, url: URL, refusals: list[OpsError]) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(
        ssl=outlet.tls or default_tls(),
        use_dns_cache=False,
        force_close=True,
        resolver=outlet.resolver or aiohttp.ThreadedResolver(),
        socket_factory=_judging_factory(outlet.egress, url, refusals),
    )


def _session(request: OutgoingRequest, connector: aiohttp.TCPConnector, progress: Progress) -> aiohttp.ClientSession:
    connect_s = min(request.connect_timeout_s, request.timeout_s)
    return aiohttp.ClientSession(
        connector=connector,
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=connect_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        trace_configs=[_tracing(progress)],
    )


def _judging_factory(egress: Egress, url: URL, refusals: list[OpsError]) -> Callable[[Any], socket.socket]:
    """Makes the socket of each attempt; a refused address fails like an unreachable one, and is remembered."""

    def make(address_info: Any) -> socket.socket:
        family, kind, protocol, _, address = address_info
        try:
            egress.judge(url.raw_host or "", url.port or 0, str(address[0]))
        except OpsError as refusal:
            refusals.append(refusal)
            raise PermissionError(refusal.message) from refusal
        return socket.socket(family, kind, protocol)

    return make


def _tracing(progress: Progress) -> aiohttp.TraceConfig:
    config = aiohttp.TraceConfig()

    async def note(*_: object) -> None:
        progress.sent = True

    config.on_request_headers_sent.append(note)
    return config


async def _read_head(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Up to `limit` bytes of the body. The status is known by now, so a body that breaks off is no failure."""
    head = bytearray()
    try:
        while len(head) <= limit:
            chunk = await response.content.read(limit + 1 - len(head))
            if not chunk:
                return bytes(head), True
            head += chunk
    except (aiohttp.ClientError, TimeoutError, OSError):
        return bytes(head[:limit]), False
    return bytes(head[:limit]), False


def _answer(response: aiohttp.ClientResponse, body: bytes, complete: bool) -> IncomingAnswer:
    return IncomingAnswer(
        status=response.status,
        reason=response.reason or "",
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
        complete=complete,
    )


def _parse(url: str) -> URL:
    try:
        return URL(url)
    except ValueError as error:
        raise OpsError("destination_not_allowed", "the URL is refused: its host or port is malformed") from error


def _moved_to(request: OutgoingRequest, response: aiohttp.ClientResponse) -> URL | None:
    location = response.headers.get("Location")
    follows = response.status in REDIRECTS_KEPT or (
        response.status in REDIRECTS_AS_GET and request.method in ("GET", "HEAD")
    )
    if request.max_redirects == 0 or not location or not follows:
        return None
    try:
        target = response.url.join(URL(location))
    except ValueError:
        return None
    downgrade = response.url.scheme == "https" and target.scheme == "http"
    return None if downgrade else target


def _redirected(request: OutgoingRequest, target: URL) -> OutgoingRequest:
    headers = request.headers
    if URL(request.url).origin() != target.origin():
        headers = tuple((name, value) for name, value in headers if name.lower() not in ORIGIN_BOUND_HEADERS)
    return msgspec.structs.replace(request, url=str(target), headers=headers)


def _translated(error: BaseException, peer: str, *, sent: bool, timeout_s: float) -> OpsError:
    """A connection that failed before anything was sent is safe to repeat; afterwards nobody knows."""
    if sent and not isinstance(error, aiohttp.ClientConnectorError):
        how = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else _words(error)
        return OpsError(
            "outcome_unknown", f"{peer}: the request was sent, then {how}; it may have been acted on", peer=peer
        )
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return OpsError(
            "peer_unreachable", f"{peer}: its TLS certificate is not valid here ({_words(error)}); nothing was sent",
            peer=peer, reason="tls_certificate",
        )  # fmt: skip
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return OpsError(
            "peer_unreachable", f"{peer}: no TLS connection ({_words(error)}); nothing was sent", peer=peer,
            reason="tls",
        )  # fmt: skip
    how = "no connection in time" if isinstance(error, TimeoutError) else _words(error)
    return OpsError("peer_unreachable", f"{peer}: {how}; nothing was sent", peer=peer)


def _words(error: BaseException) -> str:
    """The reason in words, without the URL that aiohttp's own texts may repeat."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    if isinstance(cause, ssl.SSLError):
        return getattr(cause, "verify_message", "") or cause.reason or "TLS error"
    if isinstance(cause, OSError):
        return cause.strerror or str(cause)
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "the connection was closed"
    if isinstance(error, aiohttp.ClientResponseError):
        return "an answer came that is not HTTP"
    return type(error).__name__


def answer_headers(answer: IncomingAnswer, *, limit: int = 64, longest: int = 1024) -> Mapping[str, str]:
    """The answer's headers for a record: cookies masked, long values cut."""
    kept = list(answer.headers.items())[:limit]
    return {name: "***" if name == "set-cookie" else value[:longest] for name, value in kept}
