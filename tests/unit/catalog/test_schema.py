"""The committed schema is the generated one, and it accepts and refuses what conversion does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from opsconductor.catalog.document import read_document
from opsconductor.catalog.schema import schema_text, structure_findings, tool_schema
from opsconductor.model.tool import ToolDefinition
from tests.unit.catalog.trees import good

COMMITTED = Path(__file__).parents[3] / "docs" / "reference" / "tool.schema.json"


def document(text: str) -> Any:
    return read_document(text.encode(), file="f").value


def test_the_committed_schema_is_the_generated_one() -> None:
    wanted = "run: python -m opsconductor.catalog.schema > docs/reference/tool.schema.json"
    assert COMMITTED.read_text() == schema_text(), wanted


def test_the_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(tool_schema())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("platform: linux\n", ""),
        ("tags: [disk]", "tags: {a: b}"),
        ("type: string", "type: text"),
        ("effect: read", "effect: read\n    undo: {operation: Usage}"),
        ("effect: read", "effect: read\n    handler: Bad.Name"),
        ("effect: read", "effect: read\n    output_limit_bytes: 1"),
        ("description: The folder to look at.", "description: ''"),
        ("default_operation: usage", "default_operation: [usage]"),
        ("default_operation: usage", "requires: {privileges: [rot]}"),
    ],
)
def test_what_does_not_convert_has_findings(old: str, new: str) -> None:
    value = document(good().replace(old, new))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, ToolDefinition)
    assert structure_findings(value)


def test_what_converts_has_no_findings() -> None:
    assert structure_findings(document(good())) == []
