"""What every request passes before anything reads it: the Host check, the credential, headers of the answer, the count.

A plain ASGI middleware, so that streams pass through untouched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opsconductor.model.errors import OpsError
from opsconductor.services.kit.auth import Authenticator, identify
from opsconductor.services.kit.problem import problem_response
from opsconductor.telemetry.logs import get_logger

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?")  # RFC 9110 §7.2
_log = get_logger("opsconductor.services.http")
OPEN_PATHS = frozenset({"/health", "/ready"})
PRINCIPAL = "opsconductor.principal"
"""Key of the ASGI scope that holds the caller's `Principal`."""

RequestCounter = Callable[[str, str, int], None]
"""(method, path pattern, status)."""

# Answers are data for programs: nothing may be cached, sniffed, framed or run from them (OWASP REST security sheet).
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class _Answer:
    """Adds the headers to one answer and counts it."""

    def __init__(self, scope: Scope, send: Send, count: RequestCounter) -> None:
        self._scope, self._send, self._count = scope, send, count
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            present = {name for name, _ in message["headers"]}
            message["headers"] += [pair for pair in _SECURITY_HEADERS if pair[0] not in present]
            self._count(self._scope["method"], getattr(self._scope.get("route"), "path", ""), message["status"])
        await self._send(message)


class Guard:
    """Wraps an application. `allowed_hosts` None accepts every Host header."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        allowed_hosts: Collection[str] | None,
        count: RequestCounter,
        open_paths: Collection[str] = OPEN_PATHS,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._allowed_hosts = None if allowed_hosts is None else frozenset(host.lower() for host in allowed_hosts)
        self._count = count
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        answer = _Answer(scope, send, self._count)
        try:
            self._check(scope)
            await self._app(scope, receive, answer.send)
        except OpsError as error:
            await problem_response(error)(scope, receive, answer.send)
        except Exception as error:
            if answer.started:
                raise  # the server closes the connection, which a reader cannot mistake for an end
            _log.error("request ended with a defect", path=scope["path"], exc_info=error)
            defect = OpsError("internal_error", "a defect; the service's log has the details")
            await problem_response(defect)(scope, receive, answer.send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._allowed_hosts is not None:
            check_host(headers.get("host", ""), self._allowed_hosts)
        if scope["path"] not in self._open_paths:
            scope[PRINCIPAL] = identify(headers, self._authenticator)


def check_host(value: str, allowed: Collection[str]) -> None:
    """Refuse names that a web page could have pointed at this machine (DNS rebinding). Raises `host_not_allowed`."""
    parts = _HOST.fullmatch(value)
    if parts is None or parts[1].lower() not in allowed:
        raise OpsError(
            "host_not_allowed",
            f"this server listens on loopback and answers to {', '.join(sorted(allowed))}, not to {value[:100]!r};"
            " use one of those names, or bind it to an address of the network",
        )
