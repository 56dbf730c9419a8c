"""What every delivery has in common: limits and cancelling while it runs, and masking of what it reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from opsconductor.model.errors import OpsError
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.handlers import Handler, HandlerResult, StepContext

T = TypeVar("T")
SecretsOf = Callable[[Mapping[str, Any]], Iterable[str]]
MIN_SECRET_PATH = 12
"""Shorter paths of secret URLs (`/hook`) are ordinary words and stay readable."""


class Sent(Protocol):
    """Whether the delivery may have been acted on by now."""

    sent: bool


async def within_limits(context: StepContext, work: Awaitable[T], progress: Sent, peer: str) -> T:
    """Await `work` until the step's time limit or its cancellation, and say truthfully what an early end means.

    Raises OpsError: `cancelled` or `peer_unreachable` (nothing was sent), `outcome_unknown` (something was).
    """
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(context.cancel.wait())
    try:
        await asyncio.wait({task, stop}, timeout=context.timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        if not task.done():
            task.cancel()
        await asyncio.wait({task, stop})
    if not task.cancelled():
        return task.result()
    how = "the step was cancelled" if context.cancel.is_set() else f"the limit of {context.timeout_s:g} s was reached"
    if progress.sent:
        raise OpsError(
            "outcome_unknown", f"{peer}: {how} after the delivery was sent; it may have been accepted", peer=peer
        )
    code = "cancelled" if context.cancel.is_set() else "peer_unreachable"
    raise OpsError(code, f"{peer}: {how} before anything was sent", peer=peer)


def masking(handler: Handler, settings_secrets: Iterable[str], secrets_of: SecretsOf) -> Handler:
    """`handler` with every secret it was given masked in its result and in its errors."""
    fixed = tuple(settings_secrets)

    async def run(context: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
        redactor = Redactor([*fixed, *_declared_secrets(context, inputs), *secrets_of(inputs)])
        try:
            result = await handler(context, inputs)
        except OpsError as error:
            # The original's own texts may hold the secret, so it does not travel along as the cause.
            raise OpsError(
                error.code, redactor.text(error.message), problems=error.problems, **redactor.data(error.context)
            ) from None
        return HandlerResult(data=redactor.data(result.data), output=redactor.data(result.output))

    return run


def url_secrets(url: str) -> list[str]:
    """A webhook's URL is a credential, and so is its path alone: error texts of servers repeat it."""
    if not url:
        return []
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    last = parts.path.rsplit("/", 1)[-1]
    return [url, *(part for part in (target, parts.path, last) if len(part) >= MIN_SECRET_PATH)]


def _declared_secrets(context: StepContext, inputs: Mapping[str, Any]) -> list[str]:
    secret = [name for name, spec in context.tool.inputs.items() if spec.secret]
    return [str(inputs[name]) for name in secret if inputs.get(name)]
