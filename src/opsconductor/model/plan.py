"""The plan: steps, how they hang together, and what happens when one fails. Frozen data.

`engine.plan_reader` turns a document into this, with line numbers in every error; `engine.coordinator` runs it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec


class OnFailure(StrEnum):
    """What the plan does after a step that did not succeed."""

    STOP = "stop"
    CONTINUE = "continue"


class PlanInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A typed input of a plan; required unless it has a default."""

    type: str = "string"
    description: str = ""
    default: Any | msgspec.UnsetType = msgspec.UNSET


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step. `inputs`, `when` and `target` may hold templates; `depends_on` is complete (references included).

    `line` is where the step starts in its document (1-based, 0 when it came without one).
    """

    id: str
    tool: str
    operation: str | None = None
    description: str = ""
    inputs: dict[str, Any] = {}
    depends_on: tuple[str, ...] = ()
    when: str | None = None
    timeout_s: float | None = None
    on_failure: OnFailure = OnFailure.STOP
    env: dict[str, str] = {}
    line: int = 0


class Receiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receiver on loopback that lives as long as the plan runs: for trying out deliveries (embedded mode only)."""

    kind: Literal["webhook", "mail"]


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A validated plan. Steps keep the document's order; ids are unique."""

    name: str
    steps: tuple[Step, ...]
    description: str = ""
    inputs: dict[str, PlanInput] = {}
    timeout_s: float | None = None
    receivers: dict[str, Receiver] = {}
    outputs: dict[str, str] = {}
    unacted: dict[str, Any] = {}
    source: str | None = None
