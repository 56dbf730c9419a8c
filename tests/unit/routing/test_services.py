"""Known services and their URLs."""

from __future__ import annotations

import pytest

from opsconductor.routing.services import DEFAULT_URLS, FALLBACK_SERVICE, Services


def test_the_four_services_are_known_under_their_documented_urls() -> None:
    services = Services({}, embedded=False)
    assert services.names() == tuple(DEFAULT_URLS)
    assert {name: services.url_of(name) for name in services.names()} == DEFAULT_URLS
    assert FALLBACK_SERVICE in services


def test_a_url_makes_a_service_known_and_an_empty_one_does_not() -> None:
    services = Services({"Robot_Service": "http://127.0.0.1:9", "ghost-service": ""}, embedded=True)
    assert services.url_of("robot-service") == "http://127.0.0.1:9"
    assert "ghost-service" not in services
    with pytest.raises(KeyError):
        services.url_of("ghost-service")


def test_embedded_services_have_no_url_of_their_own() -> None:
    services = Services({"asset-service": "http://127.0.0.1:8"}, embedded=True)
    assert services.url_of("automation-service") is None
    assert services.url_of("asset-service") == "http://127.0.0.1:8"
