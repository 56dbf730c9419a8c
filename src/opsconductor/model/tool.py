"""The tool definition: what a YAML file of the catalog says, as frozen data.

The format is described for authors in docs/how-to/write-a-tool.md; its JSON Schema is generated
from these classes. `catalog` reads and checks definitions; `services` execute their operations.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from opsconductor.model.names import canonical

Identifier = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Text = Annotated[str, Meta(min_length=1, max_length=4000)]
ArgvElement = str | tuple[str, ...]
"""A literal or `{input}` text, or a group that is emitted only when every input it names has a value."""


class Effect(StrEnum):
    """What an operation does to the world."""

    READ = "read"
    CHANGE = "change"
    DESTRUCTIVE = "destructive"


class Placement(StrEnum):
    """Where an operation's command runs: from the service itself, or on the step's target."""

    SERVICE = "service"
    TARGET = "target"


InputType = Literal["string", "integer", "number", "boolean", "array", "object"]


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One typed input. Lengths are in characters (string) or entries (array); numbers in `unit`.

    `source: guard` is an input that a guard of the operation sets; callers may not.
    """

    type: InputType
    description: Text
    default: Any | UnsetType = UNSET
    required: bool = False
    enum: tuple[str | int | float, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None
    items: InputType | None = None
    unit: str | None = None
    secret: bool = False
    aliases: tuple[str, ...] = ()
    examples: tuple[Any, ...] = ()
    allow_leading_dash: bool = False
    multiline: bool = False
    source: Literal["caller", "guard"] = "caller"


class Example(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Inputs and, for argv operations, the exact command they become; `stdin` where the operation feeds one."""

    inputs: dict[str, Any] = {}
    argv: tuple[str, ...] | None = None
    stdin: str | None = None
    description: str = ""


class Undo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The operation of the same tool that takes the change back; inputs are those of the original unless named."""

    operation: Identifier
    inputs: dict[str, Any] = {}


class Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing a tool does. Exactly one of `argv`, `handler`, unless `not_executable` says what is missing.

    `guards` names, for an input, the policy of the service that judges it before anything starts.
    """

    effect: Effect
    description: str = ""
    idempotent: bool | None = None
    argv: tuple[ArgvElement, ...] | None = None
    handler: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.]*$")] | None = None
    not_executable: Text | None = None
    stdin: str | None = None
    env: dict[str, str] = {}
    guards: dict[Identifier, Identifier] = {}
    uses: tuple[Identifier, ...] = ()
    required: tuple[Identifier, ...] = ()
    runs_on: Placement | None = None
    approval: Literal["policy", "always"] = "policy"
    ok_exit_codes: tuple[int, ...] = (0,)
    empty_exit_codes: tuple[int, ...] = ()
    timeout_s: Annotated[float, Meta(gt=0, le=86400)] = 60.0
    output_limit_bytes: Annotated[int, Meta(ge=1024, le=2**40)] = 1024 * 1024
    parse: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.]*$")] | None = None
    output_schema: dict[str, Any] | None = None
    probe: Identifier | None = None
    undo: Undo | None = None
    dry_run: Identifier | None = None
    examples: tuple[Example, ...] = ()

    @property
    def is_idempotent(self) -> bool:
        """Reads are idempotent unless they say otherwise; what changes something is not unless it says so."""
        return self.effect is Effect.READ if self.idempotent is None else self.idempotent


class Requires(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must be present where an operation runs. Programs default to the first word of each argv."""

    programs: tuple[str, ...] = ()
    packages: dict[str, str] = {}
    privileges: tuple[Literal["root", "net_raw", "net_admin"], ...] = ()
    settings: tuple[str, ...] = ()


class ToolDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A tool. `operations` is empty only for definitions in the older format that have no known way to run."""

    tool_name: Annotated[str, Meta(min_length=1, max_length=100)]
    description: Text
    version: str
    platform: str
    category: str
    execution_location: str | None = None
    runs_on: Placement = Placement.SERVICE
    tags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    requires: Requires = Requires()
    inputs: dict[Identifier, InputSpec] = {}
    operations: dict[Identifier, Operation] = {}
    default_operation: Identifier | None = None

    @property
    def id(self) -> str:
        """The canonical name, which is also the file's name."""
        return canonical(self.tool_name)

    def placement(self, operation: Operation) -> Placement:
        """Where `operation` runs: its own word, else the tool's."""
        return operation.runs_on or self.runs_on
