"""Reads what a caller sent: the body, bounded and strict, and the headers that steer an execution.

Used by the services' application and by the orchestrating server, which reads plans of its own.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from opsconductor.model.clock import from_rfc3339, to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.services.kit.http_limits import HttpLimits
from opsconductor.services.kit.strict_json import decode_strict

IDEMPOTENCY_KEY = "Idempotency-Key"
DEADLINE = "OpsConductor-Deadline"
EPOCH = "OpsConductor-Epoch"
VERSION = "OpsConductor-Version"

_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_EPOCH = re.compile(r"[0-9]{1,18}")


class CallHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """The steering headers, checked. `version` is None for clients that do not say theirs: they get older statuses."""

    idempotency_key: str | None = None
    deadline_at: str | None = None
    epoch: int = 0
    version: str | None = None


async def read_body(request: Request, limits: HttpLimits) -> dict[str, Any]:
    """The body as a JSON object.

    Raises OpsError: `media_type_unsupported`, `request_too_large` (before more than the limit is buffered),
    `request_malformed`, `request_invalid` (JSON, but not an object).
    """
    _check_media_type(request.headers)
    document = decode_strict(await _read_bytes(request, limits), limits.document)
    if isinstance(document, dict):
        return document
    raise OpsError("request_invalid", f"the body is a JSON {_kind(document)}, expected an object", field="")


def read_call_headers(headers: Headers) -> CallHeaders:
    """The steering headers. Raises OpsError(`request_invalid`) that names the header."""
    return CallHeaders(
        idempotency_key=_idempotency_key(headers),
        deadline_at=_deadline(headers),
        epoch=_epoch(headers),
        version=headers.get(VERSION),
    )


async def _read_bytes(request: Request, limits: HttpLimits) -> bytes:
    most = limits.document.max_bytes
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:19]) > most:
        raise _too_large(most)
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise _too_large(most)
                parts.append(part)
    except TimeoutError as error:
        raise OpsError(
            "request_malformed", f"the body did not arrive within {limits.body_timeout_s:g} s ({size} bytes did)"
        ) from error
    except ClientDisconnect as error:
        raise OpsError("request_malformed", f"the client left after {size} bytes of the body") from error
    return b"".join(parts)


def _too_large(most: int) -> OpsError:
    return OpsError(
        "request_too_large",
        f"the body is larger than {most} bytes; send less, or raise OPSCONDUCTOR_MAX_REQUEST_BYTES",
        max_bytes=most,
    )


def _check_media_type(headers: Headers) -> None:
    """A browser's form cannot declare JSON across origins without asking first, so this also refuses forged forms."""
    found = headers.get("content-type", "")
    media_type, _, parameters = found.partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() == "application/json" and charset in ("", "utf-8", "utf8"):
        return
    raise OpsError(
        "media_type_unsupported",
        f"Content-Type is {found[:100]!r}, expected 'application/json' (in UTF-8); send that header",
        field="Content-Type",
    )


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case _:
            return "array"


def _idempotency_key(headers: Headers) -> str | None:
    found = headers.get(IDEMPOTENCY_KEY)
    if found is None or _KEY.fullmatch(found):
        return found
    raise _header_error(IDEMPOTENCY_KEY, found, "1 to 512 printable ASCII characters without blanks")


def _deadline(headers: Headers) -> str | None:
    found = headers.get(DEADLINE)
    if found is None:
        return None
    try:
        return to_rfc3339(from_rfc3339(found))
    except (ValueError, OverflowError) as error:
        raise _header_error(DEADLINE, found, "an RFC 3339 time with an offset, like 2030-01-02T03:04:05Z") from error


def _epoch(headers: Headers) -> int:
    found = headers.get(EPOCH, "0")
    if _EPOCH.fullmatch(found):
        return int(found)
    raise _header_error(EPOCH, found, "a whole number from 0")


def _header_error(name: str, found: str, expected: str) -> OpsError:
    return OpsError("request_invalid", f"header {name}: found {found[:100]!r}, expected {expected}", field=name)
