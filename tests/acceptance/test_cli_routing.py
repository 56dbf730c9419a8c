"""CONTRACTS §2 and §1 through the command: who executes a tool and why, and what a site's own files change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.site import site_tools
from tests.cli import Home

# Each test starts processes: together too much for the everyday subset.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

LAB = """
tool_name: Lab-Robot
execution_location: {location}
version: "1.0"
description: Move the arm of the lab's robot.
platform: any
category: custom
runs_on: service
inputs: {{angle: {{type: integer, description: Degrees from rest., minimum: 0, maximum: 90, default: 0}}}}
operations:
  move: {{description: Move it., effect: change, idempotent: true, argv: ["true", "{{angle}}"]}}
"""

OLDER = """
tool_name: old-checker
execution_location: automation-service
version: "2.1"
description: Checks as the earlier system did.
platform: linux
category: custom
capabilities:
  checking:
    patterns:
      quick:
        description: A quick check.
        required_inputs:
          - {name: level, type: integer, description: How thorough the check is, validation: "^[0-9]$"}
        optional_inputs:
          - {name: note, type: string, description: A word for the report, default: none}
        policy: {requires_approval: false, production_safe: true, max_execution_time: 30, max_cost: 1}
"""

OVERRIDE = """
tool_name: uname
execution_location: automation-service
version: "9.0"
description: Say the site's own words.
platform: linux
category: linux
runs_on: target
inputs: {}
operations:
  words: {description: Say them., effect: read, argv: [echo, the site's own uname]}
"""

BROKEN = """tool_name: broken
execution_location: automation-service
version: "1.0"
description: A file with a mistake.
platform: linux
category: custom
runs_on: target
inputs: {}
operations:
  go: {description: Go., effect: read, argv: [uname], bogus_key: 1}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A site with a robot, an older definition, an override, a definition without a location, and a broken file."""
    folder = tmp_path_factory.mktemp("routing")
    nowhere = LAB.format(location="x").replace("execution_location: x\n", "").replace("Lab-Robot", "nowhere-tool")
    tools = site_tools(
        folder / "tools",
        lab_robot=LAB.format(location="axis-lab-service"),
        alias_tool=LAB.format(location="network_service").replace("Lab-Robot", "alias-tool"),
        nowhere_tool=nowhere,
        old_checker=OLDER,
        uname=OVERRIDE,
        broken=BROKEN,
    )
    return Home(folder / "home", OPSCONDUCTOR_TOOLS_PATH=tools)


def route(home: Home, tool: str, **env: str) -> dict[str, Any]:
    """The decision as JSON."""
    result = home.run("route", tool, "--json", env=env)
    assert result.code == 0, result
    decision: dict[str, Any] = result.json
    assert set(decision) == {"tool", "id", "service", "url", "reason"}
    return decision


@pytest.mark.parametrize("spelling", ["asset-query", "asset_query", "Asset-Query", "ASSET QUERY"])
def test_spellings_of_one_name_are_one_tool(site: Home, spelling: str) -> None:
    decision = route(site, spelling)
    assert decision == {
        "tool": spelling,
        "id": "asset_query",
        "service": "asset-service",
        "url": None,
        "reason": "metadata",
    }


def test_the_services_url_comes_from_the_environment(site: Home) -> None:
    assert route(site, "df", AUTOMATION_SERVICE_URL="http://a:1")["url"] == "http://a:1"
    assert route(site, "nmap", NETWORK_ANALYZER_SERVICE_URL="http://n:1")["url"] == "http://n:1"
    assert route(site, "nmap", NETWORK_SERVICE_URL="http://older:1")["url"] == "http://older:1"


@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        ("no-such-tool", "fallback:unknown_tool"),
        ("", "fallback:unknown_tool"),
        ("../../bin/sh", "fallback:unknown_tool"),
        ("nowhere-tool", "fallback:no_location"),
        ("lab_robot", "fallback:unknown_service"),
    ],
)
def test_a_fallback_says_why(site: Home, tool: str, reason: str) -> None:
    decision = route(site, tool)
    assert (decision["service"], decision["reason"]) == ("automation-service", reason)


def test_a_service_nobody_has_heard_of_needs_a_url_and_a_definition(site: Home) -> None:
    decision = route(site, "LAB ROBOT", AXIS_LAB_SERVICE_URL="http://127.0.0.1:4000")
    assert (decision["id"], decision["service"]) == ("lab_robot", "axis-lab-service")
    assert (decision["url"], decision["reason"]) == ("http://127.0.0.1:4000", "metadata")


def test_network_service_is_another_name_of_the_network_analyzer(site: Home) -> None:
    decision = route(site, "alias-tool")
    assert (decision["service"], decision["reason"]) == ("network-analyzer-service", "metadata")


def test_a_credential_in_a_url_is_not_shown(site: Home) -> None:
    decision = site.run("route", "df", "--json", env={"AUTOMATION_SERVICE_URL": "http://svc:hunter2@a:1"})
    words = site.run("route", "df", env={"AUTOMATION_SERVICE_URL": "http://svc:hunter2@a:1"})
    assert "hunter2" not in decision.out + words.out and decision.json["url"] == "http://a:1"


def test_denied_fallbacks_are_errors_before_anything_runs(site: Home, tmp_path: Path) -> None:
    deny = {"OPSCONDUCTOR_ROUTING_FALLBACK": "deny"}
    refused = site.run("route", "no-such-tool", "--json", env=deny)
    assert (refused.code, refused.json["error"]["code"]) == (2, "routing_denied")
    mark = tmp_path / "mark"
    text = f"steps:\n  - {{tool: mark, inputs: {{path: {mark}}}}}\n  - {{tool: no-such-tool}}\n"
    result = site.run("run", site.plan("deny.yaml", text), "--json", env=deny)
    assert result.code == 2 and "routing_denied" in [problem["code"] for problem in result.problems], result
    assert {problem["line"] for problem in result.problems} == {3}
    assert not mark.exists()


def test_a_fallback_shows_in_the_step_and_in_the_log(site: Home) -> None:
    result = site.run("exec", "no-such-tool", "--json")
    [step] = result.json["step_results"]
    assert result.code == 1 and step["error"]["code"] == "tool_not_found"
    assert (step["service"], step["route_reason"]) == ("automation-service", "fallback:unknown_tool")
    assert "fallback:unknown_tool" in result.err and "WARNING" in result.err


def test_a_tools_name_is_never_run_as_a_command(site: Home) -> None:
    for name in ("true", "/usr/bin/true", "sh"):
        if site.run("tools", "show", name, "--json").code == 0:
            continue  # a tool of that name is in the catalog
        assert site.run("exec", name, "--json").json["step_results"][0]["error"]["code"] == "tool_not_found"


# A site's files


def test_a_broken_file_is_named_with_its_place_and_the_rest_works(site: Home) -> None:
    result = site.run("tools", "lint", "--json")
    assert result.code == 2
    [problem] = [problem for problem in result.json["problems"] if str(problem.get("file")).endswith("broken.yaml")]
    assert problem["line"] == 10 and "bogus_key" in problem["message"]
    words = site.run("tools", "lint")
    assert "broken.yaml:10" in words.err
    assert site.run("exec", "df", "path=/").code == 0
    listing = site.run("tools", "list", "--json")
    assert "broken" not in [row["id"] for row in listing.json["tools"]] and "lint" in listing.err
    shown = site.run("exec", "broken", "--json").json["step_results"][0]["error"]
    assert "broken.yaml" in shown["message"], shown


def test_an_override_is_used_and_reported(site: Home) -> None:
    assert site.run("exec", "uname").out == "the site's own uname\n"
    [row] = [row for row in site.run("tools", "list", "--json").json["tools"] if row["id"] == "uname"]
    assert row["overrides"] and row["path"].endswith("tools/uname.yaml")
    [override] = site.run("tools", "lint", "--json").json["overrides"]
    assert override == {"tool": "uname", "path": row["path"], "overrides": row["overrides"]}
    assert f"{row['path']}: uname replaces {row['overrides']}" in site.run("tools", "lint").err


def test_an_older_definition_is_listed_searched_routed_and_checked(site: Home) -> None:
    assert route(site, "old_checker")["reason"] == "metadata"
    assert "old-checker" in [row["tool"] for row in site.run("tools", "search", "checks", "--json").json["tools"]]
    shown = site.run("tools", "show", "old-checker", "--json").json
    assert shown["legacy"] is True and set(shown["definition"]["inputs"]) == {"level", "note"}
    missing = site.run("exec", "old-checker", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (2, "input_missing"), missing
    result = site.run("exec", "old-checker", "level=3", "--json")
    assert result.json["step_results"][0]["error"]["code"] == "tool_not_executable" and result.code == 1


def test_two_files_of_one_name_are_an_error_with_both_paths(tmp_path: Path) -> None:
    tools = site_tools(tmp_path / "tools", uname=OVERRIDE)
    site_tools(tmp_path / "tools" / "more", uname=OVERRIDE.replace("uname", "UNAME", 1))
    result = Home(tmp_path / "home", OPSCONDUCTOR_TOOLS_PATH=tools).run("tools", "lint")
    duplicates = [line for line in result.err.splitlines() if "tools/uname.yaml" in line and "more/uname.yaml" in line]
    assert result.code == 2 and duplicates, result


def test_a_folder_of_tools_that_is_not_there_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path / "home", OPSCONDUCTOR_TOOLS_PATH=str(tmp_path / "absent"))
    assert str(tmp_path / "absent") in home.run("tools", "lint").err
    assert home.run("exec", "uname").code == 0
