"""Errors as `application/problem+json` (RFC 9457): written by servers, read back by `http_client`."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from opsconductor.model.errors import OpsError, Problem

PROBLEM_JSON = "application/problem+json"
_TYPE = "urn:opsconductor:error:"


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an error answer. `type` names the code for clients that know RFC 9457 alone."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retry: str
    field: str | None = None
    problems: tuple[Problem, ...] = ()
    context: dict[str, Any] = {}


def problem_document(error: OpsError) -> ProblemDocument:
    """An error as it is answered."""
    return ProblemDocument(
        type=_TYPE + error.code,
        title=error.kind.meaning,
        status=error.kind.http_status,
        code=error.code,
        detail=error.message,
        retry=error.kind.retry.value,
        field=error.context.get("field", error.problems[0].field if error.problems else None),
        problems=error.problems,
        context=error.context,
    )


def problem_response(error: OpsError, headers: dict[str, str] | None = None) -> Response:
    """The answer that tells a caller about `error`."""
    extra = dict(headers or {})
    if error.kind.http_status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="opsconductor", Basic realm="opsconductor", charset="UTF-8"'
    if error.kind.http_status == 503:
        extra["Retry-After"] = "1"
    body = msgspec.json.encode(problem_document(error), enc_hook=str)
    return Response(body, status_code=error.kind.http_status, media_type=PROBLEM_JSON, headers=extra)
