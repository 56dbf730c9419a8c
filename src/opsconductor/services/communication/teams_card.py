"""What Teams is sent: inputs of teams-cli → an Adaptive Card in the envelope that Workflows webhooks take, or the older
MessageCard. Pure.

Facts from learn.microsoft.com: "Create incoming webhooks with Workflows" (envelope, 28 KB), the Adaptive Card schema
1.4 (Container styles, Action.OpenUrl) and "Legacy actionable message card reference".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from opsconductor.model.errors import OpsError

SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
MAX_BYTES = 28 * 1024
MAX_ACTIONS = 6


def compose(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The payload. Raises OpsError(`input_missing`, `input_invalid`) with the field."""
    sections, actions = _objects(inputs, "sections"), list(_actions(inputs))
    if not (inputs.get("message") or inputs.get("title") or sections):
        raise OpsError("input_missing", "teams-cli needs a message, a title or sections", field="message")
    if len(actions) > MAX_ACTIONS:
        raise OpsError(
            "input_too_large", f"actions: found {len(actions)}, a card shows at most {MAX_ACTIONS}", field="actions"
        )
    if inputs.get("format") == "message_card":
        return _message_card(inputs, sections, actions)
    return _envelope(_adaptive_card(inputs, sections, actions))


def _envelope(card: dict[str, Any]) -> dict[str, Any]:
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _adaptive_card(
    inputs: Mapping[str, Any], sections: list[dict[str, Any]], actions: list[tuple[str, str]]
) -> dict[str, Any]:
    body: list[dict[str, Any]] = []
    if title := inputs.get("title"):
        head = _text(title, size="Large", weight="Bolder")
        style = _style(inputs.get("theme_color"))
        body.append({"type": "Container", "style": style, "bleed": True, "items": [head]} if style else head)
    if message := inputs.get("message"):
        body.append(_text(message))
    body += [_section(section) for section in sections]
    card: dict[str, Any] = {"$schema": SCHEMA, "type": "AdaptiveCard", "version": "1.4", "body": body}
    if actions:
        card["actions"] = [{"type": "Action.OpenUrl", "title": name, "url": url} for name, url in actions]
    return card


def _section(section: dict[str, Any]) -> dict[str, Any]:
    """A MessageCard section as a container: its titles and text as blocks, its facts as a FactSet."""
    items = [
        _text(section[key], weight=weight, subtle=key == "activitySubtitle")
        for key, weight in (
            ("title", "Bolder"),
            ("activityTitle", "Bolder"),
            ("activitySubtitle", "Default"),
            ("activityText", "Default"),
            ("text", "Default"),
        )
        if section.get(key)
    ]
    if facts := list(_facts(section)):
        items.append({"type": "FactSet", "facts": [{"title": name, "value": value} for name, value in facts]})
    return {"type": "Container", "separator": True, "items": items}


def _facts(section: dict[str, Any]) -> Iterator[tuple[str, str]]:
    facts = section.get("facts") or []
    if isinstance(facts, Mapping):
        yield from ((str(name), str(value)) for name, value in facts.items())
        return
    for fact in facts:
        if not isinstance(fact, Mapping):
            raise OpsError("input_invalid", "sections: a fact is {name: …, value: …}", field="sections")
        yield str(fact.get("name", fact.get("title", ""))), str(fact.get("value", ""))


def _text(text: Any, *, size: str = "Default", weight: str = "Default", subtle: bool = False) -> dict[str, Any]:
    block = {"type": "TextBlock", "text": str(text), "wrap": True}
    styled = {"size": size, "weight": weight}
    block |= {key: value for key, value in styled.items() if value != "Default"}
    return block | ({"isSubtle": True} if subtle else {})


def _style(color: str | None) -> str | None:
    """The container style nearest to a colour: Adaptive Cards have named styles, no colours of one's own."""
    if not color:
        return None
    red, green, blue = (int(color.lstrip("#")[place : place + 2], 16) for place in (0, 2, 4))
    if max(red, green, blue) - min(red, green, blue) < 32:
        return "emphasis"
    if blue >= red and blue >= green:
        return "accent"
    if green > red:
        return "good"
    return "warning" if green >= 0x60 else "attention"


def _message_card(
    inputs: Mapping[str, Any], sections: list[dict[str, Any]], actions: list[tuple[str, str]]
) -> dict[str, Any]:
    title, message = inputs.get("title"), inputs.get("message")
    card: dict[str, Any] = {"@type": "MessageCard", "@context": "https://schema.org/extensions"}
    optional = {
        "title": title,
        "text": message,
        "summary": title or message or "OpsConductor",
        "themeColor": (inputs.get("theme_color") or "").lstrip("#"),
        "sections": sections,
        "potentialAction": [
            {"@type": "OpenUri", "name": name, "targets": [{"os": "default", "uri": url}]} for name, url in actions
        ],
    }
    return card | {name: value for name, value in optional.items() if value}


def _actions(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Links as (title, url): `{title, url}`, an Action.OpenUrl or a MessageCard's OpenUri."""
    for action in _objects(inputs, "actions"):
        targets = action.get("targets") or [{}]
        url = action.get("url") or (targets[0].get("uri") if isinstance(targets[0], Mapping) else None)
        title = action.get("title") or action.get("name")
        if not (isinstance(title, str) and isinstance(url, str) and url.startswith(("https://", "http://"))):
            raise OpsError("input_invalid", "actions: an action is {title: …, url: https://…}", field="actions")
        yield title, url


def _objects(inputs: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    entries = inputs.get(name) or []
    if not all(isinstance(entry, Mapping) for entry in entries):
        raise OpsError("input_invalid", f"{name}: expected a list of objects", field=name)
    return [dict(entry) for entry in entries]
