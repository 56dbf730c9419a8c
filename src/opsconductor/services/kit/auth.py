"""Who is calling: reads the credential of a request. The only way in is the Authorization header.

`Authorization: Bearer TOKEN` (RFC 6750 §2.1) or Basic with the token as the password and any user (RFC 7617), so that a
client which only knows a URL can be given one. Credentials in the query string are never looked at.
"""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from starlette.datastructures import Headers

from opsconductor.model.errors import OpsError
from opsconductor.security.tokens import Principal


class Authenticator(Protocol):
    """Knows credentials; must take the same time for every wrong one."""

    def authenticate(self, credential: str) -> Principal | None:
        """The principal that `credential` belongs to, None when it is not known."""
        ...


def identify(headers: Headers, authenticator: Authenticator) -> Principal:
    """The principal behind a request. Raises OpsError(`credential_missing`, `credential_invalid`)."""
    values = headers.getlist("authorization")
    if not values:
        raise OpsError("credential_missing", "no credential; send the header 'Authorization: Bearer TOKEN'")
    credential = _credential(values[0]) if len(values) == 1 else None
    principal = authenticator.authenticate(credential) if credential is not None else None
    if principal is None:
        raise OpsError(
            "credential_invalid",
            "the credential is not known here; send this server's service token as 'Authorization: Bearer TOKEN',"
            " or as the password of Basic",
        )
    return principal


def _credential(value: str) -> str | None:
    scheme, _, rest = value.partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            return _password(rest.strip())
    return None


def _password(encoded: str) -> str | None:
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    _, colon, password = text.partition(":")
    return password if colon else None
