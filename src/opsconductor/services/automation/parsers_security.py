"""Parsers of what openssl and ssh-keygen say about certificates, digests and keys. Pure.

Named in `services.automation.parsers_network`. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from opsconductor.model.clock import to_rfc3339
from opsconductor.services.kit.parsers_text import parse_lines

_EXTENSION = re.compile(r"X509v3 ([A-Za-z ]+): ?(critical)?\s*")
_EXTENSIONS = {
    "Subject Alternative Name": "alternative_names",
    "Key Usage": "key_usage",
    "Extended Key Usage": "extended_key_usage",
    "Basic Constraints": "basic_constraints",
}
_DIGEST = re.compile(r"([0-9a-f]+) \*(.*)")
_FINGERPRINT = re.compile(r"(\d+) (\S+) (.*) \(([A-Z0-9-]+)\)")
_FOUND = re.compile(r"# Host (.+) found: line (\d+)\s?(CA|REVOKED)?\s*")


def _utc(text: str) -> str:
    """`2026-01-02 03:04:05Z`, as `-dateopt iso_8601` writes it."""
    return to_rfc3339(datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC))


def _field(line: str) -> tuple[str, str] | None:
    key, equals, value = line.partition("=")
    if not equals:
        return None
    names = {"subject": "subject", "issuer": "issuer", "serial": "serial"}
    if key in names:
        return names[key], value.strip()
    if key in ("notBefore", "notAfter"):
        return ("not_before" if key == "notBefore" else "not_after"), _utc(value)
    if key.casefold().endswith(" fingerprint"):
        return "fingerprint_" + key.split()[0].casefold(), value.strip()
    return None


def parse_certificate(text: str) -> dict[str, Any]:
    """Fields and extensions that `openssl x509 -noout` printed; an extension is a list of its parts, null if absent."""
    found: dict[str, Any] = dict.fromkeys(_EXTENSIONS.values())
    lines = iter(parse_lines(text))
    for number, line in enumerate(lines, 1):
        if extension := _EXTENSION.fullmatch(line):
            parts = [part.strip() for part in next(lines, "").split(",")]
            found[_EXTENSIONS.get(extension.group(1), extension.group(1))] = parts
        elif (field := _field(line)) is not None:
            found[field[0]] = field[1]
        elif line.strip() and not line.startswith("No extensions"):
            raise ValueError(f"line {number}: this is no field of a certificate: {line[:60]!r}")
    if "subject" not in found:
        raise ValueError("there is no subject")
    return found


def parse_digest_rows(text: str) -> list[dict[str, str]]:
    """`openssl dgst -r`: `<hex> *<path>` a line."""
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        match = _DIGEST.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected a digest and a path")
        rows.append({"path": match.group(2), "digest": match.group(1)})
    return rows


def parse_ssh_fingerprints(text: str) -> list[dict[str, Any]]:
    """`ssh-keygen -l`: bits, fingerprint, comment and type of each key."""
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        match = _FINGERPRINT.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected bits, fingerprint, comment and type of a key")
        bits, fingerprint, comment, kind = match.groups()
        rows.append({"bits": int(bits), "fingerprint": fingerprint, "comment": comment, "type": kind})
    return rows


def parse_known_host_rows(text: str) -> list[dict[str, Any]]:
    """`ssh-keygen -F host -l`: the keys known for a host. `mark` is CA or REVOKED for lines so marked, else null."""
    rows = list[dict[str, Any]]()
    place: tuple[int, str | None] | None = None
    for number, line in enumerate(parse_lines(text), 1):
        if found := _FOUND.fullmatch(line):
            place = int(found.group(2)), found.group(3)
            continue
        words = line.split()
        if place is None or len(words) < 3:
            raise ValueError(f"line {number}: expected the place of a key, then host, type and fingerprint")
        rows.append({"host": words[0], "type": words[1], "fingerprint": words[2], "line": place[0], "mark": place[1]})
        place = None
    return rows


def parse_ssh_public_key(text: str) -> dict[str, str]:
    """One public key in the form of authorized_keys: type, base64 and comment."""
    words = text.strip().split(maxsplit=2)
    if len(words) < 2:
        raise ValueError("expected the type of a key and the key")
    return {"type": words[0], "key": words[1], "comment": words[2] if len(words) > 2 else ""}
