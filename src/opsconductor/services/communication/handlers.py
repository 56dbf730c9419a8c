"""The handlers of the communication service by the names that definitions bind. Called by bootstrap.

aiohttp and aiosmtplib are imported with a handler's first call: they cost start-up time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from opsconductor.services.communication.config import CommunicationConfig
from opsconductor.services.communication.delivery import masking, url_secrets
from opsconductor.services.kit.handlers import Handler, HandlerRegistry, HandlerResult, StepContext

_Work = Callable[[CommunicationConfig, StepContext, Mapping[str, Any]], Awaitable[HandlerResult]]

# handler name → module of this package, function, and the function that shows what it would do
_BOUND = {
    "mail.send": ("mail", "send", "preview"),
    "webhook.send": ("webhook", "send", "preview"),
    "slack.post": ("slack", "post", "preview"),
    "teams.post": ("teams", "post", "preview"),
    "mail.preview": ("mail", "preview", "preview"),
    "webhook.preview": ("webhook", "preview", "preview"),
    "slack.preview": ("slack", "preview", "preview"),
    "teams.preview": ("teams", "preview", "preview"),
}


def handlers(config: CommunicationConfig) -> HandlerRegistry:
    """Every handler, bound to `config`; secrets never show in what they return or raise. A dry run delivers nothing."""
    secrets = _settings_secrets(config)
    return {name: masking(_bind(config, *place), secrets, _input_secrets) for name, place in _BOUND.items()}


def _bind(config: CommunicationConfig, module: str, function: str, dry_function: str) -> Handler:
    async def run(context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
        found = import_module(f"opsconductor.services.communication.{module}")
        work: _Work = getattr(found, dry_function if context.dry_run else function)
        return await work(config, context, inputs)

    return run


def _settings_secrets(config: CommunicationConfig) -> list[str]:
    urls = (config.slack_webhook_url, config.teams_webhook_url)
    return [config.smtp_password, config.slack_bot_token, *(part for url in urls for part in url_secrets(url))]


def _input_secrets(inputs: Mapping[str, Any]) -> Iterable[str]:
    from opsconductor.services.communication.webhook_request import secret_headers

    yield from url_secrets(str(inputs.get("webhook_url") or ""))
    yield from secret_headers(inputs)
