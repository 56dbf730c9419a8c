"""Parsers of the network, certificate, permission and database programs, on text as those programs write it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.services.automation.parsers_network import PARSERS

HTTP = "HTTP/1.1 {} {}\r\nLocation: /x\r\n\r\n"
KNOWN_HOST = "# Host web.test found: line 2 \nweb.test ED25519 SHA256:abc\n"


def _parse(name: str, text: str) -> Any:
    return PARSERS[name](text)


def test_ss_takes_ipv6_scopes_wildcards_and_several_holders() -> None:
    text = (
        'udp   UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("a b",pid=7,fd=1),("c",pid=8,fd=2))\n'
        "tcp   LISTEN 0 128 [::]:22 [::]:* \n"
        "tcp   TIME-WAIT 0 0 *:80 [2001:db8::1]:40000\n"
    )
    udp, listening, waiting = _parse("ss_rows", text)
    assert (udp["address"], udp["port"], udp["peer_port"]) == ("127.0.0.53%lo", 53, None)
    assert udp["processes"] == [{"name": "a b", "pid": 7, "fd": 1}, {"name": "c", "pid": 8, "fd": 2}]
    assert (listening["address"], listening["port"], listening["processes"]) == ("::", 22, [])
    assert (waiting["address"], waiting["peer_address"], waiting["peer_port"]) == ("*", "2001:db8::1", 40000)


def test_host_names_every_kind_of_record_and_skips_what_is_none() -> None:
    text = (
        "Using domain server:\nName: 127.0.0.1\nAddress: 127.0.0.1#53\nAliases: \n\n"
        'a.test has address 192.0.2.1\na.test has no MX record\na.test has CAA record 0 issue "x"\n'
        "_s.test has SRV record 0 5 80 a.test.\na.test mail is handled by 10 m.test.\n"
    )
    assert [(row["type"], row["value"]) for row in _parse("host_answers", text)] == [
        ("A", "192.0.2.1"),
        ("CAA", '0 issue "x"'),
        ("SRV", "0 5 80 a.test."),
        ("MX", "10 m.test."),
    ]


def test_nslookup_tells_whether_the_answer_is_authoritative_and_stops_at_the_additions() -> None:
    text = (
        "Server:\t\t192.0.2.53\nAddress:\t192.0.2.53#53\n\nNon-authoritative answer:\nName:\ta.test\n"
        "Address: 192.0.2.1\n\nAuthoritative answers can be found from:\ntest\tnameserver = n.test.\n"
    )
    found = _parse("nslookup", text)
    assert (found["server"], found["authoritative"]) == ("192.0.2.53", False)
    assert found["answers"] == [{"name": "a.test", "type": "A", "value": "192.0.2.1"}]


def test_curl_keeps_a_body_that_looks_like_a_response_apart() -> None:
    body = HTTP.format(200, "OK") + "spoof"
    found = _parse("curl_response", "HTTP/1.1 100 Continue\r\n\r\n" + HTTP.format(302, "Found") + body)
    assert (found["status"], found["earlier_responses"], found["body"]) == (302, 1, body)


def test_curl_passes_over_redirects_that_were_followed() -> None:
    text = HTTP.format(301, "Moved Permanently") + "HTTP/2 200 \r\nA: 1\r\na: 2\r\n\r\nline\r\n\r\nend"
    found = _parse("curl_followed", text)
    assert (found["http_version"], found["status"], found["reason"], found["earlier_responses"]) == ("2", 200, "", 1)
    assert (found["headers"], found["body"]) == ({"a": ["1", "2"]}, "line\r\n\r\nend")


def test_certificate_without_extensions_has_null_for_each() -> None:
    text = "subject=CN=a\nissuer=CN=b\nserial=01\nnotBefore=2026-01-02 03:04:05Z\nnotAfter=2027-01-02 03:04:05Z\n"
    found = _parse("certificate", text + "No extensions in certificate\n")
    assert (found["subject"], found["issuer"], found["not_before"]) == ("CN=a", "CN=b", "2026-01-02T03:04:05.000000Z")
    assert (found["alternative_names"], found["key_usage"]) == (None, None)


def test_certificate_extensions_are_lists_also_when_critical() -> None:
    text = "subject=CN=a\nX509v3 Key Usage: critical\n    Digital Signature, Key Encipherment\n"
    assert _parse("certificate", text)["key_usage"] == ["Digital Signature", "Key Encipherment"]


def test_known_hosts_tells_revoked_keys() -> None:
    text = KNOWN_HOST + "# Host web.test found: line 3 REVOKED\nweb.test RSA SHA256:def\n"
    assert [(row["line"], row["mark"]) for row in _parse("known_host_rows", text)] == [(2, None), (3, "REVOKED")]


@pytest.mark.parametrize(
    ("quoted", "path"),
    [
        ("'/a b'", "/a b"),
        ('"/it\'s"', "/it's"),
        ("'/a'$'\\n''b'", "/a\nb"),
        ("'/a'\\''\"b'", "/a'\"b"),
        ("'/'$'\\303\\244'", "/ä"),
        ("'/ä'", "/ä"),
    ],
)
def test_names_in_quotes_are_read_as_they_are_on_the_disk(quoted: str, path: str) -> None:
    text = f"mode of {quoted} changed from 0644 (rw-r--r--) to 4755 (rwsr-xr-x)\n"
    assert _parse("mode_changes", text) == [{"path": path, "before": "0644", "after": "4755", "changed": True}]


def test_owner_changes_know_both_wordings() -> None:
    text = (
        "changed ownership of '/a' from root:root to app:app\nownership of '/b' retained as app\n"
        "changed group of '/c' from root to adm\nfailed to change ownership of '/d' from root to app\n"
    )
    assert [(row["path"], row["before"], row["after"], row["changed"]) for row in _parse("owner_changes", text)] == [
        ("/a", "root:root", "app:app", True),
        ("/b", "app", "app", False),
        ("/c", "root", "adm", True),
    ]


def test_stat_and_ps_take_blanks_and_tabs_in_the_last_column() -> None:
    (row,) = _parse("stat_rows", "0\troot\troot\t0\t0\tregular file\t5\t/a\tb c\n")
    assert (row["mode"], row["path"]) == ("0000", "/a\tb c")
    (process,) = _parse("process_rows", "  12     1   - SLl      0 /bin/x  -a b\n")
    assert (process["nice"], process["command"]) == (None, "/bin/x  -a b")


def test_sqlite_gives_rows_results_and_changes() -> None:
    assert _parse("sqlite_rows", "") == []
    assert _parse("sqlite_rows", '[{"a":1},\n{"a":null}]\n') == [{"a": 1}, {"a": None}]
    assert _parse("sqlite_changes", '[{"a":"]["}]\n[{"changes":2}]\n') == {"changes": 2, "results": [[{"a": "]["}]]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ss_rows", "tcp LISTEN x y 1:2 3:4\n"),
        ("host_answers", "something else\n"),
        ("curl_response", "not http"),
        ("certificate", "garbage\n"),
        ("certificate", ""),
        ("digest_rows", "xyz\n"),
        ("ssh_fingerprints", "no key here\n"),
        ("known_host_rows", "web.test ED25519 SHA256:abc\n"),
        ("ssh_public_key", "alone"),
        ("mode_changes", "hello\n"),
        ("stat_rows", "1\t2\n"),
        ("process_rows", "12 1\n"),
        ("sqlite_rows", "[1]\n[2]\n"),
        ("sqlite_rows", "[1"),
        ("sqlite_changes", '[{"other":1}]'),
        ("sqlite_changes", ""),
    ],
)
def test_text_that_does_not_fit_is_an_error(name: str, text: str) -> None:
    with pytest.raises(ValueError):
        _parse(name, text)


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(text=st.text(max_size=300))
def test_any_text_gives_data_or_a_value_error(name: str, text: str) -> None:
    try:
        _parse(name, text)
    except ValueError:
        return
