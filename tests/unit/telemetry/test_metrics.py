from __future__ import annotations

from opsconductor.telemetry.metrics import MAX_SERVICES, Metrics


def test_only_tools_of_the_catalog_get_a_label() -> None:
    metrics = Metrics(tools=["df"])
    metrics.step("automation-service", "df", "completed", 0.2)
    for number in range(1000):
        metrics.step("automation-service", f"invented_{number}", "failed", 0.2)
    page = metrics.render().decode()
    assert 'opsconductor_step_duration_seconds_count{tool="df"} 1.0' in page
    assert 'opsconductor_step_duration_seconds_count{tool="other"} 1000.0' in page
    assert "invented" not in page


def test_a_flood_of_invented_services_is_folded() -> None:
    metrics = Metrics()
    for number in range(MAX_SERVICES + 50):
        metrics.step(f"service-{number}", "df", "completed", 0.1)
    page = metrics.render().decode()
    assert page.count("opsconductor_steps_total{") == MAX_SERVICES + 1
    assert 'opsconductor_steps_total{service="other",status="completed"} 50.0' in page


def test_unknown_reasons_methods_and_routes_count_as_other() -> None:
    metrics = Metrics(routes=["/tools"])
    metrics.fallback("fallback:made up")
    metrics.request("BREW", "/x", 404)
    metrics.request("GET", "/tools", 200)
    page = metrics.render().decode()
    assert 'opsconductor_routing_fallback_total{reason="other"} 1.0' in page
    assert 'opsconductor_http_requests_total{method="other",route="other",status="404"} 1.0' in page
    assert 'opsconductor_http_requests_total{method="GET",route="/tools",status="200"} 1.0' in page


def test_two_servers_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.fallback("fallback:unknown_tool")
    assert "unknown_tool" not in second.render().decode()
