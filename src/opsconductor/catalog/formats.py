"""Named formats of string inputs: what a value must look like before it may become an argument.

Each check returns None for a good value and otherwise what was expected, in words that end a sentence
"…, expected …". Used by `catalog.inputs`; the reference page lists the names with their one-line meaning.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import UUID

from opsconductor.model.clock import from_rfc3339

Check = Callable[[str], str | None]

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOSTNAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")


def _matches(pattern: str, expected: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: None if compiled.fullmatch(value) else expected


def _parses(parse: Callable[[str], object], expected: str) -> Check:
    def check(value: str) -> str | None:
        try:
            parse(value)
        except (ValueError, RecursionError):
            return expected
        return None

    return check


def _either(first: Check, second: Check, expected: str) -> Check:
    return lambda value: None if first(value) is None or second(value) is None else expected


def _hostname(value: str) -> str | None:
    """A DNS name (RFC 1123 §2.1, underscore tolerated as in SRV and DKIM names), at most 253 characters."""
    good = len(value.rstrip(".")) <= 253 and _HOSTNAME.fullmatch(value) and not value.replace(".", "").isdigit()
    return None if good else "a host name such as web-1.example.com"


def _url(value: str) -> str | None:
    expected = "an absolute http or https URL such as https://example.com/path"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return expected
    plain = value.isprintable() and " " not in value
    return None if plain and parts.scheme in ("http", "https") and parts.hostname else expected


def _absolute_path(value: str) -> str | None:
    return None if value.startswith("/") else "an absolute path that begins with '/'"


_ip = _parses(ipaddress.ip_address, "an IPv4 or IPv6 address")
_cidr = _parses(lambda value: ipaddress.ip_network(value, strict=False), "a network such as 10.0.0.0/24")
_host = _either(_hostname, _ip, "a host name or an IP address")

FORMATS: dict[str, tuple[str, Check]] = {
    "host": ("host name or IP address", _host),
    "hostname": ("DNS host name", _hostname),
    "domain": ("DNS name, also a zone or a reverse name", _hostname),
    "ip": ("IPv4 or IPv6 address", _ip),
    "cidr": ("network in CIDR notation, or one address", _cidr),
    "network": ("host name, address or network", _either(_host, _cidr, "a host name, an address or a network")),
    "url": ("absolute http or https URL", _url),
    "path": ("path of a file or folder", lambda value: None if value.strip() else "a path"),
    "absolute_path": ("path that begins with '/'", _absolute_path),
    "file_name": ("one file name, without '/'", _matches(r"(?!\.{1,2}$)[^/\x00]{1,255}", "one file name without '/'")),
    "name": (
        "letters, digits, '.', '_', '-'; begins with a letter or digit",
        _matches(r"[A-Za-z0-9][A-Za-z0-9._-]*", "letters, digits, '.', '_' or '-', beginning with a letter or digit"),
    ),
    "username": ("POSIX login name", _matches(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", "a login name such as deploy")),
    "group_name": ("POSIX group name", _matches(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", "a group name such as www-data")),
    "owner": (
        "user, user:group or :group, by name or number",
        _matches(r"[A-Za-z0-9_][\w.-]{0,31}(:([A-Za-z0-9_][\w.-]{0,31})?)?|:[A-Za-z0-9_][\w.-]{0,31}", "user:group"),
    ),
    "file_mode": (
        "octal or symbolic file mode, as chmod takes it",
        _matches(r"[0-7]{3,4}|[ugoa]*[-+=][rwxXst]*(,[ugoa]*[-+=][rwxXst]*)*", "a mode such as 0644 or u=rw,go=r"),
    ),
    "systemd-unit": (
        "unit name of systemd",
        _matches(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]{0,254}", "a unit name such as nginx.service"),
    ),
    "interface": (
        "network interface, at most 15 characters",
        _matches(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}", "an interface name such as eth0"),
    ),
    "email": (
        "mail address",
        _matches(
            r"[^\s@<>\"(),:;\[\]\\]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", "an address such as ops@example.com"
        ),
    ),
    "mac": (
        "hardware address",
        _matches(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}", "an address such as 52:54:00:12:34:56"),
    ),
    "signal": (
        "signal name or number",
        _matches(r"(SIG)?[A-Z][A-Z0-9]{1,9}([+-]\d{1,2})?|\d{1,2}", "a signal such as TERM"),
    ),
    "env_name": ("environment variable name", _matches(r"[A-Za-z_][A-Za-z0-9_]*", "a name such as LANG")),
    "ports": (
        "ports and ranges, separated by commas",
        _matches(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", "ports such as 22,80,8000-8100"),
    ),
    "datetime": ("RFC 3339 time with offset", _parses(from_rfc3339, "a time such as 2026-01-02T03:04:05Z")),
    "uuid": ("UUID", _parses(UUID, "a UUID")),
    "regex": ("regular expression", _matches(r"[^\n]+", "one line")),
    "json": ("JSON document", _parses(json.loads, "a JSON document")),
    "selector": ("inventory selector such as env=prod, role in (web, api)", lambda value: None),
}
"""Name → (meaning, check)."""
