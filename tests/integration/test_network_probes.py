"""Probes against real listeners on loopback: what answers, what refuses, what is silent, what may not be looked at."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from opsconductor.bootstrap.services import NETWORK
from opsconductor.model.execution import StepStatus
from tests.harness import service

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: sid=secret\r\nConnection: close\r\n\r\nhello"


@asynccontextmanager
async def listener(say: bytes = b"", tls: ssl.SSLContext | None = None, *, read: bool = False) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if read:
            await reader.readuntil(b"\r\n\r\n")
        writer.write(say)
        try:
            await writer.drain()
            if not read:
                await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def self_signed(folder: Path, days: int) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "probe.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("probe.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def closed_port() -> int:
    async with listener() as port:
        return port


async def test_tcp_connect_measures_each_handshake_and_reads_the_banner() -> None:
    async with service(NETWORK) as bench, listener(b"220 mail.test ready\r\n") as port:
        result = await bench.run(
            "tcp-analyzer", "connect", {"host": "127.0.0.1", "port": port, "attempts": 4, "banner_wait_s": 2}
        )
    assert result.status is StepStatus.COMPLETED
    data = result.output["data"]
    assert data["reachable"] is True
    assert len(data["handshake_ms"]) == 4
    assert data["min_ms"] <= data["median_ms"] <= data["max_ms"]
    assert data["banner"] == "220 mail.test ready"


async def test_a_refused_connection_is_a_finding_and_with_require_a_failure() -> None:
    port = await closed_port()
    async with service(NETWORK) as bench:
        finding = await bench.run("TCP_Analyzer", "connect", {"host": "127.0.0.1", "port": port})
        failure = await bench.run("tcp-analyzer", "connect", {"host": "127.0.0.1", "port": port, "require": True})
    assert finding.status is StepStatus.COMPLETED
    assert finding.output["data"]["reachable"] is False
    assert "refused" in finding.output["data"]["reason"] or "111" in finding.output["data"]["reason"]
    assert failure.status is StepStatus.FAILED
    assert failure.error is not None
    assert failure.error.code == "peer_unreachable"


@pytest.mark.parametrize("host", ["192.0.2.1", "8.8.8.8", "::ffff:8.8.8.8", "fe80::1"])
async def test_networks_that_are_not_allowed_are_not_connected_to(host: str) -> None:
    async with service(NETWORK) as bench:
        for tool, inputs in (
            ("tcp-analyzer", {"host": host, "port": 80}),
            ("tls-analyzer", {"host": host}),
            ("http-analyzer", {"url": f"http://[{host}]/" if ":" in host else f"http://{host}/"}),
        ):
            result = await bench.run(tool, None, inputs)
            assert result.error is not None
            assert result.error.code == "network_not_allowed", tool


async def test_the_setting_allows_more_networks() -> None:
    async with service(NETWORK, OPSCONDUCTOR_SCAN_ALLOW="192.0.2.0/24") as bench:
        result = await bench.run(
            "tcp-analyzer", "connect", {"host": "192.0.2.1", "port": 9, "attempts": 1, "connect_timeout_s": 0.05}
        )
    assert result.output["data"]["reachable"] is False


async def test_http_probe_tells_status_headers_and_hash_without_cookies() -> None:
    async with service(NETWORK) as bench, listener(ANSWER, read=True) as port:
        result = await bench.run("http-analyzer", "probe", {"url": f"http://127.0.0.1:{port}/health"})
    data = result.output["data"]
    assert (data["status"], data["body_bytes"], data["body_complete"]) == (200, 5, True)
    assert data["body_sha256"] == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert "secret" not in str(result.output)


async def test_http_probe_of_something_else_than_http_is_a_finding() -> None:
    async with service(NETWORK) as bench, listener(b"SSH-2.0-x\r\n") as port:
        result = await bench.run("http-analyzer", "probe", {"url": f"http://127.0.0.1:{port}/"})
    assert result.status is StepStatus.COMPLETED
    assert result.output["data"]["reachable"] is False


@pytest.mark.parametrize(("days", "trust"), [(30, "self-signed"), (-10, "")])
async def test_tls_handshake_describes_a_certificate_it_does_not_trust(tmp_path: Path, days: int, trust: str) -> None:
    async with service(NETWORK) as bench, listener(tls=self_signed(tmp_path, days)) as port:
        inputs = {"host": "127.0.0.1", "port": port, "server_name": "probe.test"}
        result = await bench.run("tls-analyzer", "handshake", inputs)
    assert result.status is StepStatus.COMPLETED, result.error
    data = result.output["data"]
    assert data["trusted"] is False
    assert trust in data["trust_error"]
    assert data["version"] in ("TLSv1.3", "TLSv1.2")
    certificate = data["certificate"]
    assert (certificate["subject"], certificate["names"]) == ("CN=probe.test", ["probe.test"])
    assert certificate["self_signed"] is True
    assert certificate["expires_in_days"] == days


async def test_tls_handshake_with_a_plain_server_is_a_finding() -> None:
    async with service(NETWORK) as bench, listener(b"220 plain\r\n") as port:
        result = await bench.run("tls-analyzer", "handshake", {"host": "127.0.0.1", "port": port})
    assert result.status is StepStatus.COMPLETED, result.error
    assert result.output["data"]["reachable"] is False


async def test_a_server_that_never_shakes_hands_ends_in_time() -> None:
    async with service(NETWORK) as bench, listener() as port:
        inputs = {"host": "127.0.0.1", "port": port, "connect_timeout_s": 0.2}
        result = await bench.run("tls-analyzer", "handshake", inputs)
    assert result.output["data"]["reachable"] is False
