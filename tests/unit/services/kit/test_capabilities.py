"""What is missing for an operation is named: program, privilege, setting or handler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opsconductor.model.errors import OpsError
from opsconductor.model.tool import ToolDefinition
from opsconductor.services.kit.capabilities import (
    Capabilities,
    ProgramFinder,
    effective_capabilities,
    missing_privileges,
    programs_of,
)
from tests.conformance.service_client import SERVICE, MemoryCatalog, make_tool


def program(folder: Path, name: str, mode: int = 0o755) -> None:
    path = folder / name
    path.write_text("")
    path.chmod(mode)


def capabilities(folder: Path, *settings: str) -> Capabilities:
    return Capabilities(handlers={}, environment={"PATH": str(folder)}, setting_present=lambda name: name in settings)


def reason(capable: Capabilities, definition: ToolDefinition) -> str | None:
    return capable.reason(definition, definition.operations["run"])


def one(operation: dict[str, Any], **requires: Any) -> ToolDefinition:
    return make_tool("probe", {"run": {"effect": "read", **operation}}, requires=requires)


def test_a_program_on_the_path_makes_its_tool_executable(tmp_path: Path) -> None:
    program(tmp_path, "dig")
    assert reason(capabilities(tmp_path), one({"argv": ["dig"]})) is None


def test_an_absent_program_is_named_with_its_package(tmp_path: Path) -> None:
    program(tmp_path, "plain", 0o644)
    capable = capabilities(tmp_path)
    found = reason(capable, one({"argv": ["dig"]}, packages={"debian": "dnsutils"}))
    assert found == "program not found: dig (Debian package dnsutils)"
    assert reason(capable, one({"argv": ["plain"]})) == "program not found: plain"
    assert reason(capable, one({"argv": ["{path}"]})) is None


def test_settings_and_handlers_that_are_missing_are_named(tmp_path: Path) -> None:
    assert "smtp_host" in (reason(capabilities(tmp_path), one({"argv": ["{a}"]}, settings=["smtp_host"])) or "")
    assert reason(capabilities(tmp_path, "smtp_host"), one({"argv": ["{a}"]}, settings=["smtp_host"])) is None
    assert "mail.send" in (reason(capabilities(tmp_path), one({"handler": "mail.send"})) or "")


def test_a_program_is_looked_for_again_after_a_while(tmp_path: Path) -> None:
    moment = 0.0
    finder = ProgramFinder(str(tmp_path), clock=lambda: moment)
    assert finder.find("dig") is None
    program(tmp_path, "dig")
    assert finder.find("dig") is None
    moment = 11.0
    assert finder.find("dig") == str(tmp_path / "dig")
    assert finder.find(str(tmp_path / "dig")) == str(tmp_path / "dig")


@pytest.mark.parametrize(
    ("wanted", "user_id", "capability_set", "missing"),
    [
        (["root"], 1000, 0, ["root"]),
        (["root"], 0, 0, []),
        (["net_raw", "net_admin"], 1000, 1 << 13, ["net_admin"]),
        (["net_raw"], 0, 0, ["net_raw"]),
    ],
)
def test_privileges_are_read_from_the_capability_set(
    wanted: list[str], user_id: int, capability_set: int, missing: list[str]
) -> None:
    assert missing_privileges(wanted, capabilities=capability_set, user_id=user_id) == missing


def test_the_capability_set_is_that_of_the_status_file(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t0000000000002000\n")
    assert effective_capabilities(status) == 1 << 13
    assert effective_capabilities(tmp_path / "absent") == 0


def test_required_programs_count_instead_of_the_first_word() -> None:
    definition = one({"argv": ["env", "dig"]}, programs=["dig"])
    assert programs_of(definition, definition.operations["run"]) == ("dig",)


def test_a_definition_that_can_be_read_no_more_is_listed_with_the_reason(tmp_path: Path) -> None:
    class Harmed:
        id, tool_name = "harmed", "harmed"

        @property
        def definition(self) -> ToolDefinition:
            raise OpsError("definition_invalid", "harmed.yaml cannot be read any more")

    class Catalog(MemoryCatalog):
        def entries(self) -> list[Any]:
            return [Harmed(), *super().entries()]

    listed = capabilities(tmp_path).listing(SERVICE, Catalog([make_tool("old", {})]))
    assert [(entry["tool"], entry["executable"]) for entry in listed] == [("harmed", False), ("old", False)]
    assert listed[0]["reason"] == "harmed.yaml cannot be read any more"
