"""A small definition that uses every feature of rendering."""

from __future__ import annotations

from typing import Any

import msgspec

from opsconductor.model.tool import ToolDefinition


def define(inputs: dict[str, Any], **operation: Any) -> ToolDefinition:
    """A tool `probe` with one operation `go`."""
    document = {
        "tool_name": "probe",
        "description": "A tool for tests.",
        "version": "1.0",
        "platform": "linux",
        "category": "linux",
        "execution_location": "automation-service",
        "inputs": {name: {"description": f"The {name} of the test.", **spec} for name, spec in inputs.items()},
        "operations": {"go": {"effect": "read", **operation}},
        "default_operation": "go",
    }
    return msgspec.convert(document, ToolDefinition)
