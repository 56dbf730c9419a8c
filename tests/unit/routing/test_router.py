"""Every name gets an answer with its reason; nothing falls back in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsconductor.catalog.catalog import CatalogSource, load_catalog
from opsconductor.model.errors import OpsError
from opsconductor.routing.router import Fallback, LiveRouter, Router, RoutingDecision
from opsconductor.routing.services import DEFAULT_URLS, Services
from tests.unit.catalog.trees import good, write

LOCATIONS: dict[str, str | None] = {
    "ping": "automation-service",
    "asset_query": "asset-service",
    "nmap": "network-analyzer-service",
    "nowhere": None,
    "robot": "robot-service",
}


def locate(name: str) -> tuple[str, str | None] | None:
    from opsconductor.model.names import canonical

    tool = canonical(name)
    return (tool, LOCATIONS[tool]) if tool in LOCATIONS else None


def router(fallback: Fallback = "allow", *, embedded: bool = False, **urls: str) -> Router:
    given_urls = {name.replace("_", "-"): url for name, url in urls.items()}
    return Router(locate, Services(given_urls, embedded=embedded), fallback)


@pytest.mark.parametrize(
    ("tool", "service", "url", "reason"),
    [
        ("ping", "automation-service", "http://automation-service:3003", "metadata"),
        ("Asset-Query", "asset-service", "http://asset-service:3005", "metadata"),
        ("nmap", "network-analyzer-service", "http://network-analyzer-service:3006", "metadata"),
        ("unheard-of", "automation-service", "http://automation-service:3003", "fallback:unknown_tool"),
        ("nowhere", "automation-service", "http://automation-service:3003", "fallback:no_location"),
        ("robot", "automation-service", "http://automation-service:3003", "fallback:unknown_service"),
    ],
)
def test_the_four_cases(tool: str, service: str, url: str, reason: str) -> None:
    decision = router().resolve(tool)
    assert (decision.service, decision.url, decision.reason) == (service, url, reason)
    assert decision.tool == tool
    assert decision.is_fallback == (reason != "metadata")
    assert router().resolve(tool) == decision


def test_ids_are_canonical_whatever_the_spelling() -> None:
    for spelling in ("asset-query", "asset_query", "Asset-Query", "ASSET QUERY"):
        assert router().resolve(spelling).id == "asset_query"
    assert router().resolve("Un-Heard of").id == "un_heard_of"


def test_a_service_nobody_has_heard_of_works_by_its_url_alone() -> None:
    decision = router(robot_service="http://127.0.0.1:9").resolve("robot")
    assert (decision.service, decision.url, decision.reason) == ("robot-service", "http://127.0.0.1:9", "metadata")


def test_urls_replace_the_defaults_and_the_alias_of_the_network_service_is_known() -> None:
    made = router(network_service="http://127.0.0.1:7", ASSET_SERVICE="http://127.0.0.1:8")
    assert made.resolve("nmap").url == "http://127.0.0.1:7"
    assert made.resolve("asset-query").url == "http://127.0.0.1:8"
    assert made.resolve("ping").url == DEFAULT_URLS["automation-service"]


def test_embedded_services_without_a_url_run_in_this_process() -> None:
    made = router(embedded=True, asset_service="http://127.0.0.1:8")
    assert made.resolve("ping").url is None
    assert made.resolve("unheard-of").url is None
    assert made.resolve("asset-query").url == "http://127.0.0.1:8"
    assert made.resolve("robot").reason == "fallback:unknown_service"


@pytest.mark.parametrize(
    ("tool", "reason"), [("x", "unknown_tool"), ("nowhere", "no_location"), ("robot", "unknown_service")]
)
def test_denied_fallbacks_are_errors_that_say_what_to_do(tool: str, reason: str) -> None:
    with pytest.raises(OpsError) as caught:
        router("deny").resolve(tool)
    assert caught.value.code == "routing_denied"
    assert caught.value.context["reason"] == f"fallback:{reason}"
    assert tool in caught.value.message
    assert router("deny").resolve("ping").reason == "metadata"


@given(st.text(max_size=300))
def test_every_name_has_an_answer(name: str) -> None:
    decision = router().resolve(name)
    assert isinstance(decision, RoutingDecision)
    assert decision.service in DEFAULT_URLS
    assert decision == router().resolve(name)


def test_remembered_spellings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opsconductor.routing.router._MAX_REMEMBERED", 10)
    made = router()
    for number in range(1, 50):
        made.resolve("asset" + "-" * number + "query")
        made.resolve("unknown" + str(number))
    assert len(made._remembered) <= 10
    assert made.resolve("asset-query").id == "asset_query"


def test_the_live_router_follows_the_catalog(tmp_path: Path) -> None:
    tools = write(tmp_path, du=good(location="Asset_Service"))
    live = LiveRouter(CatalogSource([tools], None, check_every_s=0), Services({}, embedded=False))
    first = live.current()
    assert live.resolve("du").service == "asset-service"
    assert live.current() is first
    write(tools, du=good(location="communication-service", description="Elsewhere."))
    assert live.resolve("du").service == "communication-service"


def test_the_catalog_says_where_a_tool_belongs(tmp_path: Path) -> None:
    tools = write(tmp_path, du=good(location="network-service"), df=good("df").replace("execution_location", "#"))
    made = Router(load_catalog([tools], cache_dir=None).location_of, Services({}, embedded=False))
    assert made.resolve("DU").service == "network-analyzer-service"
    assert made.resolve("df").reason == "fallback:no_location"
