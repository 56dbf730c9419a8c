"""The egress policy: what is refused by default, what rules open and close, and what a URL may look like."""

from __future__ import annotations

import threading

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.security.egress import EgressGate, check_url, parse_policy, parse_rule, rule_for_url

NOT_PUBLIC = {
    "127.0.0.1": "loopback",
    "127.8.9.10": "loopback",
    "0.0.0.0": "unspecified",
    "10.1.2.3": "private",
    "172.31.255.255": "private",
    "192.168.0.1": "private",
    "100.64.0.1": "shared",
    "169.254.169.254": "metadata",
    "169.254.1.1": "link-local",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "192.0.0.192": "reserved",
    "192.0.2.1": "documentation",
    "198.18.0.1": "benchmarking",
    "198.51.100.9": "documentation",
    "203.0.113.9": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "v4-compatible",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:a9fe:a9fe": "metadata",
    "64:ff9b::a9fe:a9fe": "metadata",
    "64:ff9b::7f00:1": "loopback",
    "64:ff9b:1::1": "local NAT64",
    "100::1": "discard-only",
    "2001:0:53aa:64c:0:fbff:5699:2cb": "Teredo",
    "2001:db8::1": "documentation",
    "2001:10::1": "reserved",
    "2002:a9fe:a9fe::": "6to4",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "5f00::1": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "metadata",
    "fe80::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "::1%lo": "scoped or malformed address",
    "fe80::1%eth0": "scoped or malformed address",
    "127.1": "scoped or malformed address",
}


@pytest.mark.parametrize(("address", "kind"), NOT_PUBLIC.items())
def test_addresses_that_are_not_public_are_refused_with_the_reason(address: str, kind: str) -> None:
    with pytest.raises(OpsError) as caught:
        parse_policy().judge("name.example", 80, address)
    assert caught.value.code == "destination_not_allowed"
    assert caught.value.context["reason"] == kind


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_pass(address: str) -> None:
    parse_policy().judge("name.example", 443, address)


@pytest.mark.parametrize(
    ("allow", "host", "port", "address"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1"),
        ("127.0.0.1:8080", "localhost", 8080, "127.0.0.1"),
        ("10.0.0.0/8", "x.example", 443, "10.2.3.4"),
        ("10.0.0.0/8:443", "x.example", 443, "10.2.3.4"),
        ("10.0.0.0/8", "x.example", 443, "::ffff:10.2.3.4"),
        ("10.0.0.0/8", "x.example", 443, "64:ff9b::a02:304"),
        ("fd00::/8", "x.example", 443, "fd12::1"),
        ("[fd00::/8]:443", "x.example", 443, "fd12::1"),
        ("[::1]:8080", "::1", 8080, "::1"),
        ("hooks.corp.example", "Hooks.Corp.Example.", 443, "10.2.3.4"),
        ("hooks.corp.example:443", "hooks.corp.example", 443, "10.2.3.4"),
        ("*.corp.example", "a.b.corp.example", 443, "192.168.1.1"),
        ("169.254.169.254", "169.254.169.254", 80, "169.254.169.254"),
        ("a.example, 127.0.0.0/8 ,", "x.example", 1, "127.0.0.1"),
    ],
)
def test_rules_open_what_they_name(allow: str, host: str, port: int, address: str) -> None:
    parse_policy(allow).judge(host, port, address)


@pytest.mark.parametrize(
    ("allow", "host", "port", "address"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8081, "127.0.0.1"),
        ("10.0.0.0/8:443", "x.example", 80, "10.2.3.4"),
        ("hooks.corp.example", "evil-hooks.corp.example", 443, "10.2.3.4"),
        ("*.corp.example", "corp.example", 443, "10.2.3.4"),
        ("*.corp.example", "notcorp.example", 443, "10.2.3.4"),
        ("hooks.corp.example", "hooks.corp.example", 80, "169.254.169.254"),
        ("hooks.corp.example", "hooks.corp.example", 80, "fe80::1"),
        ("::/0", "x.example", 80, "10.0.0.1"),
    ],
)
def test_rules_open_nothing_else(allow: str, host: str, port: int, address: str) -> None:
    with pytest.raises(OpsError, match="destination_not_allowed"):
        parse_policy(allow).judge(host, port, address)


@pytest.mark.parametrize("deny", ["8.8.8.8", "8.8.0.0/16:443", "bad.example", "*.example", "bad.example:443"])
def test_deny_wins_over_everything(deny: str) -> None:
    policy = parse_policy(allow="0.0.0.0/0, bad.example", deny=deny)
    for address in ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808"):
        with pytest.raises(OpsError, match="deny-list"):
            policy.judge("bad.example", 443, address)


@pytest.mark.parametrize(
    "text", ["http://x/", "a b", "10.0.0.0/33", "host:0", "host:70000", "host:x", "[::1", "[::1]8", "*", "a..b"]
)
def test_rules_that_cannot_be_read_are_named(text: str) -> None:
    with pytest.raises(OpsError, match="request_invalid") as caught:
        parse_rule(text)
    assert text in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "",
        "http:///path",
        "http://",
        "http://user:hunter2@example.com/",
        "http://user@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://h/\r\nX-Injected: 1",
        "http://h/a b",
        "http://h/\x00",
        "http://h/\x7f",
        "http://h/\x85",
        " http://h/",
        "http://[::1%25lo]/",
        "http://[::1%lo]/",
        "http://%31%32%37.0.0.1/",
        "http://[::1/",
        "http://h:99999/",
        "http://h:0/",
        "http://h:x/",
        "http://example.com/" + "a" * 9000,
    ],
)
def test_urls_are_refused_for_how_they_are_written(url: str) -> None:
    with pytest.raises(OpsError) as caught:
        check_url(url)
    assert caught.value.code == "destination_not_allowed"
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("url", ["http://example.com", "HTTPS://example.com:8443/a?b=c@d#e", "http://[2606:4700::1]/ü"])
def test_ordinary_urls_pass(url: str) -> None:
    check_url(url)


def test_the_rule_of_a_url_opens_exactly_its_host_and_port() -> None:
    for url, host, port in [
        ("http://127.0.0.1:9000/x", "127.0.0.1", 9000),
        ("https://[::1]/x", "::1", 443),
    ]:
        policy = parse_policy().allowing(rule_for_url(url))
        policy.judge(host, port, host)
        with pytest.raises(OpsError):
            policy.judge(host, port + 1, host)


def test_a_gate_opens_and_closes_by_count() -> None:
    gate = EgressGate(parse_policy(deny="127.0.0.1:9"))
    gate.open("127.0.0.1:8025")
    gate.open("127.0.0.1:8025")
    gate.close("127.0.0.1:8025")
    gate.judge("127.0.0.1", 8025, "127.0.0.1")
    gate.close("127.0.0.1:8025")
    with pytest.raises(OpsError):
        gate.judge("127.0.0.1", 8025, "127.0.0.1")
    gate.open("127.0.0.1:9")
    with pytest.raises(OpsError, match="deny-list"):
        gate.judge("127.0.0.1", 9, "127.0.0.1")


def test_a_gate_is_changed_by_many_threads_without_losing_anything() -> None:
    gate = EgressGate(parse_policy())

    def work(port: int) -> None:
        for _ in range(50):
            gate.open(f"127.0.0.1:{port}")
            gate.judge("127.0.0.1", port, "127.0.0.1")
            gate.close(f"127.0.0.1:{port}")
        gate.open(f"127.0.0.1:{port}")

    threads = [threading.Thread(target=work, args=(port,)) for port in range(1001, 1009)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert {rule.port for rule in gate.policy.allow} == set(range(1001, 1009))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.1.2.3", "169.254.169.254"])
def test_a_refusal_names_the_rule_that_would_open_the_destination(address: str) -> None:
    with pytest.raises(OpsError, match="OPSCONDUCTOR_EGRESS_ALLOW") as caught:
        parse_policy().judge(address, 8080, address)
    rule = caught.value.message.rpartition(" as ")[2]
    parse_policy(allow=rule).judge(address, 8080, address)
