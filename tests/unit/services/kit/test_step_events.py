"""Events of a running step: order, masking across chunk borders, bounds, and a listener that fails."""

from __future__ import annotations

from opsconductor.model.outcome import Event, StepRequest
from opsconductor.security.redaction import Redactor
from opsconductor.services.kit.step_events import ExecutionEvents, StepOutput

STEP = StepRequest(tool="say", id="s1")


def output_to(events: list[Event], *, secret: str = "", limit_bytes: int = 1000) -> StepOutput:
    sink = ExecutionEvents("e1", events.append, lambda: "2026-01-02T03:04:05.000000Z")
    return StepOutput(sink, 0, STEP, redactor=Redactor([secret]), limit_bytes=limit_bytes)


def texts(events: list[Event], stream: str = "stdout") -> str:
    return "".join(event.text or "" for event in events if event.stream == stream)


def test_offsets_count_the_characters_of_each_stream() -> None:
    events: list[Event] = []
    output = output_to(events)
    for stream, chunk in (("stdout", b"ab"), ("stderr", b"x"), ("stdout", "cé".encode()), ("stdout", b"d")):
        output.chunk(stream, chunk)
    assert [(event.stream, event.offset, event.text) for event in events] == [
        ("stdout", 0, "ab"),
        ("stderr", 0, "x"),
        ("stdout", 2, "cé"),
        ("stdout", 4, "d"),
    ]


def test_a_secret_cut_by_chunk_borders_is_masked() -> None:
    events: list[Event] = []
    output = output_to(events, secret="hunter2hunter2")
    for byte in b"before hunter2hunter2 after hunter2hunt":
        output.chunk("stdout", bytes([byte]))
    output.flush()
    assert texts(events) == "before *** after hunter2hunt"


def test_a_character_cut_by_chunk_borders_is_whole_and_a_bad_byte_is_replaced() -> None:
    events: list[Event] = []
    output = output_to(events)
    for byte in "€".encode() + b"\xff":
        output.chunk("stdout", bytes([byte]))
    output.flush()
    assert texts(events) == "€\ufffd"


def test_after_the_limit_one_note_comes_and_then_nothing() -> None:
    events: list[Event] = []
    output = output_to(events, limit_bytes=10)
    for _ in range(5):
        output.chunk("stdout", b"12345678")
    output.chunk("stderr", b"own limit")
    output.flush()
    assert texts(events).startswith("1234567812\n[… more output is not shown")
    assert texts(events).count("…") == 2
    assert texts(events, "stderr") == "own limit"


def test_a_stream_of_single_bytes_ends_in_the_note_too() -> None:
    events: list[Event] = []
    output = output_to(events, limit_bytes=1_000_000)
    for _ in range(20_000):
        output.chunk("stdout", b"x")
    assert len(events) == 10_000
    assert "not shown" in (events[-1].text or "")


def test_a_listener_that_raises_is_asked_no_more() -> None:
    seen: list[str] = []

    def listener(event: Event) -> None:
        seen.append(event.event)
        raise RuntimeError("listener broke")

    events = ExecutionEvents("e1", listener, lambda: "now")
    events.started(0, STEP)
    events.started(1, STEP)
    assert seen == ["step.started"]
    assert not events.wanted


def test_without_a_listener_nothing_is_collected() -> None:
    events = ExecutionEvents("e1", None, lambda: "now")
    output = StepOutput(events, 0, STEP, redactor=Redactor(()), limit_bytes=10)
    output.chunk("stdout", b"x")
    output.flush()
    assert not output.wanted
