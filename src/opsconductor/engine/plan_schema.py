"""What a plan document may say: its keys, the bounds of its values, and the collecting of everything wrong in it.

docs/reference/plan-format.md explains the keys to people. Used by the plan reader alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import msgspec

from opsconductor.model.errors import OpsError, Problem, from_problems
from opsconductor.model.limits import DocumentLimits

Path = tuple[str | int, ...]
Position = Callable[[Path], tuple[int, int] | None]

PLAN_KEYS = frozenset({"name", "description", "inputs", "steps", "timeout_s", "receivers", "outputs"})
STEP_KEYS = frozenset(
    {
        *(
            "id",
            "description",
            "tool",
            "operation",
            "inputs",
            "target",
            "depends_on",
            "when",
            "for_each",
            "max_parallel",
        ),
        *("timeout_s", "on_failure", "env"),
        # Spelled so in older plans.
        *("step_id", "name", "parameters", "execution_order"),
    }
)
UNACTED_KEYS = frozenset(
    {
        *("preconditions", "success_criteria", "failure_handling", "estimated_duration", "safety_checks"),
        *("rollback_plan", "observability"),
    }
)
"""Keys of older plans that are kept and reported, and change nothing."""
UNSUPPORTED_KEYS = frozenset({"retry", "rollback", "approval", "plan", "batch", "max_failed", "max_unreachable"})
"""Keys of the plan language that this version does not act on: leaving them out would change what happens."""

STEP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
MAX_PROBLEMS = 200
"""More errors than this are counted, not listed: nobody mends them one by one."""

_MANY_NAMES = 300


class PlanLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a plan may be. `max_items` is for each `for_each`; times are in seconds."""

    document: DocumentLimits = DocumentLimits()
    max_steps: int = 10_000
    max_items: int = 10_000
    max_parallel: int = 50
    max_timeout_s: float = 86_400.0


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    names = sorted(known)
    if len(names) > _MANY_NAMES:  # comparing costs microseconds a name, and a plan may have ten thousand steps
        names = [one for one in names if one[:1] == name[:1]][:_MANY_NAMES]
    found = get_close_matches(name[:200], names, n=1)
    return found[0] if found else None


def excerpt(value: Any) -> Any:
    """A value short enough for an error message; containers by their kind, because they may hold anything."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= 80 else f"{value[:60]}… ({len(value)} characters)"
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else "a value"


class Places:
    """Where the steps of a document and their fields stand; for errors that are found after reading."""

    def __init__(self, position: Position, paths: Mapping[str, Path]) -> None:
        self._position, self._paths = position, paths

    def of(self, step: str, field: str | None = None) -> tuple[int, int] | None:
        """Line and column (from 1) of a field such as `inputs.tags.0`, or of the nearest place above it."""
        if step not in self._paths:
            return None
        parts = field.split(".") if field else []
        path = (*self._paths[step], *(int(part) if part.isdigit() else part for part in parts))
        while (found := self._position(path)) is None and path:
            path = path[:-1]
        return found


class Findings:
    """Collects what is wrong in one document, each with its place."""

    def __init__(self, file: str | None, position: Position) -> None:
        self._file, self._position = file, position
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self._left_out = 0

    @property
    def full(self) -> bool:
        """Whether further errors are only counted."""
        return len(self.errors) >= MAX_PROBLEMS

    def place(self, path: Path) -> tuple[int, int] | None:
        """Line and column (from 1) of the nearest known place at or above `path`."""
        while (found := self._position(path)) is None and path:
            path = path[:-1]
        return found

    def add(
        self, code: str, message: str, path: Path, *, step: str | None = None, warning: bool = False, **more: Any
    ) -> None:
        """Note a problem at `path`; `more` are fields of Problem (`found`, `expected`, `suggestion`)."""
        kept = self.warnings if warning else self.errors
        if len(kept) >= MAX_PROBLEMS:
            self._left_out += not warning
            return
        line, column = self.place(path) or (None, None)
        # Within a step the field is told from the step on: `inputs.path`, not `steps.3.inputs.path`.
        field = ".".join(map(str, path[path.index("steps") + 2 :] if step and "steps" in path else path)) or None
        kept.append(
            Problem(
                code=code,
                message=message,
                file=self._file,
                line=line,
                column=column,
                step=step,
                field=field,
                level="warning" if warning else "error",
                **more,
            )
        )

    def unknown_key(self, key: str, known: Iterable[str], path: Path, *, step: str | None = None) -> None:
        """Note a key that the format does not have."""
        near = None if self.full else nearest(key, known)
        hint = "" if near else f"; there are {', '.join(sorted(known))}"
        what = "step_invalid" if step else "plan_invalid"
        self.add(what, f"unknown key {key!r}{hint}", path, step=step, found=key, suggestion=near)

    def raise_if_any(self) -> None:
        """Raise OpsError with all errors; its code is theirs when they share one, else `plan_invalid`."""
        if not self.errors:
            return
        codes = {problem.code for problem in self.errors}
        error = from_problems(codes.pop() if len(codes) == 1 else "plan_invalid", self.errors)
        if self._left_out:
            message = f"{error.message}; {self._left_out} further errors are not listed"
            raise OpsError(error.code, message, problems=self.errors)
        raise error


class Fields:
    """Reads typed fields of one mapping; what does not fit is noted, and None is returned."""

    def __init__(self, raw: Mapping[str, Any], path: Path, findings: Findings, step: str | None = None) -> None:
        self.raw, self.path, self.findings, self.step = raw, path, findings, step

    def wrong(self, key: str, expected: str, *, code: str | None = None) -> None:
        """Note that the value of `key` is not what is expected."""
        found = excerpt(self.raw.get(key))
        self.findings.add(
            code or ("step_invalid" if self.step else "plan_invalid"),
            f"found {found!r}, expected {expected}",
            (*self.path, key),
            step=self.step,
            found=found,
            expected=expected,
        )

    def text(self, key: str, *, max_chars: int = 4000) -> str | None:
        """A text; None when absent."""
        value = self.raw.get(key)
        if value is None:
            return None
        if isinstance(value, str) and len(value) <= max_chars and "\0" not in value:
            return value
        self.wrong(key, f"a text of at most {max_chars} characters")
        return None

    def seconds(self, key: str, maximum: float) -> float | None:
        """A positive number of seconds."""
        value = self.raw.get(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= maximum:
            return float(value)
        self.wrong(key, f"a number of seconds above 0 and at most {maximum:g}")
        return None

    def count(self, key: str, maximum: int) -> int | None:
        """A whole number from 1."""
        value = self.raw.get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= maximum:
            return value
        self.wrong(key, f"a whole number from 1 to {maximum}")
        return None

    def mapping(self, key: str, what: str) -> dict[str, Any]:
        """A mapping; empty when absent or of another type."""
        value = self.raw.get(key)
        if value is None:
            return {}
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            return value
        self.wrong(key, what)
        return {}


def check_keys(fields: Fields, known: frozenset[str], unacted: dict[str, Any]) -> None:
    """Note keys that are not `known`: kept ones go to `unacted` with a warning, all others are errors."""
    for key, value in fields.raw.items():
        path, step = (*fields.path, key), fields.step
        if key in known:
            continue
        if key in UNACTED_KEYS:
            unacted[".".join(map(str, path))] = value
            message = f"{key} is kept and not acted on"
            fields.findings.add("plan_feature_unsupported", message, path, step=step, warning=True)
        elif key not in UNSUPPORTED_KEYS:
            fields.findings.unknown_key(str(key), known | UNSUPPORTED_KEYS | UNACTED_KEYS, path, step=step)
        elif value not in (None, False):
            message = f"this version does not act on {key!r}; without it the plan would do something else"
            fields.findings.add("plan_feature_unsupported", message, path, step=step, found=key)
