"""`opsconductor explain` for people: what each step would do, and where."""

from __future__ import annotations

import shlex
from typing import Any

from opsconductor.interfaces.cli.output import show


def show_explanation(explanation: dict[str, Any]) -> None:
    """What a plan would do: a line for each step, and below it the command where it is known."""
    steps = explanation["steps"]
    show(f"{explanation['plan'] or 'plan'} · {len(steps)} step{'' if len(steps) == 1 else 's'}", "bold")
    width = max((len(step["id"]) for step in steps), default=0)
    below = " " * (width + 4)
    for step in steps:
        show(f"  {step['id']:<{width}}  {_step_text(step)}", indent=width + 4)
        if step.get("argv"):
            show(f"{below}$ {shlex.join(step['argv'])}", "dim", indent=width + 6)
        if error := step.get("error"):
            show(f"{below}would fail: {error['message']} [{error['code']}]", "red", indent=width + 6)


def _step_text(step: dict[str, Any]) -> str:
    reason = step["route_reason"]
    parts = [
        f"{step['tool']} {step['operation'] or ''}".rstrip(),
        f"{step['service']} ({reason})" if reason not in (None, "metadata") else step["service"],
        f"on {step['target']}" if step["target"] else None,
        step["effect"],
        f"after {', '.join(step['depends_on'])}" if step["depends_on"] else None,
        f"when {_expression(step['when'])}" if step["when"] else None,
        f"for each of {_expression(step['for_each'])}" if step["for_each"] else None,
    ]
    return " · ".join(part for part in parts if part)


def _expression(value: Any) -> str:
    text = str(value).strip()
    alone = text.startswith("{{") and text.endswith("}}") and text.count("{{") == 1
    return text[2:-2].strip() if alone else text
