"""Tools of a site, for tests that need a command that takes long, leaves a mark, or is answered by another service."""

from __future__ import annotations

from pathlib import Path

PAUSE = """
tool_name: pause
execution_location: automation-service
version: "1.0"
description: Wait, then leave a mark.
platform: linux
category: custom
runs_on: target
inputs:
  seconds: {type: integer, description: How long to wait., default: 60, minimum: 0, maximum: 600, unit: seconds}
  marker: {type: string, description: What shows in the process list., default: none, max_length: 200}
operations:
  wait:
    description: Wait in a child of its own.
    effect: change
    idempotent: false
    argv: [/bin/sh, -c, 'setsid sleep "$1" & sleep "$1"; wait', "{marker}", "{seconds}"]
    timeout_s: 600
  look:
    description: Wait, and change nothing.
    effect: read
    argv: [/bin/sh, -c, 'sleep "$1"', "{marker}", "{seconds}"]
    timeout_s: 600
default_operation: wait
"""

MARK = """
tool_name: mark
execution_location: automation-service
version: "1.0"
description: Make an empty file.
platform: linux
category: custom
runs_on: target
inputs:
  path: {type: string, format: path, description: The file to make., required: true}
operations:
  make: {description: Make it., effect: change, idempotent: true, argv: [touch, --, "{path}"]}
"""


def site_tools(folder: Path, **more: str) -> str:
    """Write `pause`, `mark` and further definitions by file name; the folder as OPSCONDUCTOR_TOOLS_PATH has it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"pause": PAUSE, "mark": MARK, **more}.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder)
