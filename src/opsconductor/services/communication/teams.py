"""teams-cli: a card to a Workflows webhook of Microsoft Teams (or, where asked, to an older connector)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsconductor.model.errors import OpsError
from opsconductor.services.communication.config import CommunicationConfig
from opsconductor.services.communication.http_delivery import deliver, excerpt, json_body, peer_of, require, text_of
from opsconductor.services.communication.teams_card import MAX_BYTES, compose
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from opsconductor.transports.http import IncomingAnswer, OutgoingRequest

# Connectors answered 200 and put the failure of the delivery itself into the text.
_FAILED = "webhook message delivery failed"
_RATE_LIMITED = "429"


async def post(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
    """Post the card. Raises OpsError as `http_delivery` does, `setting_missing`, `input_too_large`."""
    body = json_body(compose(inputs))
    if len(body) > MAX_BYTES:
        raise OpsError("input_too_large", f"the card has {len(body)} bytes, Teams takes at most {MAX_BYTES}")
    given = inputs.get("webhook_url")
    url = given or config.teams_webhook_url
    if not url:
        raise OpsError("setting_missing", "teams-cli has no destination: set TEAMS_WEBHOOK_URL or give webhook_url")
    request = OutgoingRequest(
        method="POST",
        url=url,
        headers=(("Content-Type", "application/json; charset=utf-8"),),
        body=body,
        timeout_s=context.timeout_s,
        connect_timeout_s=config.connect_timeout_s,
    )
    answer = await deliver(context, config, request, config.egress if given else config.egress_for(url))
    return HandlerResult(data=_outcome(answer, peer_of(url), inputs.get("format") or "adaptive_card"))


async def preview(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
    """The card that would be posted; nothing is."""
    return HandlerResult(data={"sent": False, "message": compose(inputs)})


def _outcome(answer: IncomingAnswer, peer: str, form: str) -> dict[str, Any]:
    """Workflows answers 202 when it took the card into its queue: accepted, not yet shown."""
    require(answer, peer)
    text = text_of(answer)
    if _FAILED in text.lower():
        code = "delivery_deferred" if _RATE_LIMITED in text else "delivery_refused"
        raise OpsError(
            code, f"{peer} answered {answer.status}, but: {excerpt(answer)}", peer=peer, status=answer.status
        )
    request_id = answer.headers.get("x-ms-workflow-run-id") or answer.headers.get("x-ms-request-id")
    return {"accepted_by": peer, "status": answer.status, "format": form, "message_id": request_id}
