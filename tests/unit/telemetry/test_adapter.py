from __future__ import annotations

import logging

import pytest

from opsconductor.engine.ports import Telemetry
from opsconductor.telemetry.adapter import OpsTelemetry
from opsconductor.telemetry.metrics import Metrics


def test_a_fallback_is_a_warning_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = OpsTelemetry(Metrics())
    port: Telemetry = telemetry
    with caplog.at_level(logging.INFO):
        port.routed("frobnicate", "automation-service", "fallback:unknown_tool")
        port.routed("df", "automation-service", "metadata")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert telemetry.metrics is not None
    assert 'reason="fallback:unknown_tool"} 1.0' in telemetry.metrics.render().decode()


def test_success_is_a_positive_list(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = OpsTelemetry()
    with caplog.at_level(logging.INFO):
        for status in ("completed", "failed", "timeout", "outcome_unknown", "brand_new"):
            telemetry.step_finished("automation-service", "df", status, 0.1)
    assert [record.levelname for record in caplog.records] == ["INFO", *["WARNING"] * 4]


def test_tools_are_counted_by_their_canonical_name() -> None:
    metrics = Metrics(tools=["get_service"])
    OpsTelemetry(metrics).step_finished("automation-service", "Get-Service", "completed", 0.1)
    assert 'tool="get_service"} 1.0' in metrics.render().decode()
