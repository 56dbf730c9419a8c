"""The rules every journal keeps, wherever it stores its records: the hash chain and what may follow what.

Pure. Called by the SQLite journal, the in-memory one, and whoever verifies a journal. The hash of a record is
SHA-256 over: the 32 bytes of the hash before it (zeros at the start), the line `opsconductor-journal:1`, the lines
execution id, sequence, time and kind (each ended by a newline, which none of them may contain), and the body's bytes
exactly as stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from opsconductor.engine.ports import JournalRecord
from opsconductor.engine.records import RecordKind
from opsconductor.model.errors import OpsError

MAX_BODY_BYTES = 512 * 1024**2
"""Largest body of one record; SQLite itself refuses values of 1,000,000,000 bytes and more."""

_EXECUTION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode


class Head(msgspec.Struct, frozen=True):
    """The last record of an execution: what the next one hangs on."""

    sequence: int
    hash: bytes
    kind: str


class Row(NamedTuple):
    """A record as it is stored."""

    execution_id: str
    sequence: int
    at: str
    kind: str
    body: bytes
    hash: bytes = b""


START = Head(0, bytes(32), "")


def check_execution_id(execution_id: str) -> None:
    """Raise `request_invalid` for an id that could not be named on a command line or in a file name."""
    if not _EXECUTION_ID.fullmatch(execution_id):
        raise OpsError(
            "request_invalid",
            f"execution_id: found {execution_id[:140]!r}, expected 1 to 128 letters, digits and . _ : - (a UUID)",
            field="execution_id",
        )


def encode_body(body: Mapping[str, Any]) -> bytes:
    """A record's body as JSON bytes. Text that UTF-8 cannot hold (lone surrogates) is kept with '?' in its place;
    numbers that JSON does not have (NaN, infinities) as null.

    Raises OpsError(`internal_error`) for what is no JSON value, `request_too_large` above `MAX_BODY_BYTES`.
    """
    try:
        try:
            encoded = _encode(body)
        except (UnicodeEncodeError, OverflowError):  # lone surrogates; integers beyond 64 bits
            encoded = json.dumps(_storable(body), ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        raise OpsError("internal_error", f"a journal record holds a value that is no JSON: {error}") from error
    if len(encoded) > MAX_BODY_BYTES:
        raise OpsError(
            "request_too_large",
            f"a journal record of {len(encoded)} bytes is above the limit of {MAX_BODY_BYTES}; lower the output limit",
        )
    return encoded


def _storable(value: Any) -> Any:
    """A copy without what JSON in UTF-8 cannot say: lone surrogates become '?', NaN and infinities null."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case float():
            return value if isfinite(value) else None
        case Mapping():
            return {_storable(key): _storable(one) for key, one in value.items()}
        case list() | tuple():
            return [_storable(one) for one in value]
        case _:
            return value


def link(previous: bytes, row: Row) -> bytes:
    """The hash of `row` (whose own `hash` is not looked at) after a record whose hash is `previous`."""
    header = f"opsconductor-journal:1\n{row.execution_id}\n{row.sequence}\n{row.at}\n{row.kind}\n"
    digest = sha256(previous + header.encode())
    digest.update(row.body)
    return digest.digest()


def follow(head: Head, row: Row) -> tuple[Row, Head]:
    """Put `row` behind `head`: the row with its sequence and hash, and the new head."""
    execution_id, _, at, kind, body, _ = row
    sequence = head.sequence + 1
    digest = link(head.hash, Row(execution_id, sequence, at, kind, body))
    return Row(execution_id, sequence, at, kind, body, digest), Head(sequence, digest, kind)


def follow_all(head: Head, rows: Sequence[Row], after: int | None) -> tuple[list[Row], Head]:
    """Put `rows` of one execution behind `head`, in their order. Raises what `check_next` raises for any of them."""
    placed: list[Row] = []
    for row in rows:
        check_next(row.execution_id, head, row.kind, None if placed else after)
        behind, head = follow(head, row)
        placed.append(behind)
    return placed, head


def check_next(execution_id: str, head: Head, kind: str, after: int | None) -> None:
    """Raise unless a record of `kind` may follow `head`: `epoch_stale` when `after` is not its sequence, else
    `transition_illegal` when the execution is finished, not accepted yet, or accepted already.
    """
    if after is not None and after != head.sequence:
        raise stale(execution_id, head.sequence, after)
    if head.kind == RecordKind.FINISHED:
        found = "it is finished and nothing may follow"
    elif head.sequence == 0 and kind != RecordKind.ACCEPTED:
        found = "it was never accepted here"
    elif head.sequence > 0 and kind == RecordKind.ACCEPTED:
        found = "an execution of that id was accepted before; use a new id"
    else:
        return
    raise OpsError(
        "transition_illegal",
        f"execution {execution_id} cannot take a {kind!r} record: {found}",
        execution_id=execution_id,
        kind=str(kind),
        sequence=head.sequence,
    )


def stale(execution_id: str, found: int, expected: int) -> OpsError:
    """The error for a writer that somebody else overtook."""
    return OpsError(
        "epoch_stale",
        f"execution {execution_id} has {found} records and this process expected {expected}: another process drives "
        "it now; nothing was written, and this one must stop",
        execution_id=execution_id,
        found=found,
        expected=expected,
    )


def verified(head: Head, row: Row) -> tuple[JournalRecord, Head]:
    """Check one stored row against the head before it; give back the record and the new head.

    Raises OpsError(`journal_corrupt`) that names the execution and the sequence.
    """
    if row.sequence != head.sequence + 1:
        raise _corrupt(row.execution_id, head.sequence + 1, f"it is missing; the next one found is {row.sequence}")
    digest = link(head.hash, row)
    if digest != row.hash:
        raise _corrupt(row.execution_id, row.sequence, "its hash does not match its content")
    return to_record(row), Head(row.sequence, digest, row.kind)


def to_record(row: Row) -> JournalRecord:
    """A row as the record that readers get."""
    return JournalRecord(
        execution_id=row.execution_id,
        sequence=row.sequence,
        at=row.at,
        kind=row.kind,
        body=_decode(row.body),
        hash=row.hash.hex(),
    )


def _corrupt(execution_id: str, sequence: int, found: str) -> OpsError:
    return OpsError(
        "journal_corrupt",
        f"record {sequence} of execution {execution_id}: {found}. The journal was changed from outside or the disk "
        "is damaged; nothing of this execution is shown. Restore the journal from a backup",
        execution_id=execution_id,
        sequence=sequence,
    )
