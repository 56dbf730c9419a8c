"""What an attempt at an operation came to, and which step status an error means.

An outcome is what the command and handler runners hand to the step runner; nothing here runs anything.
"""

from __future__ import annotations

from typing import Any

import msgspec

from opsconductor.model.errors import ErrorInfo, OpsError
from opsconductor.model.execution import StepStatus

_DOUBTS = frozenset({"outcome_unknown", "cancel_unconfirmed"})
# Something was sent or started, and its end was not seen: a doubt for what must not happen twice.
_ENDS_NOT_SEEN = frozenset(
    {
        "command_timeout",
        "internal_error",
        "output_spool_failed",
        "service_answer_invalid",
        "service_connection_lost",
    }
)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one operation ended: a terminal status, the step's output and, unless it completed, the error."""

    status: StepStatus
    output: dict[str, Any] = {}
    error: ErrorInfo | None = None


def status_of_error(error: OpsError, *, idempotent: bool) -> StepStatus:
    """The status of a step that ended with `error`.

    For an operation that is not idempotent, an end that nobody saw is `outcome_unknown`: it may have happened
    (a step that must not happen twice is never called failed on a guess).
    """
    code = error.code
    if code in _DOUBTS or (not idempotent and code in _ENDS_NOT_SEEN):
        return StepStatus.OUTCOME_UNKNOWN
    return {
        "cancelled": StepStatus.CANCELLED,
        "command_timeout": StepStatus.TIMEOUT,
        "target_unreachable": StepStatus.UNREACHABLE,
    }.get(code, StepStatus.FAILED)


def outcome_of_error(error: OpsError, *, idempotent: bool) -> Outcome:
    """The outcome of an operation that raised `error`."""
    return Outcome(status=status_of_error(error, idempotent=idempotent), error=error.to_info())
