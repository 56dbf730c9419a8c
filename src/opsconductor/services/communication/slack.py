"""slack-cli: a message through an incoming webhook, or as a bot through chat.postMessage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsconductor.model.errors import OpsError
from opsconductor.services.communication.config import CommunicationConfig
from opsconductor.services.communication.http_delivery import (
    deliver,
    excerpt,
    json_body,
    json_of,
    peer_of,
    require,
    retry_after,
    text_of,
)
from opsconductor.services.communication.slack_message import compose
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from opsconductor.transports.http import IncomingAnswer, OutgoingRequest

# docs.slack.dev, chat.postMessage: errors after which "some aspect of the operation" may have succeeded.
_DOUBTFUL = frozenset({"fatal_error", "internal_error", "request_timeout"})
_DEFERRED = frozenset({"ratelimited", "rate_limited", "service_unavailable", "team_added_to_org"})


async def post(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
    """Post by webhook when there is one (input before setting), else by bot token; an input wins over every setting.

    Raises OpsError as `http_delivery` does, `setting_missing`, and `peer_answer_invalid` when it was not Slack.
    """
    message = compose(inputs)
    given_url, given_token = inputs.get("webhook_url"), inputs.get("bot_token")
    if given_url and given_token:
        raise OpsError("input_invalid", "found webhook_url and bot_token, expected one of them", field="bot_token")
    token = given_token or (config.slack_bot_token if _wants_bot(config, inputs) else "")
    if token:
        return await _by_bot(config, context, message, token)
    url = given_url or config.slack_webhook_url
    if not url:
        raise OpsError(
            "setting_missing",
            "slack-cli has no destination: set SLACK_WEBHOOK_URL or SLACK_BOT_TOKEN, or give webhook_url",
        )
    egress = config.egress if given_url else config.egress_for(url)
    answer = await deliver(context, config, _request(config, context, url, message), egress)
    return HandlerResult(data=_webhook_outcome(answer, peer_of(url)))


async def preview(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
    """The message that would be posted; nothing is."""
    return HandlerResult(data={"sent": False, "message": compose(inputs)})


def _wants_bot(config: CommunicationConfig, inputs: Mapping[str, Any]) -> bool:
    """A webhook cannot answer in a thread, and posts to its own channel: with both set up, those go by the bot."""
    if inputs.get("webhook_url"):
        return False
    return not config.slack_webhook_url or bool(inputs.get("thread_ts"))


async def _by_bot(
    config: CommunicationConfig, context: StepContext, message: dict[str, Any], token: str
) -> HandlerResult:
    if not message.get("channel"):
        raise OpsError(
            "input_missing", "posting with a bot token needs a channel, such as #ops or C0123", field="channel"
        )
    url = config.slack_api_url.rstrip("/") + "/chat.postMessage"
    request = _request(config, context, url, message, ("Authorization", f"Bearer {token}"))
    answer = await deliver(context, config, request, config.egress_for(url))
    return HandlerResult(data=_bot_outcome(answer, peer_of(url)))


def _request(
    config: CommunicationConfig, context: StepContext, url: str, message: dict[str, Any], *headers: tuple[str, str]
) -> OutgoingRequest:
    return OutgoingRequest(
        method="POST",
        url=url,
        headers=(("Content-Type", "application/json; charset=utf-8"), *headers),
        body=json_body(message),
        timeout_s=context.timeout_s,
        connect_timeout_s=config.connect_timeout_s,
    )


def _webhook_outcome(answer: IncomingAnswer, peer: str) -> dict[str, Any]:
    """Incoming webhooks answer 200 `ok`, or an error's name with its status (docs.slack.dev, incoming webhooks)."""
    require(answer, peer)
    if text_of(answer).strip() != "ok":
        raise OpsError(
            "peer_answer_invalid",
            f"{peer} answered {answer.status} without Slack's 'ok': {excerpt(answer)!r}",
            peer=peer,
        )
    return {"accepted_by": peer, "via": "webhook", "status": answer.status}


def _bot_outcome(answer: IncomingAnswer, peer: str) -> dict[str, Any]:
    """The Web API answers 200 with `ok` true or false (docs.slack.dev, Web API); 429 with Retry-After."""
    require(answer, peer)
    found = json_of(answer)
    if not isinstance(found, dict) or not isinstance(found.get("ok"), bool):
        raise OpsError("peer_answer_invalid", f"{peer} did not answer as Slack does: {excerpt(answer)!r}", peer=peer)
    if not found["ok"]:
        raise _refusal(str(found.get("error", "unknown_error")), answer, peer)
    return {
        "accepted_by": peer,
        "via": "chat.postMessage",
        "status": answer.status,
        "ts": found.get("ts"),
        "message_id": found.get("ts"),
        "channel": found.get("channel"),
        **({"warning": found["warning"]} if "warning" in found else {}),
    }


def _refusal(name: str, answer: IncomingAnswer, peer: str) -> OpsError:
    code = "outcome_unknown" if name in _DOUBTFUL else "delivery_deferred" if name in _DEFERRED else "delivery_refused"
    wait_s = retry_after(answer)
    more: dict[str, Any] = {} if wait_s is None else {"retry_after_s": wait_s}
    doubt = "; the message may have been posted" if name in _DOUBTFUL else ""
    return OpsError(code, f"Slack refused the message: {name}{doubt}", peer=peer, slack_error=name, **more)
