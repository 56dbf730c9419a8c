"""Generated trees of definitions for the catalog and routing benches: as varied and as long as people's files."""

from __future__ import annotations

from pathlib import Path

SERVICES = ("automation-service", "communication-service", "asset-service", "network-analyzer-service")
CATEGORIES = tuple(f"category_{number:02}" for number in range(20))

_TEMPLATE = """\
tool_name: tool-{number}
execution_location: {service}
version: "1.{number}"
description: Look at and control unit {number} of the service manager, with its logs and its state.
platform: linux
category: {category}
tags: [service, systemd, unit-{number}]
inputs:
  unit: {{type: string, format: systemd-unit, required: true, description: The unit to act on, examples: [a.service]}}
  lines:
    type: integer
    default: 50
    minimum: 1
    maximum: {maximum}
    description: How many lines of the log to show.
  state: {{type: string, enum: [running, failed, active], description: List only units in this state.}}
operations:
  status:
    description: Properties of one unit as systemd reports them.
    effect: read
    argv: [systemctl, show, --no-pager, --, "{{unit}}"]
    parse: key_value
    examples:
      - inputs: {{unit: nginx.service}}
        argv: [systemctl, show, --no-pager, --, nginx.service]
  logs:
    effect: read
    argv: [journalctl, -o, json, [-n, "{{lines}}"], ["--state={{state}}"], "--unit={{unit}}"]
    parse: json_lines
    timeout_s: {timeout}
  restart: {{effect: change, idempotent: false, argv: [systemctl, restart, --, "{{unit}}"], probe: status}}
default_operation: status
"""


def tool_name(number: int) -> str:
    """The name of one generated tool."""
    return f"tool-{number}"


def write_tree(root: Path, count: int) -> list[Path]:
    """Write `count` definitions below `root`; returns their paths."""
    paths = []
    for category in CATEGORIES:
        (root / category).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        category = CATEGORIES[number % len(CATEGORIES)]
        text = _TEMPLATE.format(
            number=number,
            service=SERVICES[number % len(SERVICES)],
            category=category,
            maximum=1000 + number,
            timeout=10 + number % 600,
        )
        path = root / category / f"tool_{number}.yaml"
        path.write_text(text)
        paths.append(path)
    return paths
