"""What a mail is: inputs of sendmail → an RFC 5322 message and its envelope. Pure: the time is passed in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Any

import msgspec

from opsconductor.model.errors import OpsError

_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\[\]\\\x00-\x20\x7f]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
# `"Ops, Team" <a@b>`, `Ops <a@b>` or `a@b`, then a comma or the end. No two parts take the same characters: linear.
_MAILBOX = re.compile(r'(?:(?:"((?:[^"\\]|\\.)*)"\s*|([^"<>,@]*))<([^<>]*)>\s*|([^"<>,]+))(,|$)')
MAX_ENTRY = 10_000
_QUOTED_PAIR = re.compile(r"\\(.)")
_BREAKS = re.compile(r"[\r\n\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9._-]{1,120}")
_MEDIA_TYPE = re.compile(r"(text|application)/([\w.+-]{1,100})")
_ATTACHMENT_KEYS = frozenset({"name", "content", "media_type"})
_OURS = frozenset(
    {"from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id", "mime-version"}
    | {"return-path", "received", "auto-submitted"}
)


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """A message and who it goes to: `recipients` has bcc too, which the message itself does not name."""

    content: bytes
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    needs_utf8: bool


def compose(inputs: Mapping[str, Any], *, default_from: str, dispatch_id: str, now: datetime) -> Mail:
    """The mail. Its Message-ID is made from `dispatch_id`: a repetition of the same dispatch carries the same one.

    Raises OpsError(`input_invalid`, `input_missing`, `setting_missing`) with the field.
    """
    people = {name: _addresses(name, inputs.get(name) or ()) for name in ("to", "cc", "bcc", "reply_to")}
    sender = _sender(inputs, default_from)
    recipients = tuple(dict.fromkeys(p.addr_spec for name in ("to", "cc", "bcc") for p in people[name]))
    if not recipients:
        raise OpsError("input_missing", "sendmail needs a recipient in to, cc or bcc", field="to")
    needs_utf8 = not all(address.isascii() for address in (sender.addr_spec, *recipients))
    message = EmailMessage(policy=SMTPUTF8 if needs_utf8 else SMTP)
    message_id = _message_id(dispatch_id, sender.domain)
    message["From"] = sender
    for header, name in (("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to")):
        if people[name]:
            message[header] = people[name]
    message["Subject"] = _line("subject", inputs.get("subject") or "")
    message["Date"] = format_datetime(now)
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 §5: keeps vacation responders from answering
    _add_headers(message, inputs.get("headers") or {})
    _add_body(message, inputs)
    return Mail(
        content=message.as_bytes(),
        sender=sender.addr_spec,
        recipients=recipients,
        message_id=message_id,
        needs_utf8=needs_utf8,
    )


def _sender(inputs: Mapping[str, Any], default: str) -> Address:
    text = inputs.get("from") or default
    if not text:
        raise OpsError("setting_missing", "sendmail has no sender: set SMTP_FROM or give from", field="from")
    found = _addresses("from", [text])
    if len(found) != 1:
        raise OpsError("input_invalid", f"from: found {len(found)} addresses, expected one", field="from")
    return found[0]


def _addresses(field: str, entries: Sequence[str]) -> tuple[Address, ...]:
    """`ops@example.com`, `Ops <ops@example.com>`, several in one text separated by commas."""
    return tuple(address for entry in entries for address in _parse_addresses(field, entry))


def _parse_addresses(field: str, entry: str) -> Iterator[Address]:
    # Not the standard library's parser: it raises IndexError for some texts, and repairs what should be refused.
    rest = _line(field, entry).strip()
    while len(entry) <= MAX_ENTRY and (found := _MAILBOX.match(rest)):
        quoted, bare, in_brackets, plain, end = found.groups()
        address = (in_brackets or plain or "").strip()
        if not _ADDRESS.fullmatch(address):
            break
        user, _, domain = address.rpartition("@")
        name = _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else (bare or "").strip()
        yield Address(name, user, domain)
        if not end:
            return
        rest = rest[found.end() :].lstrip()
    expected = "ops@example.com or Ops <ops@example.com>"
    raise OpsError("input_invalid", f"{field}: found {entry[:200]!r}, expected {expected}", field=field)


def _line(field: str, text: str) -> str:
    if _BREAKS.search(text):
        raise OpsError("input_invalid", f"{field} holds a line break or control character", field=field)
    return text


def _message_id(dispatch_id: str, domain: str) -> str:
    safe = _MESSAGE_ID.fullmatch(dispatch_id)
    return f"<{dispatch_id if safe else hashlib.sha256(dispatch_id.encode()).hexdigest()}@{domain}>"


def _add_headers(message: EmailMessage, headers: Mapping[str, Any]) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("content-"):
            raise OpsError("input_invalid", f"headers: {name!r} cannot be set", field="headers")
        if not isinstance(value, str | int | float):
            raise OpsError("input_invalid", f"headers.{name}: expected text", field="headers")
        message[name] = _line(f"headers.{name}", str(value))


def _add_body(message: EmailMessage, inputs: Mapping[str, Any]) -> None:
    text, html = inputs.get("body"), inputs.get("html")
    if text is None and html is None:
        raise OpsError("input_missing", "sendmail needs a body, html or both", field="body")
    if text is not None:
        message.set_content(text)
    if html is not None:
        if text is None:
            message.set_content(html, subtype="html")
        else:
            message.add_alternative(html, subtype="html")
    for attachment in inputs.get("attachments") or ():
        _attach(message, attachment)


def _attach(message: EmailMessage, attachment: Any) -> None:
    """`{name, content, media_type}`: text of a `text/…` or `application/…` type, sent as UTF-8."""
    if not isinstance(attachment, Mapping) or not {"name", "content"} <= attachment.keys() <= _ATTACHMENT_KEYS:
        raise _bad_attachment("an attachment is {name: …, content: text, media_type: text/plain}")
    name, content, media_type = attachment["name"], attachment["content"], attachment.get("media_type", "text/plain")
    if not isinstance(name, str) or not isinstance(content, str) or not name or "/" in name:
        raise _bad_attachment("the name is one file name and the content is text")
    if not (found := _MEDIA_TYPE.fullmatch(str(media_type))):
        raise _bad_attachment(f"found media type {media_type!r}, expected text/… or application/…")
    message.add_attachment(
        content.encode(),
        maintype=found[1],
        subtype=found[2],
        filename=_line("attachments", name),
        params={"charset": "utf-8"},
    )


def _bad_attachment(problem: str) -> OpsError:
    return OpsError("input_invalid", f"attachments: {problem}", field="attachments")
