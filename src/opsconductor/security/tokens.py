"""The service token: the credential between the gateway and its services.

Bootstrap loads it (`load_service_token`); servers keep only its digest (`ServiceToken`), clients the text itself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

import msgspec

from opsconductor.model.errors import OpsError

TOKEN_FILE = "service-token"  # noqa: S105 - a file name
# RFC 6750 §2.1 (b64token) and what Basic passwords of existing installations hold: printable ASCII without blanks.
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,4096}")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a credential belongs to. Tenant and actor of a request body are claims, this is not."""

    name: str
    role: str


SERVICE_PRINCIPAL = Principal(name="gateway", role="service")


class ServiceToken:
    """Knows one token by its SHA-256 digest alone; the text is not kept."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(_checked(token, "the service token"))

    def authenticate(self, credential: str) -> Principal | None:
        """Return the principal of `credential`, or None; takes the same time wherever the two differ."""
        return SERVICE_PRINCIPAL if hmac.compare_digest(self._digest, _digest(credential)) else None

    def __repr__(self) -> str:
        return "ServiceToken(…)"


def load_service_token(state_dir: Path, configured: str = "") -> str:
    """Return the configured token, else that of `<state_dir>/service-token`, which is made once with mode 0600.

    Several processes may call this at once: all get the same token. Raises OpsError(`request_invalid`) for a token
    that no HTTP header can carry, `setting_missing` for a folder that cannot be written or a file that others can read.
    """
    if configured:
        return _checked(configured, "OPSCONDUCTOR_SERVICE_TOKEN")
    path = state_dir / TOKEN_FILE
    try:
        if not path.exists():
            _make(path)
        return _checked(_read_private(path), str(path))
    except OSError as error:
        raise OpsError(
            "setting_missing",
            f"the service token cannot be kept in {path}: {error.strerror}; make the folder writable for this user"
            " or set OPSCONDUCTOR_SERVICE_TOKEN",
            path=str(path),
        ) from error


def _make(path: Path) -> None:
    """Write a whole file aside and link it in: another process sees either no token or a complete one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    except FileExistsError:
        pass  # another process was first; its token is read
    finally:
        aside.unlink(missing_ok=True)


def _read_private(path: Path) -> str:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        text = file.read(8192)
    if mode & 0o077:
        raise OpsError(
            "setting_missing",
            f"{path} has mode {mode:04o}: other users of this machine can read the service token;"
            f" run: chmod 600 {path} (or delete it for a new one)",
            path=str(path),
        )
    return text.decode("utf-8", "replace").strip()


def _checked(token: str, where: str) -> str:
    if _ACCEPTABLE.fullmatch(token):
        return token
    raise OpsError(
        "request_invalid",
        f"{where}: expected 1 to 4096 printable ASCII characters without blanks, found {len(token)} characters"
        " of which some are not; set another token",
        field=where,
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
