"""A step's name finds one tool and one operation, or says why not; it is never run as it stands."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import StepRequest
from opsconductor.model.tool import ToolDefinition
from opsconductor.services.kit.selection import find_tool, owns, select
from tests.conformance.service_client import MemoryCatalog, make_tool

OPERATIONS = {
    "status": {"effect": "read", "argv": ["true"]},
    "restart": {"effect": "change", "argv": ["true"]},
    "mask": {"effect": "change", "not_executable": "masking is not part of this version"},
}
UNIT = {"unit": {"type": "string", "description": "The unit"}}


def systemctl(**fields: Any) -> ToolDefinition:
    return make_tool("systemctl", OPERATIONS, **{"inputs": UNIT, "default_operation": "status", **fields})


@pytest.mark.parametrize(
    ("step", "operation", "inputs"),
    [
        (StepRequest(tool="systemctl"), "status", {}),
        (StepRequest(tool="systemctl", operation="restart", inputs={"unit": "a"}), "restart", {"unit": "a"}),
        (StepRequest(tool="systemctl", operation="Re-Start"), None, {}),
        (StepRequest(tool="systemctl", operation="RESTART"), "restart", {}),
        (StepRequest(tool="systemctl", inputs={"action": "restart", "unit": "a"}), "restart", {"unit": "a"}),
        (StepRequest(tool="systemctl", inputs={"operation": "restart"}), "restart", {}),
    ],
)
def test_the_operation_is_the_steps_word_else_the_default(
    step: StepRequest, operation: str | None, inputs: dict[str, Any]
) -> None:
    if operation is None:
        with pytest.raises(OpsError):
            select(systemctl(), step)
        return
    selected = select(systemctl(), step)
    assert (selected.operation_name, selected.inputs) == (operation, inputs)


def test_a_declared_input_called_action_is_an_input() -> None:
    definition = systemctl(inputs={"action": {"type": "string", "description": "What to do"}})
    selected = select(definition, StepRequest(tool="systemctl", inputs={"action": "restart"}))
    assert (selected.operation_name, selected.inputs) == ("status", {"action": "restart"})


def test_the_only_operation_is_the_default() -> None:
    assert select(make_tool("uname", {"show": OPERATIONS["status"]}), StepRequest(tool="u")).operation_name == "show"


@pytest.mark.parametrize(
    ("definition", "step", "code", "said"),
    [
        (systemctl(), StepRequest(tool="s", operation="restrat"), "operation_unknown", "did you mean 'restart'?"),
        (systemctl(), StepRequest(tool="s", operation="mask"), "tool_not_executable", "masking is not part"),
        (systemctl(default_operation=None), StepRequest(tool="s"), "operation_unknown", "status, restart, mask"),
        (systemctl(default_operation=None), StepRequest(tool="s", operation=""), "operation_unknown", "no default"),
        (make_tool("old", {}), StepRequest(tool="old"), "tool_not_executable", "no operations"),
    ],
)
def test_what_cannot_be_selected_says_why(definition: ToolDefinition, step: StepRequest, code: str, said: str) -> None:
    with pytest.raises(OpsError) as caught:
        select(definition, step)
    assert caught.value.code == code
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("location", "service", "owned"),
    [
        ("asset-service", "asset-service", True),
        ("Asset_Service", "asset-service", True),
        ("network-service", "network-analyzer-service", True),
        ("asset-service", "automation-service", False),
        (None, "automation-service", True),
        (None, "asset-service", False),
        ("backup-service", "automation-service", False),
    ],
)
def test_a_tool_belongs_to_the_service_it_names(location: str | None, service: str, owned: bool) -> None:
    assert owns(service, make_tool("t", OPERATIONS, execution_location=location)) is owned


def test_a_tool_of_another_service_is_not_executed_here() -> None:
    catalog = MemoryCatalog([make_tool("backup", OPERATIONS, execution_location="backup-service")])
    with pytest.raises(OpsError) as caught:
        find_tool("automation-service", catalog, "backup")
    assert caught.value.code == "tool_not_executable"
    assert "backup-service" in caught.value.message
