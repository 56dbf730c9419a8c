"""What Slack is sent: inputs of slack-cli → the JSON that incoming webhooks and chat.postMessage take. Pure.

Limits are those of api.slack.com: 40,000 characters of text, 50 blocks, 100 attachments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opsconductor.model.errors import OpsError

MAX_TEXT, MAX_BLOCKS, MAX_ATTACHMENTS = 40_000, 50, 100


def compose(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The message. Raises OpsError(`input_missing`, `input_invalid`, `input_too_large`) with the field."""
    text = inputs.get("message") or ""
    blocks, attachments = _objects(inputs, "blocks"), _objects(inputs, "attachments")
    if not (text or blocks or attachments):
        raise OpsError("input_missing", "slack-cli needs a message, blocks or attachments", field="message")
    for name, size, limit in (
        ("message", len(text), MAX_TEXT),
        ("blocks", len(blocks), MAX_BLOCKS),
        ("attachments", len(attachments), MAX_ATTACHMENTS),
    ):
        if size > limit:
            raise OpsError("input_too_large", f"{name}: found {size}, Slack takes at most {limit}", field=name)
    optional = {
        "blocks": blocks,
        "attachments": attachments,
        "channel": inputs.get("channel"),
        "username": inputs.get("username"),
        "icon_emoji": _emoji(inputs.get("icon_emoji")),
        "thread_ts": inputs.get("thread_ts"),
    }
    return {"text": text, **{name: value for name, value in optional.items() if value}}


def _objects(inputs: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    entries = inputs.get(name) or []
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise OpsError("input_invalid", f"{name}: expected a list of objects", field=name)
    return [dict(entry) for entry in entries]


def _emoji(name: str | None) -> str | None:
    return f":{name.strip(':')}:" if name else None
