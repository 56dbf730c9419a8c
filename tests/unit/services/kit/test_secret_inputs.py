"""Values given to secret inputs are secrets, by whatever name they were given."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.services.kit.secret_inputs import NO_SECRETS, redacted_error, redactor_for
from tests.conformance.service_client import make_tool

TOOL = make_tool(
    "login",
    {},
    inputs={
        "password": {"type": "string", "description": "It", "secret": True, "aliases": ["pass_word"]},
        "headers": {"type": "object", "description": "Them", "secret": True},
        "user": {"type": "string", "description": "Who"},
    },
)


@pytest.mark.parametrize(
    "inputs",
    [
        {"password": "correct-horse"},
        {"pass_word": "correct-horse"},
        {"Pass-Word": "correct-horse"},
        {"headers": {"Authorization": ["correct-horse"]}},
    ],
)
def test_a_secret_inputs_value_is_masked(inputs: dict[str, Any]) -> None:
    assert redactor_for(TOOL, inputs).text("it is correct-horse!") == "it is ***!"


def test_a_secret_number_is_masked() -> None:
    assert redactor_for(TOOL, {"password": 12345678}).text("pin 12345678") == "pin ***"


def test_other_inputs_are_not() -> None:
    assert redactor_for(TOOL, {"user": "root"}) is NO_SECRETS


def test_errors_are_masked_in_message_and_context() -> None:
    redactor = redactor_for(TOOL, {"password": "correct-horse"})
    error = OpsError("command_failed", "no login with correct-horse", argv=["-p", "correct-horse"]).to_info()
    masked = redacted_error(redactor, error)
    assert masked.message == "no login with ***"
    assert masked.context == {"argv": ["-p", "***"]}
    assert redacted_error(NO_SECRETS, error) is error
