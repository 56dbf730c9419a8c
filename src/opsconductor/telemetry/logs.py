"""Log lines: one record, one line on stderr, secrets masked, control characters escaped.

`configure` is called once by bootstrap; everyone else takes a `get_logger` (the standard library's loggers are rendered
alike). structlog is imported for the first line: a command that logs nothing does not pay for it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO

import msgspec

Redact = Callable[[str], str]
"""Masks the secrets it knows in a text."""

EventDict = MutableMapping[str, Any]
Level = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
_MAX_TEXT = 8192
_FIELDS = "fields"


class Logger:
    """Writes events with fields. `event` is a fixed phrase; what varies goes into fields."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: Any) -> None:
        """Write for someone who looks for a defect."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Write what normally happens."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write what an operator should look at."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Write what went wrong; `exc_info=` takes the exception."""
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        exc_info = fields.pop("exc_info", None)
        self._logger.log(level, "%s", event, exc_info=exc_info, extra={_FIELDS: fields})


def get_logger(name: str) -> Logger:
    """The logger of a part, named like its module."""
    return Logger(name)


def configure(
    *,
    level: Level = "warning",
    log_format: LogFormat = "text",
    redact: Redact | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send our own records and those of libraries to `stream` (stderr), rendered alike. Replaces an earlier set-up."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Formatter(redact or _unchanged, _render_json if log_format == "json" else _render_text))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class _Formatter(logging.Formatter):
    """structlog's formatter, made when there is a first record to format: importing it takes a tenth of a second."""

    def __init__(self, mask: Redact, render: Callable[[Any, str, EventDict], str]) -> None:
        super().__init__()
        self._mask, self._render = mask, render
        self._inner: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        if self._inner is None:
            self._inner = self._made()
        return self._inner.format(record)

    def _made(self) -> logging.Formatter:
        import structlog

        collect: list[Any] = [
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(allow=[_FIELDS]),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
        ]
        render: list[Any] = [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            lambda _logger, _method, event: _cleaned(event, self._mask),
            self._render,
        ]
        return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=collect, processors=render)


def _unchanged(text: str) -> str:
    return text


def _cleaned(event: EventDict, mask: Redact) -> EventDict:
    """Join a record with its fields, and mask and bound every text of it, whatever it is nested in."""
    fields = event.pop(_FIELDS, {})
    return {str(key): _clean(value, mask) for key, value in {**fields, **event}.items()}


def _clean(value: Any, mask: Redact) -> Any:
    match value:
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return {str(key): _clean(item, mask) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean(item, mask) for item in value]
    text = mask(str(value).encode("utf-8", "backslashreplace").decode())
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}… ({len(text)} characters)"


def _ordered(event: EventDict) -> dict[str, Any]:
    first = {key: event.pop(key, "") for key in ("at", "level", "logger", "event")}
    return first | dict(event)


def _render_json(_logger: Any, _method: str, event: EventDict) -> str:
    # JSON escapes the C0 controls; U+2028 and the C1 controls, which end lines in some viewers, are left to us.
    return escape(msgspec.json.encode(_ordered(event)).decode())


def _render_text(_logger: Any, _method: str, event: EventDict) -> str:
    record = _ordered(event)
    exception = record.pop("exception", None)
    head = f"{record.pop('at')} {str(record.pop('level')).upper():7} {record.pop('logger')}: {record.pop('event')}"
    fields = "".join(f" {key}={_field(value)}" for key, value in record.items())
    return escape(head + fields) + (f" exception={escape(str(exception))}" if exception else "")


def _field(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if text and " " not in text and "=" not in text else msgspec.json.encode(text).decode()


def escape(text: str) -> str:
    r"""Write what is not printable as `\uXXXX`: a logged value can neither end a line nor drive a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
