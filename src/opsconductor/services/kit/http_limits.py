"""Bounds of the HTTP application and of its client, made by bootstrap from the settings. Seconds and bytes."""

from __future__ import annotations

import msgspec

from opsconductor.model.limits import DocumentLimits
from opsconductor.settings import Settings


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the application takes from a caller. `document.max_bytes` is the largest request body."""

    document: DocumentLimits = DocumentLimits(max_bytes=16 * 1024**2)
    max_plan_steps: int = 10_000
    body_timeout_s: float = 30.0
    """How long a caller may take to send its body."""
    stream_buffer_bytes: int = 1024**2
    """Most lines of output that wait for a slow reader of the event stream; results always wait."""


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the client takes from a service."""

    connect_timeout_s: float = 5.0
    answer_grace_s: float = 15.0
    """How long past the steps' own limits an answer may come."""
    plan_timeout_s: float = 86_400.0
    """Limit of steps that name none, when the request has no deadline."""
    control_timeout_s: float = 10.0
    """Limit of the short calls: cancel, tools, ready."""
    max_response_bytes: int = 256 * 1024**2
    max_event_bytes: int = 64 * 1024**2


def http_limits_from(settings: Settings) -> HttpLimits:
    """The application's bounds that the settings ask for."""
    return HttpLimits(
        document=DocumentLimits(
            max_bytes=settings.max_request_bytes,
            max_depth=settings.max_document_depth,
            max_nodes=settings.max_document_nodes,
        ),
        max_plan_steps=settings.max_plan_steps,
    )


def client_limits_from(settings: Settings) -> ClientLimits:
    """The client's bounds that the settings ask for."""
    return ClientLimits(
        connect_timeout_s=settings.connect_timeout_s,
        answer_grace_s=settings.answer_grace_s,
        plan_timeout_s=settings.plan_timeout_s,
        max_response_bytes=settings.max_response_bytes,
        max_event_bytes=settings.max_event_bytes,
    )
