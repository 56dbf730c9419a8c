"""What each field of an asset may hold, and its stored form. Pure; used by `model.asset` only.

A check returns the stored form or raises `FieldInvalid` with what was expected, in words that end a sentence
"found …, expected …". What looks like a misplaced secret is never repeated in an error.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

TRANSPORTS = ("local", "ssh", "psrp", "http")
MAX_ENTRIES = 200
MAX_METADATA_BYTES = 32 * 1024
MAX_METADATA_DEPTH = 6
MAX_PATH_BYTES = 240

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOSTNAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,62}")
_REFERENCE = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,127}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\$-]{0,103}")

Check = Callable[[Any], Any]


class FieldInvalid(Exception):  # noqa: N818 - caught by model.asset, never seen by others
    """A value that does not fit; `found` is safe to show."""

    def __init__(self, expected: str, found: Any = "", *, hidden: bool = False) -> None:
        shown = repr(found)
        self.expected = expected
        excerpt = shown if len(shown) <= 80 else f"{shown[:60]}… ({len(shown)} characters)"
        self.found = "something else" if hidden else excerpt
        super().__init__(expected)


def text(value: Any, most: int = 200) -> str:
    """One line of text that is valid UTF-8; a YAML number counts as its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    expected = f"one line of 1 to {most} characters"
    if not isinstance(value, str) or not value.strip() or len(value) > most:
        raise FieldInvalid(expected, value)
    if any(char < " " or char in "\x7f\x85\u2028\u2029" or "\ud800" <= char <= "\udfff" for char in value):
        raise FieldInvalid(f"{expected} without control characters", value)
    return value.strip()


def hostname(value: Any) -> str:
    """A DNS name (RFC 1123 §2.1, underscores tolerated), in small letters, at most 253 characters."""
    folded = value.strip().rstrip(".").lower() if isinstance(value, str) else ""
    if len(folded) > 253 or not _HOSTNAME.fullmatch(folded) or folded.replace(".", "").isdigit():
        raise FieldInvalid("a host name of letters, digits, '-', '_' and '.', such as web-1.example.com", value)
    return folded


def _matching(pattern: re.Pattern[str], expected: str, *, fold: bool = False, hidden: bool = False) -> Check:
    def check(value: Any) -> str:
        word = value.strip() if isinstance(value, str) else ""
        word = word.lower() if fold else word
        if not pattern.fullmatch(word):
            raise FieldInvalid(expected, value, hidden=hidden)
        return word

    return check


word = _matching(_WORD, "one word of letters, digits, '_', '.' and '-', at most 64 characters", fold=True)
credential = _matching(
    _REFERENCE,
    "the name of a stored credential (letters, digits, '_', '.', ':', '/', '-'), never a secret",
    hidden=True,
)


def address(value: Any) -> str:
    """An IP address in its canonical text."""
    try:
        parsed = ipaddress.ip_address(value.strip() if isinstance(value, str) else "")
    except ValueError:
        raise FieldInvalid("an IPv4 or IPv6 address without prefix length, such as 10.0.0.7", value) from None
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id:
        raise FieldInvalid("an address without zone; put it into connection.address", value)
    return str(parsed)


def _endpoint(value: Any) -> str:
    """An address (a zone is allowed here) or host name."""
    try:
        return str(ipaddress.ip_address(value.strip() if isinstance(value, str) else ""))
    except ValueError:
        try:
            return hostname(value)
        except FieldInvalid:
            raise FieldInvalid("a host name or an IP address", value) from None


def _list_of(check: Check) -> Check:
    def check_all(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise FieldInvalid("a list", value)
        entries = {entry.casefold(): entry for entry in reversed([check(entry) for entry in value])}
        if len(entries) > MAX_ENTRIES:
            raise FieldInvalid(f"at most {MAX_ENTRIES} entries", len(entries))
        return tuple(reversed(entries.values()))

    return check_all


NAMES: Check = _list_of(lambda value: text(value, 100))


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise FieldInvalid("an object of key: text", value)
    if len(value) > MAX_ENTRIES:
        raise FieldInvalid(f"at most {MAX_ENTRIES} labels", len(value))
    result: dict[str, str] = {}
    for key, entry in value.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise FieldInvalid("label keys of letters, digits, '_', '.', '/', '-', at most 63 characters", key)
        if key.casefold() in (known.casefold() for known in result):
            raise FieldInvalid("label keys that differ in more than letter case", key)
        result[key] = str(entry).lower() if isinstance(entry, bool) else text(entry)
    return result


def _port(value: Any) -> int:
    try:
        number = int(value) if not isinstance(value, bool | float) else 0
    except (TypeError, ValueError):
        number = 0
    if not 1 <= number <= 65535:
        raise FieldInvalid("a port from 1 to 65535", value)
    return number


def _transport(value: Any) -> str:
    folded = value.strip().lower() if isinstance(value, str) else ""
    if folded not in TRANSPORTS:
        raise FieldInvalid(f"a transport: {', '.join(TRANSPORTS)}", value)
    return folded


_CONNECTION: dict[str, Check] = {
    "transport": _transport,
    "address": _endpoint,
    "port": _port,
    "user": _matching(_USER, "a login name of at most 104 characters"),
    "jump_host": hostname,
}


def _connection(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise FieldInvalid(f"an object with {', '.join(_CONNECTION)}", value)
    result: dict[str, Any] = {}
    for key, entry in value.items():
        if key not in _CONNECTION:
            hint = (
                "; a secret never goes here: name a stored one in `credential`" if "pass" in str(key).casefold() else ""
            )
            raise FieldInvalid(f"only the keys {', '.join(_CONNECTION)}{hint}", key)
        if entry is not None:
            try:
                result[key] = _CONNECTION[key](entry)
            except FieldInvalid as invalid:
                raise FieldInvalid(f"for connection.{key} {invalid.expected}", entry) from None
    return result


def _check_json(value: Any, path: str, depth: int) -> None:
    if depth > MAX_METADATA_DEPTH or len(path.casefold().encode("utf-8", "replace")) > MAX_PATH_BYTES:
        raise FieldInvalid(f"metadata at most {MAX_METADATA_DEPTH} levels deep, paths up to {MAX_PATH_BYTES} bytes")
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if not isinstance(key, str):
                raise FieldInvalid("metadata whose keys are texts", key)
            _check_json(key, path, depth)
            _check_json(entry, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list | tuple):
        for entry in value:
            _check_json(entry, path, depth + 1)
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise FieldInvalid("metadata texts that are valid UTF-8 without NUL", value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise FieldInvalid("finite numbers in metadata", value)
    elif value is not None and not isinstance(value, bool | int | float):
        raise FieldInvalid("metadata of plain JSON values", type(value).__name__)
    elif isinstance(value, int) and abs(value) >= 2**63:
        raise FieldInvalid("whole numbers of at most 63 bits in metadata", value)


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise FieldInvalid("a JSON object", value)
    _check_json(value, "", 0)
    plain = json.dumps(value, ensure_ascii=False)
    if (size := len(plain.encode())) > MAX_METADATA_BYTES:
        raise FieldInvalid(f"at most {MAX_METADATA_BYTES} bytes of JSON", size)
    result: dict[str, Any] = json.loads(plain)
    return result


FIELDS: dict[str, Check] = {
    "hostname": hostname,
    "addresses": _list_of(address),
    "type": word,
    "platform": word,
    "os": text,
    "status": word,
    "environment": word,
    "location": text,
    "owner": text,
    "tags": NAMES,
    "groups": NAMES,
    "labels": _labels,
    "metadata": _metadata,
    "connection": _connection,
    "credential": credential,
}
"""Field → its check: what a person may set."""

MERGED_FIELDS = ("labels", "metadata", "connection")
LIST_FIELDS = {"add_tags": "tags", "remove_tags": "tags", "add_groups": "groups", "remove_groups": "groups"}


def merged(current: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396 (JSON Merge Patch), one function: None removes a key, objects merge, all else replaces."""
    result = dict(current)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def without(entries: Iterable[str], gone: Iterable[str]) -> tuple[str, ...]:
    """`entries` less those in `gone`, letter case ignored."""
    folded = {entry.casefold() for entry in gone}
    return tuple(entry for entry in entries if entry.casefold() not in folded)
