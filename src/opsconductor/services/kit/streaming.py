"""Events of one execution as lines for a reader of any speed. Used by `answering`.

A slow reader costs lines of output, never a result and never memory: past the buffer's limit `step.output` events are
left out, and a note says how many. The step's result holds the output in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from opsconductor.model.outcome import Event

NDJSON = "application/x-ndjson"
NOTICE = "notice"
"""The `stream` of a `step.output` event that is our note, not the program's words."""


class _LeftOut(msgspec.Struct):
    event: Event
    events: int = 0
    characters: int = 0


class EventLines:
    """A queue of encoded lines between one execution (`push`, any speed) and one reader (`take`)."""

    def __init__(self, max_output_bytes: int, translate: Callable[[Event], Event]) -> None:
        self._max_output_bytes = max_output_bytes
        self._translate = translate
        self._lines: list[bytes] = []
        self._output_bytes = 0
        self._left_out: dict[int | None, _LeftOut] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def push(self, event: Event) -> None:
        """Take one event; never waits. `plan.finished` is written by the answer itself."""
        if self._closed or event.event == "plan.finished":
            return
        if event.event == "step.output":
            self._push_output(event)
        else:
            self._note(event.step_index)
            self._add(encode_line(self._translate(event)))

    def close(self) -> None:
        """No more events come (or nobody reads them): `take` gives what is left and then None."""
        for index in list(self._left_out):
            self._note(index)
        self._closed = True
        self._wake.set()

    async def take(self) -> bytes | None:
        """All lines that wait, as soon as there is one; None at the end."""
        while not self._lines and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        lines, self._lines, self._output_bytes = self._lines, [], 0
        return b"".join(lines) if lines else None

    def _push_output(self, event: Event) -> None:
        line = encode_line(event)
        if self._output_bytes + len(line) > self._max_output_bytes and self._output_bytes:
            left = self._left_out.setdefault(event.step_index, _LeftOut(event))
            left.events += 1
            left.characters += len(event.text or "")
            return
        self._note(event.step_index)
        self._output_bytes += len(line)
        self._add(line)

    def _note(self, index: int | None) -> None:
        left = self._left_out.pop(index, None)
        if left is None:
            return
        text = f"[… {left.events} events ({left.characters} characters) left out: the reader is too slow …]"
        self._add(encode_line(msgspec.structs.replace(left.event, stream=NOTICE, text=text, offset=None)))

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._wake.set()


def encode_line(event: object) -> bytes:
    """One JSON document and a line feed; JSON escapes line feeds inside of it."""
    return msgspec.json.encode(event) + b"\n"
