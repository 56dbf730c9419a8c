from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from opsconductor.telemetry import logs


@pytest.fixture(autouse=True)
def restored_root() -> Iterator[None]:
    """Logging is global; leave it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def configured(**options: Any) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(stream=stream, **options)
    return stream


def test_a_record_is_one_json_line_with_its_fields() -> None:
    stream = configured(log_format="json")
    logs.get_logger("opsconductor.x").warning("it happened", tool="df", count=3, name="clashes with nothing")
    (line,) = written(stream)
    record = json.loads(line)
    assert record["at"].endswith("Z")
    assert {key: record[key] for key in ("level", "logger", "event", "tool", "count", "name")} == {
        "level": "warning",
        "logger": "opsconductor.x",
        "event": "it happened",
        "tool": "df",
        "count": 3,
        "name": "clashes with nothing",
    }


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize(
    "bad", ["a\nb", "a\r\nb", "\x1b[31mred", "\x00", "\x85", "\u2028", "\u202e", "\ud800", "\x9b2J"]
)
def test_a_value_can_neither_end_a_line_nor_drive_a_terminal(log_format: Any, bad: str) -> None:
    stream = configured(log_format=log_format)
    logs.get_logger("x").warning("bad " + bad, value=bad, nested={"list": [bad]})
    (line,) = written(stream)
    assert line.isprintable()
    if log_format == "json" and bad != "\ud800":
        assert json.loads(line)["value"] == bad


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_secrets_are_masked_in_events_fields_nested_values_and_tracebacks(log_format: Any) -> None:
    stream = configured(log_format=log_format, redact=lambda text: text.replace("hunter2", "***"))
    try:
        raise ValueError("password is hunter2")
    except ValueError as error:
        logs.get_logger("x").error("said hunter2", value="hunter2", deep={"a": ["hunter2"]}, exc_info=error)
    logging.getLogger("library").warning("a library says %s", "hunter2")
    text = stream.getvalue()
    assert "hunter2" not in text
    assert text.count("***") >= 5
    assert "Traceback" in text
    assert len(written(stream)) == 2


def test_text_is_readable_and_quotes_what_has_blanks() -> None:
    stream = configured(log_format="text")
    logs.get_logger("x").warning("it happened", tool="df", said="two words")
    assert written(stream)[0].endswith('WARNING x: it happened tool=df said="two words"')


def test_less_than_the_level_is_not_written() -> None:
    stream = configured(level="error")
    logs.get_logger("x").warning("not this")
    logs.get_logger("x").error("this")
    assert len(written(stream)) == 1


def test_a_huge_value_is_cut() -> None:
    stream = configured(log_format="json")
    logs.get_logger("x").warning("big", value="x" * 1_000_000)
    assert len(stream.getvalue()) < 20_000


def test_records_of_libraries_are_rendered_alike() -> None:
    stream = configured(log_format="json")
    logging.getLogger("uvicorn.error").warning("port %d", 80)
    assert json.loads(written(stream)[0])["event"] == "port 80"
