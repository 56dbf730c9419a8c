"""Trees of definition files for the catalog's tests."""

from __future__ import annotations

from pathlib import Path

GOOD = """\
tool_name: {name}
execution_location: {location}
version: "1.0"
description: {description}
platform: linux
category: linux
tags: [disk]
inputs:
  path: {{type: string, format: path, description: The folder to look at., examples: [/var]}}
operations:
  usage:
    effect: read
    argv: [du, --, "{{path}}"]
    examples:
      - inputs: {{path: /var}}
        argv: [du, --, /var]
default_operation: usage
"""

LEGACY = """\
tool_name: {name}
version: 2.1
description: Disk usage in the older format
platform: linux
category: system
execution_location: asset-service
capabilities:
  disk_monitoring:
    description: watch disks
    patterns:
      Check Disk:
        description: look at one
        required_inputs:
          - {{name: path, type: string, description: where, validation: "^/.*"}}
        optional_inputs:
          - {{name: maxDepth, type: integer, default: 3}}
        policy: {{requires_approval: false, production_safe: true, max_execution_time: 30, max_cost: 5}}
        time_estimate_ms: 100
      clean:
        required_inputs: [{{name: path, type: string, description: where, validation: ".*"}}]
        policy: {{requires_approval: true, production_safe: false}}
"""


def good(
    name: str = "du", location: str = "automation-service", description: str = "Sizes of folders and files."
) -> str:
    """A small definition without errors."""
    return GOOD.format(name=name, location=location, description=description)


def legacy(name: str = "old-disk") -> str:
    """A definition in the older format."""
    return LEGACY.format(name=name)


def write(folder: Path, **files: str) -> Path:
    """Write `stem=text` files below `folder/linux`; returns `folder`."""
    (folder / "linux").mkdir(parents=True, exist_ok=True)
    for stem, text in files.items():
        (folder / "linux" / f"{stem}.yaml").write_text(text)
    return folder
