"""Makes sure that what a handler or parser gives is plain JSON: the same in this process as after a trip over HTTP."""

from __future__ import annotations

from typing import Any

import msgspec

from opsconductor.model.errors import ErrorInfo


def plain_json(value: Any) -> Any:
    """`value` as JSON has it: no tuples, no NaN (null), times as texts, keys as texts.

    Raises TypeError, ValueError or RecursionError for what JSON cannot hold.
    """
    return msgspec.json.decode(msgspec.json.encode(value))


def plain_error(error: ErrorInfo) -> ErrorInfo:
    """The error, its context left out when that is not plain JSON, texts made valid UTF-8."""
    message = error.message.encode("utf-8", "replace").decode()
    try:
        return ErrorInfo(code=error.code, message=message, retry=error.retry, context=plain_json(error.context))
    except (TypeError, ValueError, RecursionError):
        return ErrorInfo(code=error.code, message=message, retry=error.retry)
