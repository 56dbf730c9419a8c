"""What a webhook is sent as: inputs of webhook-sender → one HTTP request. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from opsconductor.model.errors import OpsError
from opsconductor.services.communication.http_delivery import json_body
from opsconductor.transports.http import OutgoingRequest

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110 §5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\U0010ffff]{0,8000}")  # RFC 9110 §5.5, without line breaks and controls
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "keep-alive"}
)
_CREDENTIAL = re.compile(r"auth|token|key|secret|cookie|passw|signature", re.IGNORECASE)
BODIES = ("payload", "form", "body")
KEEP_BYTES = 64 * 1024


def build(
    inputs: Mapping[str, Any], *, dispatch_id: str, timeout_s: float, connect_timeout_s: float
) -> OutgoingRequest:
    """The request. Raises OpsError(`input_invalid`) with the field.

    `Idempotency-Key` carries the dispatch's id, so that a receiver can tell a repetition. The signature is the
    HMAC-SHA256 of the exact body in hexadecimal after `sha256=`, as GitHub's webhooks have it.
    """
    content_type, body = _body(inputs)
    headers = dict(_checked_headers(inputs.get("headers") or {}))
    names = {name.lower() for name in headers}
    added = {"Content-Type": inputs.get("content_type") or content_type, "Idempotency-Key": dispatch_id}
    if token := inputs.get("bearer_token"):
        added["Authorization"] = f"Bearer {token}"
    if secret := inputs.get("signing_secret"):
        added[inputs["signature_header"]] = signature(str(secret), body or b"")
    extra = {name: value for name, value in added.items() if value and name.lower() not in names}
    _ = list(_checked_headers(extra))
    return OutgoingRequest(
        method=inputs["method"],
        url=inputs["url"],
        headers=tuple((headers | extra).items()),
        body=body,
        timeout_s=min(timeout_s, inputs.get("timeout_s") or timeout_s),
        connect_timeout_s=connect_timeout_s,
        keep_bytes=KEEP_BYTES,
        max_redirects=inputs.get("max_redirects") or 0,
    )


def signature(secret: str, body: bytes) -> str:
    """`sha256=<hex>` over the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def secret_headers(inputs: Mapping[str, Any]) -> Iterator[str]:
    """Values of headers that carry credentials by their name: `Authorization`, `X-Api-Key` …"""
    headers = inputs.get("headers")
    for name, value in headers.items() if isinstance(headers, Mapping) else ():
        if _CREDENTIAL.search(str(name)):
            yield str(value)
            yield str(value).rpartition(" ")[2]


def _body(inputs: Mapping[str, Any]) -> tuple[str | None, bytes | None]:
    given = [name for name in BODIES if inputs.get(name) is not None]
    if len(given) > 1:
        raise OpsError("input_invalid", f"found {' and '.join(given)}, expected one of them", field=given[1])
    if given and inputs["method"] in ("GET", "HEAD"):
        raise OpsError("input_invalid", f"{inputs['method']} carries no {given[0]}", field=given[0])
    match given:
        case ["payload"]:
            return "application/json", json_body(inputs["payload"])
        case ["form"]:
            return "application/x-www-form-urlencoded", urlencode(_form(inputs["form"]), doseq=True).encode()
        case ["body"]:
            return "text/plain; charset=utf-8", str(inputs["body"]).encode()
    return None, None


def _form(form: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in form.items():
        entries = value if isinstance(value, list) else [value]
        if not all(isinstance(entry, str | int | float | bool) for entry in entries):
            raise OpsError("input_invalid", f"form.{name}: expected a text, a number or a list of them", field="form")
    return dict(form)


def _checked_headers(headers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(str(name)):
            raise OpsError("input_invalid", f"{name!r} is not a header name", field="headers")
        if str(name).lower() in _FRAMING:
            raise OpsError("input_invalid", f"the header {name} is set by the connection itself", field="headers")
        if not isinstance(value, str | int | float) or not _VALUE.fullmatch(str(value)):
            raise OpsError(
                "input_invalid", f"the value of header {name} is not one line of text without controls", field="headers"
            )
        yield str(name), str(value)
