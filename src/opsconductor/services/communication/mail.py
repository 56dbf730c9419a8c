"""sendmail: one message to a mail server, and what the server said about each recipient."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from opsconductor.model.errors import OpsError
from opsconductor.services.communication.config import CommunicationConfig
from opsconductor.services.communication.delivery import within_limits
from opsconductor.services.communication.mail_message import Mail, compose
from opsconductor.services.communication.smtp import MailServer, SmtpOutcome, SmtpProgress, transmit
from opsconductor.services.kit.handlers import HandlerResult, StepContext

USUAL_PORTS = {"starttls": 587, "tls": 465, "none": 25}


async def send(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
    """Send it. A recipient that was refused makes the step fail, unless `allow_partial`; the others were sent it.

    Raises OpsError: `delivery_refused`, `delivery_deferred`, `peer_unreachable`, `outcome_unknown`,
    `destination_not_allowed`, `setting_missing`, `input_invalid`, `cancelled`.
    """
    mail, server = _mail(config, context, inputs), _server(config, inputs)
    progress = SmtpProgress()
    outcome = await within_limits(context, transmit(mail, server, progress), progress, server.peer)
    data = _described(mail, server, outcome)
    if outcome.refused and not inputs.get("allow_partial"):
        names = ", ".join(reply.recipient for reply in outcome.refused)
        raise OpsError(
            "delivery_refused",
            f"{server.peer} took the message for {len(outcome.accepted)} recipient(s) and refused {names}",
            **data,
        )
    return HandlerResult(data=data)


async def preview(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
    """The message and envelope that would be sent; nothing is."""
    mail = _mail(config, context, inputs)
    return HandlerResult(
        data={
            "sent": False,
            "sender": mail.sender,
            "recipients": list(mail.recipients),
            "message_id": mail.message_id,
            "message": mail.content.decode("utf-8", "replace"),
        }
    )


def _mail(config: CommunicationConfig, context: StepContext, inputs: Mapping[str, Any]) -> Mail:
    return compose(inputs, default_from=config.smtp_from, dispatch_id=context.dispatch_id, now=datetime.now(UTC))


def _server(config: CommunicationConfig, inputs: Mapping[str, Any]) -> MailServer:
    """The server of the settings is trusted, and only it gets the settings' password; one from an input is judged."""
    mode = inputs.get("tls") or config.smtp_tls
    given_host = inputs.get("smtp_host")
    host = given_host or config.smtp_host
    if not host:
        raise OpsError(
            "setting_missing", "sendmail has no mail server: set SMTP_HOST or give smtp_host", field="smtp_host"
        )
    own = not given_host and not inputs.get("smtp_port")
    port = inputs.get("smtp_port") or (0 if given_host else config.smtp_port) or USUAL_PORTS[mode]
    weaker = own and inputs.get("tls") == "none" and config.smtp_tls != "none"
    with_settings_login = own and not weaker and not inputs.get("smtp_user")
    return MailServer(
        host=host,
        port=port,
        tls_mode=mode,
        user=(config.smtp_user if with_settings_login else inputs.get("smtp_user")) or "",
        password=(config.smtp_password if with_settings_login else inputs.get("smtp_password")) or "",
        judge=None if own else config.egress.judge,
        tls=config.tls,
        connect_timeout_s=config.connect_timeout_s,
    )


def _described(mail: Mail, server: MailServer, outcome: SmtpOutcome) -> dict[str, Any]:
    return {
        "accepted_by": server.peer,
        "message_id": mail.message_id,
        "reply": outcome.reply,
        "accepted": [reply.recipient for reply in outcome.accepted],
        "refused": [
            {"recipient": reply.recipient, "smtp_code": reply.smtp_code, "text": reply.text}
            for reply in outcome.refused
        ],
        "partial": bool(outcome.refused),
        "encrypted": server.tls_mode != "none",
        "size_bytes": len(mail.content),
    }
