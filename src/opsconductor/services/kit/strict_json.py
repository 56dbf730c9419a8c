"""Strict JSON: one meaning or an error. Used for every request body; pure.

RFC 8259 leaves open what a duplicate key means (§4) and how deep an implementation must go (§9); both are refused here,
as are NaN and infinities (§6), numbers beyond a double, a byte-order mark and anything but UTF-8 (§8.1).
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from opsconductor.model.errors import OpsError
from opsconductor.model.limits import DocumentLimits

# The closing quote is optional, so that text with an unterminated string is scanned once, not once for each quote.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OPENING = (b"[", b"{")


class _DuplicateKeyError(ValueError):
    pass


def decode_strict(body: bytes, limits: DocumentLimits) -> Any:
    """The value of a JSON text. The caller has bounded its size.

    Raises OpsError: `request_malformed` for what is not strict JSON or nests deeper than `max_depth`,
    `request_too_large` for more than `max_nodes` values (counted before anything is built).
    """
    _check_nodes(body, limits.max_nodes)
    try:
        value = msgspec.json.decode(body)
        # msgspec keeps the last of several equal keys without a word; the standard parser tells us about each.
        _DUPLICATES.decode(body.decode())
    except _DuplicateKeyError as error:
        raise _malformed(f"the key {error.args[0]!r} stands twice in one object; keep one of them") from error
    except RecursionError as error:
        raise _too_deep(limits.max_depth) from error
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8; send the body as UTF-8") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise _malformed(f"{error}; send one JSON document (RFC 8259)") from error
    if _openings(body) > limits.max_depth and _is_deeper(value, limits.max_depth):
        raise _too_deep(limits.max_depth)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKeyError(next(name for name in names if names.count(name) > 1)[:100])
    return found


_DUPLICATES = json.JSONDecoder(object_pairs_hook=_unique)


def _check_nodes(body: bytes, max_nodes: int) -> None:
    """Every value but the first follows a comma or an opening bracket outside of strings."""
    if body.count(b",") + _openings(body) <= max_nodes:
        return
    bare = _STRING.sub(b"", body)
    nodes = bare.count(b",") + _openings(bare)
    if nodes > max_nodes:
        raise OpsError(
            "request_too_large", f"the body holds about {nodes} values, at most {max_nodes} are taken; send fewer"
        )


def _openings(text: bytes) -> int:
    return sum(text.count(bracket) for bracket in _OPENING)


def _is_deeper(value: Any, max_depth: int) -> bool:
    level = [value]
    for _ in range(max_depth):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _malformed(message: str) -> OpsError:
    return OpsError("request_malformed", f"the body is not acceptable JSON: {message}")


def _too_deep(max_depth: int) -> OpsError:
    return _malformed(f"it nests deeper than {max_depth} levels; flatten it")
