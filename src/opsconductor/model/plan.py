"""The plan: steps, how they hang together, and what happens when one fails. Frozen data.

`engine.plan_reader` turns a document into this, with line numbers in every error; `engine.coordinator` runs it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from opsconductor.model.errors import Problem


class OnFailure(StrEnum):
    """What the plan does after a step that did not succeed."""

    STOP = "stop"
    CONTINUE = "continue"


class PlanInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A typed input of a plan; required unless it has a default. A secret one is masked wherever it is shown."""

    type: Literal["string", "integer", "number", "boolean", "array", "object"] = "string"
    description: str = ""
    default: Any | msgspec.UnsetType = msgspec.UNSET
    enum: tuple[str | int | float, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    secret: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step. `inputs`, `target`, `env`, `when` and `for_each` may hold templates.

    `depends_on` is complete: what the step says, what its templates refer to, and the step before it where it says
    nothing. `for_each` runs the tool once for each entry (`item`, `index`), at most `max_parallel` at a time.
    `line` is where the step starts in its document (1-based, 0 when it came without one).
    """

    id: str
    tool: str
    operation: str | None = None
    description: str = ""
    inputs: dict[str, Any] = {}
    target: str | None = None
    depends_on: tuple[str, ...] = ()
    when: str | None = None
    for_each: str | list[Any] | None = None
    max_parallel: int | None = None
    timeout_s: float | None = None
    on_failure: OnFailure = OnFailure.STOP
    env: dict[str, str] = {}
    line: int = 0


class Receiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiver on loopback that lives as long as the plan runs: for trying out deliveries (embedded mode only)."""

    kind: Literal["webhook", "mail"]


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A plan that was read without errors. Steps are in the order of the document; ids are unique.

    `unacted` holds what was kept and is not acted on, by its path in the document; `warnings` says so for people.
    """

    name: str
    steps: tuple[Step, ...]
    description: str = ""
    inputs: dict[str, PlanInput] = {}
    timeout_s: float | None = None
    receivers: dict[str, Receiver] = {}
    outputs: dict[str, str] = {}
    unacted: dict[str, Any] = {}
    source: str | None = None
    warnings: tuple[Problem, ...] = ()
