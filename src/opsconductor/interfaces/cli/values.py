"""`key=value` words of the command line as inputs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click


def parse_pairs(words: Iterable[str]) -> dict[str, Any]:
    """`path=/var tag=a tag=b meta={"x":1}` → a mapping.

    A name given again makes a list; a value that begins with `[` or `{` is JSON when it parses as such; `key:=5` takes
    any JSON value. Everything else stays text and gets its type from the tool's declaration.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, separator, text = word.partition("=")
        if not separator or not name.strip(":"):
            raise click.UsageError(f"found {word!r}, expected key=value")
        value = _value(text, forced=name.endswith(":"), word=word)
        name = name.rstrip(":")
        if name in values:
            earlier = values[name]
            values[name] = [*earlier, value] if isinstance(earlier, list) else [earlier, value]
        else:
            values[name] = value
    return values


def _value(text: str, *, forced: bool, word: str) -> Any:
    if forced or text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError as error:
            if forced:
                raise click.UsageError(f"found {word!r}, expected JSON after ':=' ({error})") from None
    return text
