from __future__ import annotations

import pytest

from opsconductor.services.kit.listening import allowed_hosts, listen_tcp, url_of


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.7"])
def test_a_server_on_loopback_answers_to_loopback_names_its_own_and_the_sites(host: str) -> None:
    allowed = allowed_hosts(host, ["Automation-Service"])
    assert allowed is not None
    assert {"localhost", "127.0.0.1", "[::1]", "automation-service"} <= allowed
    assert (f"[{host}]" if ":" in host else host) in allowed
    assert "evil.example" not in allowed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "automation-service", ""])
def test_a_server_on_the_network_answers_to_every_name(host: str) -> None:
    assert allowed_hosts(host) is None


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "http://127.0.0.1:"), ("::1", "http://[::1]:"), ("0.0.0.0", "http://127.0.0.1:")]
)
def test_the_url_of_a_listener_has_the_port_it_got(host: str, shown: str) -> None:
    with listen_tcp(host, 0) as sock:
        url = url_of(sock, host)
        assert url == f"{shown}{sock.getsockname()[1]}"
        assert not url.endswith(":0")
