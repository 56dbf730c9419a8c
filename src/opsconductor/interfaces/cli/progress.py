"""Live progress on stderr: a spinner with what runs now on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from opsconductor.interfaces.cli.layout import wrapped
from opsconductor.interfaces.cli.output import console, safe_text, show
from opsconductor.interfaces.cli.report import step_line
from opsconductor.model.outcome import Event


class Progress:
    """Shows events as they come. Use as a context manager."""

    def __init__(self) -> None:
        self._console = console(err=True) if sys.stderr.isatty() else None
        self._status = self._console.status("starting") if self._console else None
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
        if event.event == "step.started" and event.step_index is not None:
            self._running[event.step_index] = f"{event.id} ({event.tool})"
        elif event.event == "step.finished" and event.result is not None:
            self._running.pop(event.result.step_index, None)
            self._print(*step_line(event.result))
        if self._status:
            self._status.update(safe_text("running " + ", ".join(list(self._running.values())[:4])))

    def _print(self, text: str, colour: str) -> None:
        if self._console is None:
            show(text, err=True)
            return
        from rich.text import Text

        self._console.print(Text(wrapped(text, self._console.width, 4), style=colour), soft_wrap=True)
