"""A service's URL taken apart once: where to connect, what to ask for, and the credential that it may carry. Pure.

Used by `http_client` alone. What is shown or logged (`shown`) never has the credential.
"""

from __future__ import annotations

import base64
from urllib.parse import quote, unquote, urlsplit

import msgspec

from opsconductor.model.errors import OpsError

_PORTS = {"http": 80, "https": 443}


class ServiceUrl(msgspec.Struct, frozen=True, kw_only=True):
    """`base` has scheme, host, port and folder, no slash at the end. `authorization` is a header's value or None."""

    base: str
    authorization: str | None = None
    unix_socket: str | None = None

    @property
    def shown(self) -> str:
        """For messages and logs."""
        return f"unix:{self.unix_socket}" if self.unix_socket else self.base

    def __repr__(self) -> str:
        return f"ServiceUrl({self.shown})"


def parse_service_url(url: str, token: str = "") -> ServiceUrl:
    """Read `http(s)://[user:TOKEN@]host[:port][/folder]` or `unix:/path/of.sock`; `token` where the URL has none.

    Raises OpsError(`request_invalid`) without repeating the URL, which may hold a credential.
    """
    bearer = f"Bearer {token}" if token else None
    if url.startswith("unix:"):
        path = "/" + url.removeprefix("unix:").lstrip("/")
        return ServiceUrl(base="http://localhost", authorization=bearer, unix_socket=path)
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise _invalid("its scheme or port cannot be read") from error
    if not parts.hostname:
        raise _invalid("it names no host")
    if parts.query or parts.fragment:
        raise _invalid("it has a query or fragment, which no request would carry")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    base = f"{parts.scheme}://{host}:{port}{quote(unquote(parts.path.rstrip('/')))}"
    return ServiceUrl(base=base, authorization=_basic(parts.username, parts.password) or bearer)


def _basic(user: str | None, password: str | None) -> str | None:
    if not password:
        return None
    pair = f"{unquote(user or '')}:{unquote(password)}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _invalid(why: str) -> OpsError:
    return OpsError(
        "request_invalid",
        f"a service URL cannot be used: {why}; expected http://host:port or https://host:port, like http://automation-service:3003",
        field="url",
    )
