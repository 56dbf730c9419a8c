"""From a command's text to data: the parsers by name, and the rule that a parser never fails a step.

A definition names its parser with `parse:`. Services add their own (`{"xml.nmap": parse_nmap}`); `jc.<name>` is any
parser of the jc library. What cannot be parsed gives an error text, and the raw output stays with the result.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from opsconductor.services.kit import parsers_text
from opsconductor.services.kit.plain_json import plain_json

log = logging.getLogger(__name__)

Parser = Callable[[str], Any]
TEXT_PARSERS: Mapping[str, Parser] = {
    "json": parsers_text.parse_json,
    "json_lines": parsers_text.parse_json_lines,
    "key_value": parsers_text.parse_key_value,
    "lines": parsers_text.parse_lines,
    "table": parsers_text.parse_table,
    "csv": parsers_text.parse_csv,
    "tsv": parsers_text.parse_tsv,
    "number": parsers_text.parse_number,
}
_LISTS = frozenset({"json_lines", "lines", "table", "csv", "tsv"})
_JC = "jc."
_INLINE_CHARS = 32 * 1024
"""Longer texts are parsed in a thread, so that other steps go on."""


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """Data, or the reason why there is none."""

    data: Any = None
    error: str | None = None


def empty_data(name: str, extra: Mapping[str, Parser] | None = None) -> Any:
    """What 'the program found nothing' is as data: an empty list where the parser gives lists, else null.

    A service's own parser says itself what an empty text is.
    """
    if name in (extra or {}):
        return parse(name, "", extra=extra).data
    return [] if name in _LISTS or name.startswith(_JC) else None


def known_parser(name: str, extra: Mapping[str, Parser] | None = None) -> bool:
    """Whether `parse: name` means something here (jc parsers are looked up in the library)."""
    if name.startswith(_JC):
        import jc

        return name.removeprefix(_JC).replace("_", "-") in jc.parser_mod_list(show_hidden=True)
    return name in TEXT_PARSERS or name in (extra or {})


def _parse_with_jc(name: str, text: str) -> Any:
    import jc

    return jc.parse(name.removeprefix(_JC), text, quiet=True)


def parse(name: str, text: str, *, extra: Mapping[str, Parser] | None = None, max_bytes: int = 16 * 1024**2) -> Parsed:
    """Parse `text` with the parser `name`. Never raises: a text that does not fit gives `Parsed.error`."""
    if len(text) > max_bytes or len(text.encode("utf-8", "replace")) > max_bytes:
        return Parsed(error=f"the output is larger than the {max_bytes} bytes that are parsed")
    parser = (extra or {}).get(name) or TEXT_PARSERS.get(name)
    if parser is None and not name.startswith(_JC):
        return Parsed(error=f"there is no parser {name!r}")
    try:
        found = parser(text) if parser is not None else _parse_with_jc(name, text)
        return Parsed(data=plain_json(found))
    except Exception as error:  # parsers, jc's above all, raise anything on odd input; the raw text is kept
        log.debug("parser %s failed", name, exc_info=True)
        reason = str(error).strip().splitlines()
        return Parsed(error=f"{name}: {(reason[0] if reason else type(error).__name__)[:300]}")


async def parse_output(name: str, text: str, *, extra: Mapping[str, Parser] | None, max_bytes: int) -> Parsed:
    """`parse`, off the event loop when the text is long."""
    if len(text) <= _INLINE_CHARS:
        return parse(name, text, extra=extra, max_bytes=max_bytes)
    return await asyncio.to_thread(parse, name, text, extra=extra, max_bytes=max_bytes)
