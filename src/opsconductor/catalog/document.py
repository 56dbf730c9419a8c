"""The only place where tool definitions and plans are read from bytes; the loader and the plan reader call it.

Three readers, one meaning. JSON is read strictly. Small everyday YAML is read by a fast parser, but only text for
which that parser is known to agree with the strict one (`_quick`). Everything else, and everything with an error in
it, is read event by event (`yaml_strict`), which is slower and tells each problem with its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from opsconductor.catalog import yaml_strict
from opsconductor.catalog.json_strict import NotJsonError, read_json
from opsconductor.model.errors import OpsError, Problem
from opsconductor.model.limits import DocumentLimits

PathKey = str | int

# What the fast parser reads otherwise than the core schema does, or cannot survive, is left to the strict reader. To
# look for it cheaply the text is folded first: digits to 0, white space and flow punctuation to a space, block
# indicators to `-`, and what is never quick (control characters, anchors, tags, directives) to NUL.
_QUICK_MAX_BYTES = 256 * 1024
_QUICK_MAX_LEVELS = 2_000  # the fast parser exhausts its stack beyond 5,000; each level needs an indicator and a space


def _fold(byte: int) -> int:
    char = chr(byte).lower()
    for chars, folded in ((" \t\r\n[]{},", " "), ("-?:+", "-"), ("0123456789", "0"), ("&!%\x7f", "\0")):
        if char in chars:
            return ord(folded)
    return 0 if byte < 32 else ord(char) if byte < 128 else byte


_FOLDED = bytes(map(_fold, range(256)))
# Control characters and so on; NUL escapes; `1_000` and `_1`; `0x1`, `0o1`, `0b1`; NaN, infinity, endless numbers.
_SUSPECT = (
    b"\0",
    *(b"\\0", b"\\x", b"\\u"),
    *(b"0_", b" _", b"-_"),
    *(b"0x", b"0o", b"0b0"),
    *(b".inf", b".nan", b"0" * 300),
)
_TEXT = frozenset({str})
_LEAVES = frozenset({str, int, bool, type(None)})


class Document:
    """What a document says (`value`: plain Python) and, on demand, where it says it."""

    __slots__ = ("_marks", "_text", "file", "value")

    def __init__(self, value: Any, text: str, file: str) -> None:
        self.value = value
        self.file = file
        self._text = text
        self._marks: yaml_strict.Marks | None = None

    def position(self, path: Sequence[PathKey]) -> tuple[int, int]:
        """Line and column (from 1) of the key or entry at `path`, or of its nearest parent that exists."""
        place, children = self._root()
        for part in path:
            found: yaml_strict.Marks | None = None
            if isinstance(children, dict) and isinstance(part, str):
                found = children.get(part)
            elif isinstance(children, list) and isinstance(part, int) and 0 <= part < len(children):
                found = children[part]
            if found is None:
                break
            place, children = found
        return place

    def _root(self) -> yaml_strict.Marks:
        if self._marks is None:
            try:
                self._marks = yaml_strict.read_marks(self._text)
            except OpsError:  # JSON that is not YAML has no marks
                self._marks = ((1, 1), None)
        return self._marks


def read_document(data: bytes, *, file: str, limits: DocumentLimits = DocumentLimits()) -> Document:  # noqa: B008 (frozen)
    """Read one YAML or JSON document. `file` is how problems name it.

    Raises OpsError(`yaml_invalid` | `document_too_large`) whose `problems` are all that is wrong, each with its place.
    """
    text = _decode(data, file, limits)
    if text.lstrip().startswith(("{", "[")):
        value = _json_or_flow(text, file, limits)
    else:
        value = _quick(data, text, limits)
        if value is None:
            value = yaml_strict.read_yaml(text, file=file, limits=limits)
    return Document(value, text, file)


def _decode(data: bytes, file: str, limits: DocumentLimits) -> str:
    if len(data) > limits.max_bytes:
        message = f"{len(data)} bytes; expected at most {limits.max_bytes}"
        raise _refusal("document_too_large", message, file, 1, 1)
    nul = data.find(b"\0")
    if nul >= 0:
        raise _refusal("yaml_invalid", "a NUL byte; expected text", file, *_place(data, nul))
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        message = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _refusal("yaml_invalid", message, file, *_place(data, error.start)) from error


def _place(data: bytes, offset: int) -> tuple[int, int]:
    before = data[:offset]
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    return before.count(b"\n") + 1, column


def _refusal(code: str, message: str, file: str, line: int, column: int) -> OpsError:
    problem = Problem(code=code, message=message, file=file, line=line, column=column)
    return OpsError(code, problem.render(), problems=[problem])


def _quick(data: bytes, text: str, limits: DocumentLimits) -> Any:
    """The value, or None where the strict reader must decide. Never raises."""
    if len(data) > _QUICK_MAX_BYTES or len(data) > 2 * limits.max_nodes:
        return None
    folded = data.translate(_FOLDED)
    if folded.count(b"- ") > _QUICK_MAX_LEVELS or any(mark in folded for mark in _SUSPECT):
        return None
    from yaml_rs import YAMLDecodeError, loads

    try:
        value = loads(text, parse_datetime=False)
    except YAMLDecodeError:
        return None
    # A list may also be the fast parser's way to return several documents.
    return value if type(value) is dict and is_plain(value, limits.max_depth) else None


def is_plain(value: Any, depth: int) -> bool:
    """Whether a collection nests at most `depth` levels and holds only text keys and JSON's kinds of finite values."""
    if depth <= 0:
        return False
    items: Iterable[Any]
    if type(value) is dict:
        if not set(map(type, value)) <= _TEXT:
            return False
        items = value.values()
    elif type(value) is list:
        items = value
    else:
        return type(value) in _LEAVES or (type(value) is float and math.isfinite(value))
    if set(map(type, items)) <= _LEAVES:
        return True
    for item in items:
        if type(item) not in _LEAVES and not is_plain(item, depth - (type(item) is not float)):
            return False
    return True


def _json_or_flow(text: str, file: str, limits: DocumentLimits) -> Any:
    try:
        value = read_json(text, file=file, limits=limits)
    except NotJsonError:
        return yaml_strict.read_yaml(text, file=file, limits=limits)
    except OpsError as error:
        if error.code == "yaml_invalid" and len(text) <= _QUICK_MAX_BYTES:
            yaml_strict.read_yaml(text, file=file, limits=limits)  # tells both places of a repeated key
        raise
    if is_plain(value, limits.max_depth) and "\\u0000" not in text:
        return value
    # Too deep, or a NUL: the strict reader says which and where.
    yaml_strict.read_yaml(text, file=file, limits=limits)
    raise _refusal("yaml_invalid", "a NUL character in a text; expected text without it", file, 1, 1)
