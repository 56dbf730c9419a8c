"""Limits that pure code is given by its callers; their values come from settings."""

from __future__ import annotations

import msgspec


class DocumentLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a document may be: bytes of text, levels of nesting, values with aliases expanded."""

    max_bytes: int = 4 * 1024**2
    max_depth: int = 32
    max_nodes: int = 500_000


class InputLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large an input's text and a whole argument list may be, in bytes of UTF-8."""

    max_input_bytes: int = 131_071
    max_argv_bytes: int = 1024**2
