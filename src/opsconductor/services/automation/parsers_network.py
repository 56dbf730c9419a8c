"""Parsers of what network programs say: ss, host, nslookup, curl; and the table of all parsers of this family. Pure.

`bootstrap` hands `PARSERS` to automation-service together with those of `services.automation.parsers`. ValueError
says that a text does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from opsconductor.services.automation import parsers_permissions, parsers_security, parsers_sqlite
from opsconductor.services.kit.parsers_text import parse_lines

_SS_USER = re.compile(r'\("((?:[^"\\]|\\.)*)",pid=(\d+),fd=(\d+)\)')
_HOST_FORMS = (
    (re.compile(r"(\S+) has address (\S+)"), "A"),
    (re.compile(r"(\S+) has IPv6 address (\S+)"), "AAAA"),
    (re.compile(r"(\S+) is an alias for (\S+)"), "CNAME"),
    (re.compile(r"(\S+) mail is handled by (\d+ \S+)"), "MX"),
    (re.compile(r"(\S+) name server (\S+)"), "NS"),
    (re.compile(r"(\S+) domain name pointer (\S+)"), "PTR"),
    (re.compile(r"(\S+) descriptive text (.+)"), "TXT"),
    (re.compile(r"(\S+) has SRV record (.+)"), "SRV"),
    (re.compile(r"(\S+) has SOA record (.+)"), "SOA"),
)
_HOST_OTHER = re.compile(r"(\S+) has ([A-Z0-9]+) record (.+)")
_HOST_SILENT = re.compile(r"(Using domain server:|Name: .*|Address: .*|Aliases:.*|\S+ has no \S+ record|)")
_NSLOOKUP_FORMS = (
    (re.compile(r"(\S+)\tcanonical name = (\S+)"), "CNAME"),
    (re.compile(r"(\S+)\tmail exchanger = (.+)"), "MX"),
    (re.compile(r"(\S+)\tnameserver = (\S+)"), "NS"),
    (re.compile(r"(\S+)\tname = (\S+)"), "PTR"),
    (re.compile(r"(\S+)\ttext = (.+)"), "TXT"),
    (re.compile(r"(\S+)\tservice = (.+)"), "SRV"),
)
_HEADERS_END = re.compile(r"\r?\n\r?\n")
_STATUS_LINE = re.compile(r"HTTP/(\d(?:\.\d)?) (\d{3})(?: ([^\r\n]*))?")


def _endpoint(text: str) -> tuple[str, int | None]:
    """`[::1]:80`, `127.0.0.53%lo:53`, `*:*` as address and port; null is any port."""
    address, _, port = text.rpartition(":")
    return address.removeprefix("[").removesuffix("]"), int(port) if port.isdigit() else None


def parse_ss_rows(text: str) -> list[dict[str, Any]]:
    """`ss --tcp --udp --numeric --processes --no-header --oneline`: one object a socket, with who holds it."""
    rows = []
    for number, line in enumerate(parse_lines(text), 1):
        words = line.split(maxsplit=6)
        if len(words) < 6 or not (words[2].isdigit() and words[3].isdigit()):
            raise ValueError(f"line {number}: expected protocol, state, two queues and two endpoints")
        (address, port), (peer, peer_port) = _endpoint(words[4]), _endpoint(words[5])
        users = _SS_USER.findall(words[6]) if len(words) > 6 else []
        rows.append(
            {
                "protocol": words[0],
                "state": words[1],
                "receive_queue": int(words[2]),
                "send_queue": int(words[3]),
                "address": address,
                "port": port,
                "peer_address": peer,
                "peer_port": peer_port,
                "processes": [{"name": name, "pid": int(pid), "fd": int(fd)} for name, pid, fd in users],
            }
        )
    return rows


def _answer(name: str, kind: str, value: str) -> dict[str, str]:
    return {"name": name, "type": kind, "value": value}


def _first_form(line: str, forms: tuple[tuple[re.Pattern[str], str], ...]) -> dict[str, str] | None:
    for pattern, kind in forms:
        if match := pattern.fullmatch(line):
            return _answer(match.group(1), kind, match.group(2))
    return None


def parse_host_answers(text: str) -> list[dict[str, str]]:
    """What `host` answers, one object a record: `{"name": …, "type": "A", "value": …}`. 'Has no record' gives none."""
    answers = []
    for number, line in enumerate(parse_lines(text), 1):
        if (answer := _first_form(line, _HOST_FORMS)) is not None:
            answers.append(answer)
        elif match := _HOST_OTHER.fullmatch(line):
            answers.append(_answer(*match.groups()))
        elif not _HOST_SILENT.fullmatch(line):
            raise ValueError(f"line {number}: this is no answer of host: {line[:80]!r}")
    return answers


def parse_nslookup(text: str) -> dict[str, Any]:
    """`{"server": …, "authoritative": …, "answers": [{"name", "type", "value"}]}` of one `nslookup`.

    Server is null where nslookup names none, as for reverse look-ups. Records that the server adds below
    'Authoritative answers can be found from' are left out.
    """
    server: str | None = None
    authoritative, answers, owner = True, list[dict[str, str]](), ""
    for line in parse_lines(text):
        key, _, value = line.partition(":")
        value = value.strip()
        if line.startswith("Authoritative answers can be found from"):
            break
        if (answer := _first_form(line, _NSLOOKUP_FORMS)) is not None:
            answers.append(answer)
        elif key == "Server":
            server = value
        elif key == "Non-authoritative answer":
            authoritative = False
        elif key == "Name":
            owner = value
        elif key == "Address" and owner:
            answers.append(_answer(owner, "AAAA" if ":" in value else "A", value))
    return {"server": server, "authoritative": authoritative, "answers": answers}


def _header_block(block: str) -> tuple[dict[str, Any], dict[str, list[str]]]:
    first, *lines = block.replace("\r\n", "\n").split("\n")
    status = _STATUS_LINE.fullmatch(first.rstrip())
    if status is None:
        raise ValueError(f"found {first[:60]!r}, expected the status line of an HTTP response")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().casefold(), []).append(value.strip())
    version, code, reason = status.groups()
    return {"http_version": version, "status": int(code), "reason": reason or ""}, headers


def _last_response(text: str, passed: Callable[[dict[str, Any], dict[str, list[str]]], bool]) -> dict[str, Any]:
    """The response after those that `passed(status, headers)` tells to be earlier ones; those have no body here."""
    rest, earlier = text, 0
    while True:
        end = _HEADERS_END.search(rest)
        block, rest = (rest[: end.start()], rest[end.end() :]) if end else (rest, "")
        status, headers = _header_block(block)
        if not passed(status, headers) or not _STATUS_LINE.match(rest):
            return {**status, "headers": headers, "body": rest, "earlier_responses": earlier}
        earlier += 1


def parse_curl_response(text: str) -> dict[str, Any]:
    """`curl --include`: status, headers (names in small letters, a list of values each) and body of the response.

    `earlier_responses` counts interim ones (1xx) before it.
    """
    return _last_response(text, lambda status, _: status["status"] < 200)


def parse_curl_followed(text: str) -> dict[str, Any]:
    """`curl --include --location`: like `parse_curl_response`; redirects count among the earlier responses.

    Curl leaves out the bodies of redirects that it follows, and ends with an error where it follows one no more.
    """
    return _last_response(
        text,
        lambda status, headers: status["status"] < 200 or (300 <= status["status"] < 400 and "location" in headers),
    )


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "ss_rows": parse_ss_rows,
    "host_answers": parse_host_answers,
    "nslookup": parse_nslookup,
    "curl_response": parse_curl_response,
    "curl_followed": parse_curl_followed,
    "certificate": parsers_security.parse_certificate,
    "digest_rows": parsers_security.parse_digest_rows,
    "ssh_fingerprints": parsers_security.parse_ssh_fingerprints,
    "known_host_rows": parsers_security.parse_known_host_rows,
    "ssh_public_key": parsers_security.parse_ssh_public_key,
    "mode_changes": parsers_permissions.parse_mode_changes,
    "owner_changes": parsers_permissions.parse_owner_changes,
    "stat_rows": parsers_permissions.parse_stat_rows,
    "process_rows": parsers_permissions.parse_process_rows,
    "sqlite_rows": parsers_sqlite.parse_sqlite_rows,
    "sqlite_changes": parsers_sqlite.parse_sqlite_changes,
}
