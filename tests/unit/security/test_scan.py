"""The scan policy: loopback and what the site names, whatever an address is written like."""

from __future__ import annotations

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.security.scan import parse_scan_policy


@pytest.mark.parametrize("text", ["127.0.0.1", "127.8.0.0/16", "::1", "::ffff:127.0.0.1", "10.1.2.3", "10.1.0.0/16"])
def test_what_lies_inside_is_allowed(text: str) -> None:
    parse_scan_policy("10.0.0.0/8, fd00::/8").check_network(text)


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "126.0.0.0/7", "11.0.0.1", "::/0", "::ffff:8.8.8.8", "fe80::1%eth0", "2002:7f00:1::"]
)
def test_what_does_not_is_refused(text: str) -> None:
    with pytest.raises(OpsError) as caught:
        parse_scan_policy("10.0.0.0/8").check_network(text)
    assert caught.value.code == "network_not_allowed"
    assert "OPSCONDUCTOR_SCAN_ALLOW" in caught.value.message


def test_a_setting_that_is_no_network_is_named() -> None:
    with pytest.raises(OpsError, match="OPSCONDUCTOR_SCAN_ALLOW"):
        parse_scan_policy("10.0.0.0/8, everything")
