"""The events of one execution as it runs: masked, in order, and bounded. Used by the plan and step runners."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable

from opsconductor.engine.ports import EventSink
from opsconductor.model.outcome import Event, PlanResponse, StepRequest, StepResult
from opsconductor.security.redaction import Redactor

log = logging.getLogger(__name__)
_MAX_EVENTS = 10_000
"""Most step.output events of one stream: a program that writes single bytes must not flood the listener."""


class ExecutionEvents:
    """Hands events of one execution to its sink. A sink that raises is logged once and asked no more."""

    def __init__(self, execution_id: str, sink: EventSink | None, timestamp: Callable[[], str]) -> None:
        self._execution_id = execution_id
        self._sink = sink
        self._timestamp = timestamp

    @property
    def wanted(self) -> bool:
        """Whether anyone listens."""
        return self._sink is not None

    def send(self, event: Event) -> None:
        """Hand over one event."""
        if self._sink is None:
            return
        try:
            self._sink(event)
        except Exception:  # the listener's defect must not change what the step does
            log.exception("event sink of %s failed; no more events are sent to it", self._execution_id)
            self._sink = None

    def started(self, index: int, step: StepRequest) -> None:
        """A step begins to run."""
        if self._sink is not None:
            at = self._timestamp()
            self.send(
                Event(
                    event="step.started",
                    at=at,
                    execution_id=self._execution_id,
                    step_index=index,
                    id=step.id,
                    tool=step.tool,
                )
            )

    def output(self, index: int, step: StepRequest, stream: str, text: str, offset: int) -> None:
        """Output of a running step; `offset` counts the characters of that stream sent before."""
        self.send(
            Event(
                event="step.output",
                at=self._timestamp(),
                execution_id=self._execution_id,
                step_index=index,
                id=step.id,
                tool=step.tool,
                stream=stream,
                text=text,
                offset=offset,
            )
        )

    def finished(self, result: StepResult) -> None:
        """A step has its result."""
        if self._sink is not None:
            self.send(
                Event(
                    event="step.finished",
                    at=self._timestamp(),
                    execution_id=self._execution_id,
                    step_index=result.step_index,
                    id=result.id,
                    tool=result.tool,
                    result=result,
                )
            )

    def plan_finished(self, response: PlanResponse) -> None:
        """The whole request has its answer."""
        if self._sink is not None:
            at = self._timestamp()
            self.send(Event(event="plan.finished", at=at, execution_id=self._execution_id, response=response))


class _StreamText:
    """One stream of one step: bytes in, masked text out, up to a limit."""

    def __init__(self, redactor: Redactor, limit_bytes: int) -> None:
        self._mask = redactor.stream()
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._left_bytes = limit_bytes
        self._left_events = _MAX_EVENTS
        self.offset = 0
        self.cut = False

    def feed(self, chunk: bytes) -> str:
        """The text that may be shown now; after the limit, one note and then nothing."""
        if self.cut:
            return ""
        shown = self._mask.feed(chunk[: self._left_bytes])
        self._left_bytes -= min(len(chunk), self._left_bytes)
        self._left_events -= 1
        text = self._decode(shown)
        if self._left_bytes == 0 or self._left_events == 0:
            self.cut = True
            text += "\n[… more output is not shown while the step runs; the result has it …]\n"
        return text

    def flush(self) -> str:
        """What was held back."""
        return "" if self.cut else self._decode(self._mask.flush(), True)


class StepOutput:
    """Turns the output of one running step into `step.output` events. Costs nothing when nobody listens."""

    def __init__(
        self, events: ExecutionEvents, index: int, step: StepRequest, *, redactor: Redactor, limit_bytes: int
    ) -> None:
        self._events, self._index, self._step = events, index, step
        self._redactor, self._limit_bytes = redactor, limit_bytes
        self._streams: dict[str, _StreamText] = {}

    @property
    def wanted(self) -> bool:
        """Whether anyone listens."""
        return self._events.wanted

    def _send(self, name: str, stream: _StreamText, text: str) -> None:
        if text:
            self._events.output(self._index, self._step, name, text, stream.offset)
            stream.offset += len(text)

    def chunk(self, name: str, chunk: bytes) -> None:
        """Output of the stream `name` (stdout or stderr), as a transport reports it."""
        if not self.wanted:
            return
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = _StreamText(self._redactor, self._limit_bytes)
        self._send(name, stream, stream.feed(chunk))

    def text(self, name: str, text: str) -> None:
        """Progress of a handler."""
        self.chunk(name, text.encode("utf-8", "replace"))

    def flush(self) -> None:
        """Send what was held back for masking; call when the step ended, before its result is sent."""
        for name, stream in self._streams.items():
            self._send(name, stream, stream.flush())
