"""webhook-sender: one HTTP request to a receiver of the caller's choice, and what it answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsconductor.services.communication.config import CommunicationConfig
from opsconductor.services.communication.http_delivery import deliver, json_of, peer_of, require, text_of
from opsconductor.services.communication.webhook_request import build, secret_headers
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from opsconductor.transports.http import IncomingAnswer, OutgoingRequest, answer_headers

SHOWN = "***"


async def send(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
    """Send it. Raises OpsError as `http_delivery.deliver` and `http_delivery.require` do, and `input_invalid`."""
    request = _request(config, context, inputs)
    answer = await deliver(context, config, request, config.egress)
    peer = peer_of(request.url)
    require(answer, peer, inputs.get("expected_status") or ())
    return HandlerResult(data={"accepted_by": peer, "method": request.method, **described(answer)})


async def preview(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
    """What would be sent; nothing is. The URL's text is judged, the address is not looked up."""
    request = _request(config, context, inputs)
    config.egress.check_url(request.url)
    secrets = {*secret_headers(inputs), str(inputs.get("bearer_token") or "")} - {""}
    headers = {name: SHOWN if any(part in value for part in secrets) else value for name, value in request.headers}
    body = (request.body or b"").decode("utf-8", "replace")
    return HandlerResult(
        data={"sent": False, "method": request.method, "peer": peer_of(request.url), "headers": headers, "body": body}
    )


def described(answer: IncomingAnswer) -> dict[str, Any]:
    """An answer as plain data: `json` where the body is that, `body` up to 64 KiB, `body_truncated` where cut."""
    found = json_of(answer)
    return {
        "status": answer.status,
        "reason": answer.reason,
        "headers": dict(answer_headers(answer)),
        "body": text_of(answer),
        "body_bytes": len(answer.body),
        "body_truncated": not answer.complete,
        "redirects": answer.redirects,
        **({"json": found} if found is not None else {}),
    }


def _request(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> OutgoingRequest:
    return build(
        inputs,
        dispatch_id=context.dispatch_id,
        timeout_s=context.timeout_s,
        connect_timeout_s=config.connect_timeout_s,
    )
