"""The network tools, openssl and ssh-keygen against servers and files of the test, on loopback and in a namespace.

The DNS server is dnsmasq on a port of its own, the HTTP server is Python's, both on 127.0.0.1 and gone after the test.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.clock import from_rfc3339
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from tests.harness import service
from tests.needs import absent, program, root

pytestmark = pytest.mark.integration
DNS_ZONE = [
    "--local=/example.test/",
    "--host-record=web.example.test,192.0.2.10,2001:db8::10",
    "--cname=www.example.test,web.example.test",
    "--mx-host=example.test,mail.example.test,10",
    "--txt-record=example.test,v=spf1 -all",
]


async def _run(tool: str, operation: str | None = None, **inputs: Any) -> StepResult:
    async with service(OPSCONDUCTOR_EGRESS_ALLOW="127.0.0.1") as bench:
        return await bench.run(tool, operation, inputs)


async def _data(tool: str, operation: str | None = None, **inputs: Any) -> Any:
    result = await _run(tool, operation, **inputs)
    assert result.status is StepStatus.COMPLETED, (result.error, result.output)
    assert "parse_error" not in result.output, result.output["parse_error"]
    return result.output["data"]


async def _refused(tool: str, operation: str | None = None, **inputs: Any) -> str:
    result = await _run(tool, operation, **inputs)
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    return result.error.code


@pytest.fixture
def listener() -> Iterator[int]:
    """A TCP socket of this process that listens on loopback; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# sockets and interfaces


async def test_ss_shows_a_listening_socket_and_its_process(listener: int) -> None:
    program("ss", "iproute2")
    (row,) = await _data("ss", "listening", port=listener)
    assert (row["protocol"], row["state"], row["address"], row["port"]) == ("tcp", "LISTEN", "127.0.0.1", listener)
    assert row["peer_port"] is None
    assert [process["pid"] for process in row["processes"]] == [os.getpid()]


async def test_ss_shows_both_ends_of_a_connection_and_udp(listener: int) -> None:
    program("ss", "iproute2")
    with (
        socket.create_connection(("127.0.0.1", listener)) as client,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(("::1", 0))
        client_port = client.getsockname()[1]
        port = datagrams.getsockname()[1]
        rows = await _data("ss", "connections", port=listener)
        everything = await _data("ss", "all", ip_version=6)
    assert [row["state"] for row in rows] == ["ESTAB", "ESTAB"]
    assert {row["port"] for row in rows} == {row["peer_port"] for row in rows} == {listener, client_port}
    assert ("udp", "::1", port) in {(row["protocol"], row["address"], row["port"]) for row in everything}


async def test_ss_without_a_match_gives_an_empty_list() -> None:
    program("ss", "iproute2")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert await _data("ss", "listening", port=unused.getsockname()[1]) == []


async def test_netstat_shows_a_listening_socket_routes_and_interfaces(listener: int) -> None:
    program("netstat", "net-tools")
    rows = await _data("netstat", "listening", protocol="tcp")
    assert [row["pid"] for row in rows if row["local_port_num"] == listener] == [os.getpid()]
    assert {row["proto"] for row in rows} <= {"tcp", "tcp6"}
    assert any(row["local_port_num"] == listener for row in await _data("netstat", "connections"))
    assert isinstance(await _data("netstat", "routes"), list)
    assert "lo" in {row["iface"] for row in await _data("netstat", "interfaces")}


async def test_ifconfig_shows_the_loopback_interface() -> None:
    program("ifconfig", "net-tools")
    (row,) = await _data("ifconfig", "show", interface="lo")
    assert (row["name"], row["ipv4_addr"]) == ("lo", "127.0.0.1")
    assert "UP" in row["state"]
    assert "lo" in {row["name"] for row in await _data("ifconfig")}


async def test_ip_reads_what_the_kernel_has() -> None:
    program("ip", "iproute2")
    (loopback,) = await _data("ip", "addresses", device="lo", family="inet")
    assert loopback["addr_info"][0]["local"] == "127.0.0.1"
    (link,) = await _data("ip", "links", device="lo")
    assert link["stats64"]["rx"]["packets"] >= 0
    assert "127.0.0.1" in {route["dst"] for route in await _data("ip", "routes", table="local", family="inet")}
    (route,) = await _data("ip", "route_to", to="127.0.0.1")
    assert route["dev"] == "lo"
    assert isinstance(await _data("ip", "neighbours"), list)
    assert {"local", "main"} <= {rule["table"] for rule in await _data("ip", "rules", family="inet")}


async def test_ip_says_which_device_is_not_there() -> None:
    program("ip", "iproute2")
    result = await _run("ip", "addresses", device="nosuch0")
    assert result.error is not None
    assert "nosuch0" in result.error.message


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network namespace of our own with a pair of interfaces, one0 and two0."""
    root()
    name, ip = f"oc-test-{os.getpid()}", program("ip", "iproute2")
    made = subprocess.run([ip, "netns", "add", name], check=False, capture_output=True, text=True, timeout=20)
    if made.returncode != 0:
        absent(f"network namespaces cannot be made: {made.stderr.strip()}", "run with CAP_SYS_ADMIN")
    try:
        pair = [ip, "-netns", name, "link", "add", "one0", "type", "veth", "peer", "name", "two0"]
        linked = subprocess.run(pair, check=False, capture_output=True, text=True, timeout=20)
        if linked.returncode != 0:
            absent(f"veth interfaces cannot be made: {linked.stderr.strip()}", "a kernel with veth")
        yield name
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True, timeout=20)


async def _state(namespace: str) -> tuple[bool, set[str], set[str]]:
    """Whether one0 is up, its IPv4 addresses, and the destinations of the IPv4 routes."""
    (link,) = await _data("ip", "addresses", namespace=namespace, device="one0")
    addresses = {entry["local"] for entry in link["addr_info"] if entry["family"] == "inet"}
    routes = await _data("ip", "routes", namespace=namespace, family="inet")
    return "UP" in link["flags"], addresses, {route["dst"] for route in routes}


async def test_ip_changes_links_addresses_and_routes_and_takes_them_back(namespace: str) -> None:
    address = {"namespace": namespace, "device": "one0", "address": "10.99.0.1/24"}
    route = {"namespace": namespace, "device": "one0", "destination": "10.98.0.0/16", "gateway": "10.99.0.2"}
    assert await _state(namespace) == (False, set(), set())
    for _ in range(2):
        for operation, inputs in (("link_up", {"namespace": namespace, "device": "one0"}), ("address_add", address)):
            result = await _run("ip", operation, **inputs)
            assert result.status is StepStatus.COMPLETED, (operation, result.error)
    assert (await _run("ip", "route_add", **route)).status is StepStatus.COMPLETED
    assert await _state(namespace) == (True, {"10.99.0.1"}, {"10.99.0.0/24", "10.98.0.0/16"})
    second = await _run("ip", "route_add", **route)
    assert second.error is not None
    assert "File exists" in second.error.message
    assert (await _run("ip", "route_delete", **route)).status is StepStatus.COMPLETED
    assert (await _run("ip", "address_delete", **address)).status is StepStatus.COMPLETED
    assert (await _run("ip", "link_down", namespace=namespace, device="one0")).status is StepStatus.COMPLETED
    assert await _state(namespace) == (False, set(), set())


# reachability


async def test_ping_measures_loopback() -> None:
    program("ping", "iputils-ping")
    found = await _data("ping", "ping", host="127.0.0.1", count=2, interval_s=0.2, size=100)
    assert (found["packets_transmitted"], found["packets_received"], found["packet_loss_percent"]) == (2, 2, 0.0)
    assert [reply["bytes"] for reply in found["responses"]] == [108, 108]
    assert 0 <= found["round_trip_ms_min"] <= found["round_trip_ms_max"]


async def test_ping_that_nobody_answers_completes_with_all_lost() -> None:
    program("ping", "iputils-ping")
    # The loopback interface drops what is for an address of documentation (RFC 5737).
    found = await _data("ping", "ping", host="203.0.113.7", interface="lo", count=1, wait_s=0.2)
    assert (found["packets_received"], found["packet_loss_percent"]) == (0, 100.0)


@pytest.mark.parametrize(
    "inputs",
    [
        {"host": "127.0.0.1", "count": 101},
        {"host": "127.0.0.1", "count": 0},
        {"host": "127.0.0.1", "interval_s": 0.01},
        {"host": "-f"},
        {"host": "127.0.0.1; id"},
    ],
)
async def test_ping_refuses_floods_and_options(inputs: dict[str, Any]) -> None:
    assert await _refused("ping", "ping", **inputs) == "input_invalid"


@pytest.mark.parametrize("operation", ["trace", "trace_names"])
async def test_traceroute_finds_loopback_in_one_hop(operation: str) -> None:
    program("traceroute")
    found = await _data("traceroute", operation, host="127.0.0.1", queries=1, max_hops=3)
    assert found["destination_ip"] == "127.0.0.1"
    assert [hop["hop"] for hop in found["hops"]] == [1]
    assert found["hops"][0]["probes"][0]["ip"] == "127.0.0.1"


# DNS


@pytest.fixture(scope="module")
def dns_port() -> Iterator[int]:
    """A DNS server with the zone example.test on 127.0.0.1; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ["--conf-file=/dev/null", "--pid-file=", f"--port={port}", "--listen-address=127.0.0.1"]
    quiet = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user="]
    command = [program("dnsmasq", "dnsmasq-base"), *where, *quiet, *DNS_ZONE]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            _await_dns(server, port)
            yield port
        finally:
            server.terminate()


def _await_dns(server: subprocess.Popen[str], port: int) -> None:
    """Until the server's TCP port answers. Fails with what the server says when it ends."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if server.poll() is not None:
            assert server.stderr is not None
            pytest.fail(f"dnsmasq ended: {server.stderr.read()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("dnsmasq does not answer")


async def test_dig_gives_the_answer_with_its_status(dns_port: int) -> None:
    program("dig", "bind9-dnsutils")
    server = {"server": "127.0.0.1", "port": dns_port}
    (answer,) = await _data("dig", "query", name="web.example.test", type="AAAA", **server)
    assert answer["status"] == "NOERROR"
    assert [record["data"] for record in answer["answer"]] == ["2001:db8::10"]
    (answer,) = await _data("dig", "query_cached", name="example.test", type="MX", tcp=True, **server)
    assert [record["data"] for record in answer["answer"]] == ["10 mail.example.test."]
    (answer,) = await _data("dig", "reverse", address="192.0.2.10", **server)
    assert [record["data"] for record in answer["answer"]] == ["web.example.test."]


async def test_dig_of_a_name_that_is_not_there_is_a_result(dns_port: int) -> None:
    program("dig", "bind9-dnsutils")
    (answer,) = await _data("dig", "query", name="none.example.test", server="127.0.0.1", port=dns_port)
    assert answer["status"] == "NXDOMAIN"
    assert not answer.get("answer")


@pytest.mark.parametrize(
    ("tool", "operation", "inputs"),
    [
        ("dig", "query", {"timeout_s": 1, "tries": 1}),
        ("host", "lookup", {"wait_s": 1}),
        ("nslookup", "lookup", {"wait_s": 1}),
    ],
)
async def test_silence_of_the_dns_server_is_a_failure(tool: str, operation: str, inputs: dict[str, Any]) -> None:
    program(tool, "bind9-host" if tool == "host" else "bind9-dnsutils")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        result = await _run(tool, operation, name="web.example.test", server="127.0.0.1", port=port, **inputs)
    assert result.status is StepStatus.FAILED
    assert "no servers could be reached" in result.output["stdout"] + result.output["stderr"]


async def test_host_gives_every_record_it_names(dns_port: int) -> None:
    program("host", "bind9-host")
    server = {"server": "127.0.0.1", "port": dns_port}
    answers = await _data("host", "lookup", name="www.example.test", **server)
    assert [(answer["type"], answer["value"]) for answer in answers] == [
        ("CNAME", "web.example.test."),
        ("A", "192.0.2.10"),
        ("AAAA", "2001:db8::10"),
    ]
    (answer,) = await _data("host", "lookup", name="192.0.2.10", **server)
    assert (answer["type"], answer["value"]) == ("PTR", "web.example.test.")
    (answer,) = await _data("host", "lookup", name="example.test", type="TXT", tcp=True, **server)
    assert answer == {"name": "example.test", "type": "TXT", "value": '"v=spf1 -all"'}
    assert await _data("host", "lookup", name="web.example.test", type="MX", **server) == []


async def test_nslookup_gives_answers_and_the_server(dns_port: int) -> None:
    program("nslookup", "bind9-dnsutils")
    server = {"server": "127.0.0.1", "port": dns_port}
    found = await _data("nslookup", "lookup", name="www.example.test", **server)
    assert found["server"] == "127.0.0.1"
    assert [(answer["type"], answer["value"]) for answer in found["answers"]] == [
        ("CNAME", "web.example.test."),
        ("A", "192.0.2.10"),
        ("AAAA", "2001:db8::10"),
    ]
    found = await _data("nslookup", "lookup", name="example.test", type="MX", **server)
    assert [answer["value"] for answer in found["answers"]] == ["10 mail.example.test."]
    assert (await _data("nslookup", "lookup", name="web.example.test", type="TXT", **server))["answers"] == []


@pytest.mark.parametrize("tool", ["host", "nslookup"])
async def test_short_look_ups_of_a_name_that_is_not_there_fail_and_say_so(tool: str, dns_port: int) -> None:
    program(tool, "bind9-host" if tool == "host" else "bind9-dnsutils")
    result = await _run(tool, "lookup", name="none.example.test", server="127.0.0.1", port=dns_port)
    assert result.status is StepStatus.FAILED
    assert "NXDOMAIN" in result.output["stdout"]


# HTTP


class _Seen(ThreadingHTTPServer):
    """Answers by path and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: _Seen

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.casefold(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        status = {"/missing": 404, "/moved": 302, "/file": 302}.get(self.path, 200)
        answer = b"HTTP/1.1 200 is only text here\r\n\r\nend"
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "file:///etc/hostname" if self.path == "/file" else "/here")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - names of http.server

    def log_message(self, *args: Any) -> None:
        """Nothing: pytest shows enough."""


@pytest.fixture
def web() -> Iterator[_Seen]:
    program("curl")
    with _Seen() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


async def test_curl_get_gives_status_headers_and_body(web: _Seen) -> None:
    found = await _data("curl", "get", url=f"{web.url}/x?[1-3]", headers=["X-One: 1", "X-Two: https://two"])
    assert (found["status"], found["reason"], found["earlier_responses"]) == (200, "OK", 0)
    assert found["headers"]["set-cookie"] == ["a=1", "b=2"]
    assert found["body"] == "HTTP/1.1 200 is only text here\r\n\r\nend"
    ((method, path, headers, _),) = web.requests
    assert (method, path, headers["x-one"], headers["x-two"]) == ("GET", "/x?[1-3]", "1", "https://two")


async def test_curl_head_reads_headers_alone(web: _Seen) -> None:
    found = await _data("curl", "head", url=web.url)
    assert (found["status"], found["body"]) == (200, "")
    assert [method for method, *_ in web.requests] == ["HEAD"]


async def test_curl_fails_for_an_error_status_and_keeps_the_answer(web: _Seen) -> None:
    result = await _run("curl", "get", url=f"{web.url}/missing")
    assert result.status is StepStatus.FAILED
    assert result.error is not None
    assert "404" in result.error.message
    assert result.output["data"]["status"] == 404
    assert (await _data("curl", "get", url=f"{web.url}/missing", fail_on_error=False))["status"] == 404


async def test_curl_follows_redirects_only_when_asked_and_only_over_http(web: _Seen) -> None:
    assert (await _data("curl", "get", url=f"{web.url}/moved"))["status"] == 302
    followed = await _data("curl", "get_following", url=f"{web.url}/moved")
    assert (followed["status"], followed["earlier_responses"]) == (200, 1)
    assert (await _run("curl", "get_following", url=f"{web.url}/file")).status is StepStatus.FAILED


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
async def test_curl_changes_send_method_and_body(web: _Seen, method: str) -> None:
    inputs = {} if method == "delete" else {"body": "@/etc/hostname\n{}", "content_type": "text/plain"}
    assert (await _data("curl", method, url=f"{web.url}/item", **inputs))["status"] == 200
    ((seen, _, headers, body),) = web.requests
    assert seen == method.upper()
    if method != "delete":
        assert (body, headers["content-type"]) == (b"@/etc/hostname\n{}", "text/plain")


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
async def test_curl_token_reaches_the_server_and_no_argument_list(web: _Seen, method: str) -> None:
    inputs = {"body": "@/etc/hostname"} if method in ("post", "put") else {}
    result = await _run("curl", f"{method}_with_token", url=f"{web.url}/item", token="s3cret-value-9", **inputs)
    assert result.status is StepStatus.COMPLETED, result.error
    assert "s3cret-value-9" not in str(result)
    ((seen, _, headers, body),) = web.requests
    assert (seen, headers["authorization"]) == (method.upper(), "Bearer s3cret-value-9")
    assert body == inputs.get("body", "").encode()


@pytest.mark.parametrize(
    "inputs",
    [
        {"url": "file:///etc/passwd"},
        {"url": "gopher://127.0.0.1/"},
        {"url": "-K/tmp/x"},
        {"url": "http://127.0.0.1/", "headers": ["@/etc/passwd"]},
        {"url": "http://127.0.0.1/", "headers": ["X: 1\r\nY: 2"]},
        {"url": "http://127.0.0.1/", "headers": ["authorization: Bearer x"]},
        {"url": "http://127.0.0.1/", "headers": ["--output: x"]},
    ],
)
async def test_curl_refuses_files_other_protocols_and_header_tricks(inputs: dict[str, Any]) -> None:
    assert await _refused("curl", "get", **inputs) in ("input_invalid", "option_like_argument")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://0/",
        "http://0177.0.0.1/",
        "http://[::ffff:169.254.169.254]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:1/",
        "http://10.0.0.1/",
    ],
)
@pytest.mark.parametrize("operation", ["get", "get_following", "head", "post", "delete"])
async def test_curl_connects_nowhere_that_the_egress_policy_refuses(url: str, operation: str) -> None:
    async with service() as bench:
        result = await bench.run("curl", operation, {"url": url})
    assert result.error is not None
    assert result.error.code == "destination_not_allowed"
    assert "argv" not in result.output


async def test_curl_goes_to_the_address_that_was_judged_and_callers_cannot_name_another(web: _Seen) -> None:
    result = await _run("curl", "get", url=web.url)
    assert "::127.0.0.1:" in result.output["argv"]
    assert await _refused("curl", "get", url=web.url, connect_to="127.0.0.2") == "input_unknown"


async def test_curl_reads_no_configuration_of_the_user(
    web: _Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".curlrc").write_text('header = "X-From-Config: yes"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    await _data("curl", "get", url=web.url)
    assert "x-from-config" not in web.requests[0][2]


async def test_curl_sends_no_request_for_a_url_with_a_password(web: _Seen) -> None:
    url = web.url.replace("http://", "http://user:pw@")
    assert (await _run("curl", "get", url=url)).status is StepStatus.FAILED
    assert web.requests == []


# certificates and keys


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for web.example.test that ends in ten days."""
    folder = tmp_path_factory.mktemp("certificate")
    path = folder / "web cert.pem"
    make = ["req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "10", "-subj", "/O=Test/CN=web.example.test"]
    names = ["-addext", "subjectAltName=DNS:web.example.test,IP:192.0.2.10"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(path)]
    subprocess.run([program("openssl"), *make, *names, *files], check=True, capture_output=True, timeout=30)
    return path


async def test_openssl_reads_a_certificate(certificate: Path) -> None:
    found = await _data("openssl", "certificate", certificate=str(certificate))
    assert found["subject"] == found["issuer"] == "CN=web.example.test,O=Test"
    assert found["alternative_names"] == ["DNS:web.example.test", "IP Address:192.0.2.10"]
    assert from_rfc3339(found["not_after"]) - from_rfc3339(found["not_before"]) == timedelta(days=10)
    assert len(found["fingerprint_sha256"].split(":")) == 32


async def test_openssl_check_fails_before_the_certificate_ends(certificate: Path) -> None:
    good = await _data("openssl", "check", certificate=str(certificate), valid_for_s=86400)
    assert good == "Certificate will not expire"
    result = await _run("openssl", "check", certificate=str(certificate), valid_for_s=11 * 86400)
    assert result.status is StepStatus.FAILED
    assert "will expire" in result.output["stdout"]


async def test_openssl_verify_wants_trust_and_the_right_host(certificate: Path) -> None:
    trusted = {"certificate": str(certificate), "ca_file": str(certificate)}
    assert await _data("openssl", "verify", **trusted, hostname="web.example.test") == [f"{certificate}: OK"]
    assert await _refused("openssl", "verify", **trusted, hostname="other.example.test") == "command_failed"
    assert await _refused("openssl", "verify", certificate=str(certificate)) == "command_failed"


async def test_openssl_digest_and_version(tmp_path: Path) -> None:
    program("openssl")
    (tmp_path / "a b").write_bytes(b"abc")
    (row,) = await _data("openssl", "digest", paths=[str(tmp_path / "a b")])
    assert row == {
        "path": str(tmp_path / "a b"),
        "digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # FIPS 180-4, example "abc"
    }
    assert (await _data("openssl", "version")).startswith("OpenSSL ")


async def test_openssl_refuses_what_is_no_certificate() -> None:
    program("openssl")
    assert await _refused("openssl", "certificate", certificate="/etc/passwd") == "command_failed"
    assert await _refused("openssl", "certificate", certificate="-passin") == "input_invalid"


async def test_ssh_keygen_makes_a_key_once_and_reads_it(tmp_path: Path) -> None:
    program("ssh-keygen", "openssh-client")
    key = tmp_path / "id_test"
    result = await _run("ssh-keygen", "generate", path=str(key), comment="me @ here")
    assert result.status is StepStatus.COMPLETED, result.error
    assert key.stat().st_mode & 0o777 == 0o600
    content = key.read_bytes()
    assert (await _run("ssh-keygen", "generate", path=str(key))).status is StepStatus.FAILED
    assert key.read_bytes() == content
    (private,) = await _data("ssh-keygen", "fingerprint", path=str(key))
    (public,) = await _data("ssh-keygen", "fingerprint", path=f"{key}.pub")
    assert private == public
    assert (public["bits"], public["type"], public["comment"]) == (256, "ED25519", "me @ here")
    found = await _data("ssh-keygen", "public_key", path=str(key))
    assert f"{found['type']} {found['key']} {found['comment']}" == (tmp_path / "id_test.pub").read_text().strip()


async def test_ssh_keygen_makes_rsa_keys_of_the_length_asked_for(tmp_path: Path) -> None:
    program("ssh-keygen", "openssh-client")
    await _run("ssh-keygen", "generate", path=str(tmp_path / "id_rsa"), type="rsa", bits=3072)
    (found,) = await _data("ssh-keygen", "fingerprint", path=str(tmp_path / "id_rsa"), hash="md5")
    assert (found["bits"], found["type"], found["fingerprint"][:4]) == (3072, "RSA", "MD5:")


async def test_ssh_keygen_knows_and_forgets_hosts(tmp_path: Path) -> None:
    program("ssh-keygen", "openssh-client")
    await _run("ssh-keygen", "generate", path=str(tmp_path / "key"))
    kind, key, _ = (tmp_path / "key.pub").read_text().split()
    known = tmp_path / "known_hosts"
    known.write_text(f"other.test {kind} {key}\nweb.test,192.0.2.10 {kind} {key}\n")
    (row,) = await _data("ssh-keygen", "known_host", host="web.test", known_hosts=str(known))
    assert (row["type"], row["line"], row["mark"]) == ("ED25519", 2, None)
    assert row["fingerprint"].startswith("SHA256:")
    for _ in range(2):
        result = await _run("ssh-keygen", "forget_host", host="web.test", known_hosts=str(known))
        assert result.status is StepStatus.COMPLETED, result.error
    assert await _data("ssh-keygen", "known_host", host="web.test", known_hosts=str(known)) == []
    assert known.read_text() == f"other.test {kind} {key}\n"
    assert await _refused("ssh-keygen", "known_host", host="web.test", known_hosts=str(tmp_path / "x")) == (
        "command_failed"
    )
