"""Live progress on stderr: a spinner with what runs now on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from opsconductor.interfaces.cli.report import step_line
from opsconductor.model.outcome import Event


class Progress:
    """Shows events as they come. Use as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._status = self._console.status("starting") if sys.stderr.isatty() else None
        self._running: dict[int, str] = {}

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def on_event(self, event: Event) -> None:
        """Show one event."""
        from rich.text import Text

        if event.event == "step.started" and event.step_index is not None:
            self._running[event.step_index] = f"{event.id} ({event.tool})"
        elif event.event == "step.finished" and event.result is not None:
            self._running.pop(event.result.step_index, None)
            text, colour = step_line(event.result)
            self._console.print(Text(text, style=colour))
        if self._status:
            from opsconductor.interfaces.cli.output import safe_text

            self._status.update(safe_text("running " + ", ".join(list(self._running.values())[:4])))
