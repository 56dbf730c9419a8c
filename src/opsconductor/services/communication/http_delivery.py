"""Deliveries over HTTP: sending within the step's limits, and what an answer's status means for them."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from opsconductor.model.errors import OpsError
from opsconductor.security.egress import EgressGate, EgressPolicy
from opsconductor.services.communication.config import CommunicationConfig
from opsconductor.services.communication.delivery import within_limits
from opsconductor.services.kit.handlers import StepContext
from opsconductor.transports.http import IncomingAnswer, OutgoingRequest, Outlet, Progress, send

EXCERPT = 500
MAX_RETRY_AFTER_S = 86_400.0
DEFERRED = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses that ask to come again (RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4, RFC 9110 §15.6)."""


async def deliver(
    context: StepContext,
    config: CommunicationConfig,
    request: OutgoingRequest,
    egress: EgressGate | EgressPolicy,
) -> IncomingAnswer:
    """Send and return the answer, whatever its status.

    Raises OpsError as `transports.http.send` does, and `cancelled`.
    """
    progress = Progress()
    outlet = Outlet(egress=egress, resolver=config.resolver, tls=config.tls)
    return await within_limits(context, send(request, outlet, progress), progress, peer_of(request.url))


def peer_of(url: str) -> str:
    """`host:port` of a URL that was checked before; its path may be a secret and is left out."""
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    except ValueError:
        return "the receiver"


def require(answer: IncomingAnswer, peer: str, expected: Collection[int] = ()) -> None:
    """Pass for an expected status (2xx when none is named).

    Raises OpsError: `delivery_deferred` with `retry_after_s` where the answer says so, or `delivery_refused`.
    """
    if answer.status in expected or (not expected and 200 <= answer.status < 300):
        return
    wanted = ", ".join(map(str, sorted(expected))) or "2xx"
    hint = "; redirects are not followed" if 300 <= answer.status < 400 else ""
    context: dict[str, Any] = {"peer": peer, "status": answer.status, "answer": excerpt(answer)}
    code = "delivery_deferred" if answer.status in DEFERRED else "delivery_refused"
    if (wait_s := retry_after(answer)) is not None:
        context["retry_after_s"] = wait_s
    said = f": {context['answer']}" if context["answer"] else ""
    raise OpsError(
        code, f"{peer} answered {answer.status} {answer.reason}, expected {wanted}{hint}{said}".rstrip(), **context
    )


def retry_after(answer: IncomingAnswer, now: datetime | None = None) -> float | None:
    """Seconds to wait by the Retry-After header (RFC 9110 §10.2.3: seconds or a date); None without a usable one."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    wait_s = (moment - (now or datetime.now(UTC))).total_seconds()
    return min(max(wait_s, 0.0), MAX_RETRY_AFTER_S)


def text_of(answer: IncomingAnswer) -> str:
    """The body's head as text; undecodable bytes become U+FFFD."""
    return answer.body.decode("utf-8", "replace")


def excerpt(answer: IncomingAnswer) -> str:
    """The first characters of the body on one line, for an error's text."""
    text = "".join(char if char.isprintable() else " " for char in text_of(answer)[:EXCERPT])
    return " ".join(text.split())


def json_of(answer: IncomingAnswer) -> Any:
    """The body as JSON when it is that and complete; else None."""
    if not answer.complete:
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def json_body(payload: Any) -> bytes:
    """A JSON document as UTF-8. Raises OpsError(`input_invalid`) for what JSON cannot say (NaN)."""
    try:
        return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise OpsError("input_invalid", f"the payload cannot be written as JSON: {error}", field="payload") from error
