"""The only place where tool definitions and plans are read from bytes; the loader and the plan reader call it.

Three readers, one meaning. JSON is read strictly. Small everyday YAML is read by a fast parser, but only text for
which that parser is known to agree with the strict one (`_quick`). Everything else, and everything with an error in
it, is read event by event (`yaml_strict`), which is slower and tells each problem with its place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from opsconductor.catalog import yaml_strict
from opsconductor.catalog.json_strict import NotJsonError, read_json
from opsconductor.model.errors import OpsError, Problem
from opsconductor.model.limits import DocumentLimits

PathKey = str | int

# What the fast parser reads otherwise than the core schema does, or cannot survive, is left to the strict reader:
# control characters, anchors, tags, directives · escapes that may make a NUL · `1_000`, `_1` · `0x1`, `0o1`, `0b1` ·
# NaN and infinity, `1e400`, endless numbers · explicit and empty keys · block scalars that the end of the text cuts
# short · what only YAML 1.1 takes for a line break.
_SUSPECT = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f&!%]|\\[0xuU]|[0-9]_|[\s\[\]{},:?+-]_|0[xXoObB]"
    rb"|\.(?i:inf|nan)|[eE][+-]?[0-9]{3}|[0-9]{300}|\?(?:[\s,\[\]{}]|\Z)|(?:\A|[\s,\[{])\?|[{\[,]\s*:"
    rb"|[|>][-+0-9]*[ \t]*(?:#[^\n]*)?\s*\Z"
)
_SUSPECT_BEYOND_ASCII = re.compile(rb"\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]|\xef\xbb\xbf|\xef\xbf[\xbe\xbf]")
# That expression takes as long as the parser. Nearly all files are cleared without it: letters that play no part are
# dropped, the others become classes, and no pair of classes that `_SUSPECT` could match occurs. Dropping letters can
# only bring a pair together, never part one.
_CLASSES = {" ": " \t\r\n[]{},", "-": "-:+", "0": "0123456789", "x": "xob", "n": "in", "\0": "&!%?|>\\\x7f"}
_KEPT = frozenset("e._".join(_CLASSES.values()))


def _class_of(byte: int) -> int:
    char = chr(byte).lower()
    for folded, chars in _CLASSES.items():
        if char in chars:
            return ord(folded)
    return 0 if byte < 32 else ord(char) if char in _KEPT else ord("'")


_REDUCED = bytes(map(_class_of, range(256)))
_PASSED_OVER = bytes(byte for byte in range(128) if chr(byte).isalpha() and chr(byte).lower() not in _KEPT)
_QUICK_MAX_BYTES = 256 * 1024
_QUICK_MAX_LEVELS = 2_000  # the fast parser exhausts its stack beyond 5,000; each level needs an indicator and a space
_ENDLESS = b"0" * 300
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
    value = read_quickly(data, text, limits)
    return value if is_plain(value, limits.max_depth) else None


def read_quickly(data: bytes, text: str, limits: DocumentLimits) -> dict[Any, Any] | None:
    """The mapping of an everyday YAML document, or None where only the strict reader can decide. Never raises.

    All is as `read_document` would have it, save that the caller must see to depth and to keys that are not text
    (`is_plain`, or a conversion to structures). `text` is what `data` decodes to.
    """
    if len(data) > min(_QUICK_MAX_BYTES, 2 * limits.max_nodes, limits.max_bytes) or _is_suspect(data):
        return None
    from yaml_rs import YAMLDecodeError, loads

    try:
        value: Any = loads(text, parse_datetime=False)
    except (YAMLDecodeError, TypeError, ValueError):  # the latter two for lists as keys, and numbers beyond reading
        return None
    # A list may be the fast parser's way to return several documents.
    return value if type(value) is dict else None


def _is_suspect(data: bytes) -> bool:
    """Whether the text may hold what the fast parser reads otherwise. A doubt costs time, not truth."""
    reduced = data.translate(_REDUCED, _PASSED_OVER)
    hinted = (
        b"\0" in reduced
        or b"0_" in reduced
        or b" _" in reduced
        or b"-_" in reduced
        or b"0x" in reduced
        or b".n" in reduced
        or b"e000" in reduced
        or b"e-000" in reduced
        or _ENDLESS in reduced
    )
    if reduced.count(b"- ") > _QUICK_MAX_LEVELS or (hinted and (data[-1:] != b"\n" or _SUSPECT.search(data))):
        return True
    return not data.isascii() and bool(_SUSPECT_BEYOND_ASCII.search(data))


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
