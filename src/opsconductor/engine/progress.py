"""Where one execution stands as a whole: whether it goes on, and why not. Shared by the parts that run it."""

from __future__ import annotations

import msgspec

from opsconductor.engine.results import Ending, not_sent
from opsconductor.engine.scheduler import Schedule
from opsconductor.model.errors import OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from opsconductor.model.plan import Plan


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one execution. `cancel_grace_s` is how long a service may take to answer after a cancel."""

    max_parallel_steps: int = 50
    max_items: int = 10_000
    plan_timeout_s: float = 86_400.0
    answer_grace_s: float = 20.0
    cancel_grace_s: float = 15.0


class Progress:
    """What ended, or will end, an execution besides its steps. The first reason to stop is the one that is told."""

    def __init__(self, plan: Plan, schedule: Schedule) -> None:
        self._plan, self._schedule = plan, schedule
        self.stopped_because = ""
        self.continued = False
        self.cancelled = False
        self.timed_out = False
        self.unrecorded = False
        self.failure: OpsError | None = None

    def stop(self, because: str) -> None:
        """Start nothing more."""
        self.stopped_because = self.stopped_because or because
        self._schedule.stop()

    def fail(self, error: OpsError) -> None:
        """Stop because of something that is no step's fault."""
        self.failure = self.failure or error
        self.stop(error.message)

    def cancel(self) -> None:
        """Stop because somebody asked for it."""
        self.cancelled = True
        self.stop("the execution was cancelled")

    def time_out(self) -> None:
        """Stop because the plan's time is up."""
        self.timed_out = True
        self.stop("the plan's time limit was reached")

    def left_out(self, index: int, at: str) -> StepResult:
        """The result of a step that is not started any more."""
        because = self.stopped_because or "the execution ended"
        code, status = ("cancelled", StepStatus.CANCELLED) if self.cancelled else ("step_skipped", StepStatus.SKIPPED)
        return not_sent(
            index, self._plan.steps[index], status, at, error=OpsError(code, f"not started: {because}").to_info()
        )

    def ending(self) -> Ending:
        """A copy for the pure functions of `results`."""
        return Ending(
            continued=self.continued,
            cancelled=self.cancelled,
            timed_out=self.timed_out,
            failure=self.failure,
            unrecorded=self.unrecorded,
        )
