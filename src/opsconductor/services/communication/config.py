"""What the communication service is configured with. Built in bootstrap, passed to `handlers.handlers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from opsconductor.security.egress import EgressGate, EgressPolicy, parse_policy, rule_for_url
from opsconductor.settings import Settings

if TYPE_CHECKING:
    import ssl

    from aiohttp.abc import AbstractResolver

TLS_MODES = {"true": "starttls", "false": "none"}


class CommunicationConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Servers and credentials of deliveries that name none, and the policy for those that do.

    `smtp_tls` is `starttls`, `tls` or `none`; `smtp_port` 0 means the usual one. `tls` and `resolver` None mean the
    system's certificates and resolver.
    """

    egress: EgressGate
    smtp_host: str = ""
    smtp_port: int = 0
    smtp_user: str = ""
    smtp_password: str = ""
    smtp_tls: str = "starttls"
    smtp_from: str = ""
    slack_webhook_url: str = ""
    slack_bot_token: str = ""
    slack_api_url: str = "https://slack.com/api"
    teams_webhook_url: str = ""
    connect_timeout_s: float = 5.0
    tls: ssl.SSLContext | None = None
    resolver: AbstractResolver | None = None

    def egress_for(self, configured_url: str) -> EgressPolicy:
        """The policy in force, with the host and port of a URL from the settings allowed: an operator wrote it there.

        The deny-list still wins.
        """
        return self.egress.policy.allowing(rule_for_url(configured_url))


def config_from(settings: Settings, egress: EgressGate | None = None) -> CommunicationConfig:
    """The settings' part in deliveries. Raises OpsError(`request_invalid`) for egress rules that cannot be read."""
    return CommunicationConfig(
        egress=egress or EgressGate(parse_policy(settings.egress_allow, settings.egress_deny)),
        smtp_host=settings.smtp_host,
        smtp_port=settings.smtp_port,
        smtp_user=settings.smtp_user,
        smtp_password=settings.smtp_password,
        smtp_tls=TLS_MODES.get(settings.smtp_use_tls, settings.smtp_use_tls),
        smtp_from=settings.smtp_from,
        slack_webhook_url=settings.slack_webhook_url,
        slack_bot_token=settings.slack_bot_token,
        slack_api_url=settings.slack_api_url,
        teams_webhook_url=settings.teams_webhook_url,
        connect_timeout_s=settings.connect_timeout_s,
    )
