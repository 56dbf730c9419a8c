"""`target_hosts` of older plans: one run for each host."""

from __future__ import annotations

from typing import Any

import pytest

from opsconductor.engine.older_targets import expand
from opsconductor.engine.plan_reader import read_plan
from opsconductor.model.errors import OpsError


@pytest.mark.parametrize("spelling", ["{{hostname}}", "{{ hostname }}", " {{ hostname}}"])
def test_the_hostname_of_an_asset_means_each_asset(spelling: str) -> None:
    given = {"target_hosts": [spelling], "note": {"text": ["at {{hostname}} ({{ ip_address }})"]}}
    for_each, inputs = expand(given)
    assert for_each == "{{ assets }}"
    assert inputs["host"] == "{{ item.hostname }}"
    assert inputs["note"] == {"text": ["at {{ item.hostname }} ({{ item.ip_address }})"]}


@pytest.mark.parametrize(
    ("hosts", "for_each"),
    [
        (["a", "b"], ["a", "b"]),
        ("{{ hostnames }}", "{{ hostnames }}"),
        (["{{ip_addresses}}"], "{{ip_addresses}}"),
    ],
)
def test_several_hosts_mean_each_of_them(hosts: Any, for_each: Any) -> None:
    assert expand({"target_hosts": hosts, "count": 1}) == (for_each, {"count": 1, "host": "{{ item }}"})


@pytest.mark.parametrize(
    "inputs",
    [
        {"target_hosts": ["a"]},
        {"target_hosts": "{{ inputs.host }}"},
        {"target_hosts": ["{{ inputs.host }}"]},
        {"target_hosts": []},
        {"target_hosts": 5},
        {"target_hosts": ["{{hostname}}"], "host": "b"},
    ],
)
def test_what_names_one_host_is_left_as_it_is(inputs: dict[str, Any]) -> None:
    assert expand(inputs) == (None, inputs)


def test_the_step_waits_for_the_query_whose_assets_it_runs_on() -> None:
    step = {"tool": "uname", "inputs": {"target_hosts": ["{{hostname}}"]}}
    plan = read_plan({"steps": [{"tool": "asset-query"}, {"tool": "id"}, {**step, "depends_on": []}]})
    assert (plan.steps[2].for_each, plan.steps[2].depends_on) == ("{{ assets }}", ("step_1",))
    with pytest.raises(OpsError, match="there is none before this step"):
        read_plan({"steps": [step]})
