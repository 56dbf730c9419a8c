"""Looking at one endpoint by connecting to it: no privilege and no program needed.

Handlers `tcp.connect`, `http.probe` and `tls.handshake`; registered by `services.network.handlers`. Every address is
judged by the scan policy right before it is connected to. That nobody listens is a finding, not a failure of the
probe: `reachable: false` with the reason, unless the caller asks otherwise with `require: true`.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from statistics import median
from typing import Any

from opsconductor.model.clock import to_rfc3339
from opsconductor.model.errors import OpsError
from opsconductor.security.egress import check_url
from opsconductor.security.scan import ScanPolicy
from opsconductor.services.kit.handlers import HandlerResult, StepContext
from opsconductor.transports.tcp import connect


class ScanGate:
    """A scan policy in the form that the HTTP transport asks for."""

    def __init__(self, policy: ScanPolicy) -> None:
        self._policy = policy

    def check_url(self, url: str) -> None:
        """Refuse a URL for how it is written."""
        check_url(url)

    def judge(self, host: str, port: int, address: str) -> None:
        """Refuse an address outside of the policy's networks."""
        self._policy.judge(host, port, address)


def _milliseconds(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 3)


def _unless_required(inputs: Mapping[str, Any], error: OpsError, found: dict[str, Any]) -> HandlerResult:
    if error.code != "peer_unreachable" or inputs.get("require"):
        raise error
    return HandlerResult(data={**found, "reachable": False, "reason": error.message})


class Probes:
    """The handlers, bound to a policy."""

    def __init__(self, policy: ScanPolicy) -> None:
        self._policy = policy

    async def tcp_connect(self, ctx: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
        """Connect `attempts` times; data has the time of each handshake and, where one comes unasked, the banner."""
        host, port = inputs["host"], inputs["port"]
        found: dict[str, Any] = {"host": host, "port": port}
        times: list[float] = []
        banner = ""
        try:
            for attempt in range(inputs["attempts"]):
                started = time.perf_counter()
                sock = await connect(host, port, self._policy.judge, timeout_s=inputs["connect_timeout_s"])
                times.append(_milliseconds(started))
                try:
                    found["address"] = sock.getpeername()[0]
                    if attempt == 0 and inputs["banner_wait_s"]:
                        banner = await _banner(sock, inputs["banner_wait_s"])
                finally:
                    sock.close()
        except OpsError as error:
            return _unless_required(inputs, error, {**found, "handshake_ms": times})
        summary = {"min_ms": min(times), "median_ms": round(median(times), 3), "max_ms": max(times)}
        return HandlerResult(
            data={**found, "reachable": True, "handshake_ms": times, **summary, "banner": banner or None}
        )

    async def http_probe(self, ctx: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
        """Send one GET or HEAD; data has status, headers, time to the answer, and size and hash of the body."""
        from opsconductor.transports.http import OutgoingRequest, Outlet, answer_headers, send

        request = OutgoingRequest(
            method=inputs["method"],
            url=inputs["url"],
            timeout_s=min(inputs["answer_timeout_s"], ctx.timeout_s),
            keep_bytes=inputs["body_limit_bytes"],
            max_redirects=inputs["max_redirects"],
        )
        started = time.perf_counter()
        try:
            answer = await send(request, Outlet(egress=ScanGate(self._policy)))
        except OpsError as error:
            # A GET has no effect to be in doubt about: an answer that did not come is a finding too.
            known = OpsError("peer_unreachable", error.message) if error.code == "outcome_unknown" else error
            return _unless_required(inputs, known, {"url": inputs["url"]})
        data = {
            "url": inputs["url"],
            "reachable": True,
            "status": answer.status,
            "reason": answer.reason,
            "elapsed_ms": _milliseconds(started),
            "headers": dict(answer_headers(answer)),
            "body_bytes": len(answer.body),
            "body_complete": answer.complete,
            "body_sha256": hashlib.sha256(answer.body).hexdigest() if answer.complete else None,
            "redirects": answer.redirects,
        }
        return HandlerResult(data=data)

    async def tls_handshake(self, ctx: StepContext, inputs: Mapping[str, Any]) -> HandlerResult:
        """Handshake twice: once verifying as a client would, once to read whatever certificate is presented."""
        host, port = inputs["host"], inputs["port"]
        name = inputs.get("server_name") or host
        found: dict[str, Any] = {"host": host, "port": port, "server_name": name}
        try:
            verified, reason = await self._verifies(host, port, name, inputs["connect_timeout_s"])
            session = await self._session(host, port, name, inputs["connect_timeout_s"])
        except OpsError as error:
            return _unless_required(inputs, error, found)
        return HandlerResult(data={**found, "reachable": True, "trusted": verified, "trust_error": reason, **session})

    async def _verifies(self, host: str, port: int, name: str, timeout_s: float) -> tuple[bool, str | None]:
        try:
            await self._handshake(host, port, name, ssl.create_default_context(), timeout_s)
        except ssl.SSLCertVerificationError as error:
            return False, error.verify_message
        except ssl.SSLError as error:
            return False, error.reason or "the handshake failed"
        return True, None

    async def _session(self, host: str, port: int, name: str, timeout_s: float) -> dict[str, Any]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        # The certificate is only described here, never relied on: `_verifies` says whether it can be.
        context.verify_mode = ssl.CERT_NONE
        try:
            return await self._handshake(host, port, name, context, timeout_s)
        except ssl.SSLError as error:
            reason = error.reason or "the handshake failed"
            raise OpsError(
                "peer_unreachable", f"{host} port {port}: no TLS ({reason})", host=host, port=port
            ) from error

    async def _handshake(
        self, host: str, port: int, name: str, context: ssl.SSLContext, timeout_s: float
    ) -> dict[str, Any]:
        sock = await connect(host, port, self._policy.judge, timeout_s=timeout_s)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
        except (TimeoutError, ConnectionError) as error:
            sock.close()
            raise OpsError("peer_unreachable", f"{host} port {port}: no TLS handshake in time") from error
        except BaseException:
            sock.close()
            raise
        try:
            tls = writer.get_extra_info("ssl_object")
            cipher = tls.cipher()
            certificate = tls.getpeercert(binary_form=True)
            described = describe_certificate(certificate) if certificate else None
            handshake_ms = _milliseconds(started)
            return {
                "version": tls.version(),
                "cipher": cipher[0] if cipher else None,
                "handshake_ms": handshake_ms,
                "certificate": described,
            }
        finally:
            writer.transport.abort()


def describe_certificate(der: bytes, now: datetime | None = None) -> dict[str, Any]:
    """Names, validity and fingerprint of a DER certificate; `expires_in_days` is negative once it has expired."""
    from cryptography import x509

    certificate = x509.load_der_x509_certificate(der)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        alternative = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        alternative = []
    left = certificate.not_valid_after_utc - (now or datetime.now(UTC))
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "names": alternative,
        "serial": f"{certificate.serial_number:x}",
        "not_before": to_rfc3339(certificate.not_valid_before_utc),
        "not_after": to_rfc3339(certificate.not_valid_after_utc),
        "expires_in_days": left.days,
        "self_signed": certificate.subject == certificate.issuer,
        "sha256": hashlib.sha256(der).hexdigest(),
    }


async def _banner(sock: Any, wait_s: float) -> str:
    """What the server says unasked within `wait_s`: at most 512 bytes, undecodable ones replaced."""
    try:
        async with asyncio.timeout(wait_s):
            said = await asyncio.get_running_loop().sock_recv(sock, 512)
    except (TimeoutError, OSError):
        return ""
    return str(said.decode("utf-8", "replace").strip())
