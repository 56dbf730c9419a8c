"""Masking of known secret values in text, bytes and JSON structures, also where chunks of a stream cut them in two.

A `Redactor` is built from the secrets of one step (inputs marked secret, settings that are secret) and is applied by
services to everything that leaves them: output, errors, events, logs. It finds a secret as it is and in the forms in
which programs repeat it: percent-encoded, inside a JSON string, in hexadecimal, and in base64 at any of the three
alignments (RFC 4648 §4 and §5; also of UTF-16LE, which is how PowerShell passes scripts). Nothing here does I/O.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any, overload
from urllib.parse import quote, quote_plus

import msgspec

MASK = "***"
MIN_LENGTH = 4
"""Shorter secrets are masked only where they stand alone: hiding every "42" would tell what they are."""
MIN_LINE_LENGTH = 16
"""Lines of a multi-line secret (a private key) from this length on are secrets of their own."""

_MASK = MASK.encode()
_BASE64_ALIGNMENT = 3
_BASE64_SIGNS = (b"+", b"/", b"-", b"_")


class _Form(msgspec.Struct, frozen=True):
    """One spelling of a secret. `before`/`after`: neighbours that hold bits of it; `alone`: only between non-words."""

    literal: bytes
    before: int = 0
    after: int = 0
    alone: bool = False


class Redactor:
    """Masks the secrets it was made with. Immutable; may be shared by tasks and threads."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Empty secrets count as absent. A secret's surrounding white space is not part of it."""
        known = {part for secret in secrets for part in _parts(secret)}
        forms = {form.literal: form for secret in sorted(known) for form in _forms(secret)}
        self._secrets = frozenset(known)
        self._forms = tuple(forms.values())
        self._first = frozenset(form.literal[0] for form in self._forms)
        self._longest = max((len(form.literal) + form.before + form.after for form in self._forms), default=0)

    def __bool__(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._forms)

    def text(self, text: str) -> str:
        """`text` with every secret replaced by `***`."""
        if not self._forms:
            return text
        found = text.encode("utf-8", "surrogatepass")
        masked = self.binary(found)
        return text if masked is found else masked.decode("utf-8", "surrogatepass")

    def binary(self, content: bytes) -> bytes:
        """`content` with every secret (as UTF-8) replaced by `***`; the same object when there was none."""
        spans = self.spans(content)
        return _render(content, spans, 0, len(content)) if spans else content

    def data(self, value: Any) -> Any:
        """A copy of a JSON-like structure with every secret masked: in strings, bytes, keys, and as whole numbers."""
        match value:
            case str():
                return self.text(value)
            case bytes():
                return self.binary(value)
            case bool() | None:
                return value
            case int() | float():
                return MASK if str(value) in self._secrets else value
            case dict():
                return {self.data(key): self.data(entry) for key, entry in value.items()}
            case list():
                return [self.data(entry) for entry in value]
            case tuple():
                return tuple(self.data(entry) for entry in value)
            case _:
                return value

    def stream(self) -> RedactingStream:
        """A fresh masker for one stream of chunks."""
        return RedactingStream(self)

    def spans(self, content: bytes) -> list[tuple[int, int]]:
        """Where secrets lie in `content`, as [start, end) in order, touching ones joined."""
        found = sorted(span for form in self._forms for span in _occurrences(form, content))
        joined: list[tuple[int, int]] = []
        for start, end in found:
            if joined and start <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        return joined

    def undecided_from(self, content: bytes) -> int:
        """The first offset from which `content` might be the beginning of a secret that is cut off at its end."""
        size = len(content)
        for start in range(max(0, size - self._longest), size):
            if content[start] not in self._first:
                continue
            tail = content[start:]
            for form in self._forms:
                if len(tail) < len(form.literal) + form.after and _compatible(form.literal, tail):
                    return max(0, start - form.before)
        # A base64 form masks the character before it too, which must then still be here.
        return size - 1 if content[-1:].isalnum() or content[-1:] in _BASE64_SIGNS else size

    @property
    def longest(self) -> int:
        """Length of the longest form in bytes."""
        return self._longest


class RedactingStream:
    """Masks a stream chunk by chunk. Holds back only what may be the beginning of a secret; `flush` gives the rest.

    Feed either bytes or str, not both.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._buffer = b""  # the last bytes seen, kept as context
        self._done = 0  # how many of them have been given out already
        self._text_tail = b""  # an incomplete UTF-8 sequence of str output

    @overload
    def feed(self, chunk: bytes) -> bytes: ...
    @overload
    def feed(self, chunk: str) -> str: ...
    def feed(self, chunk: bytes | str) -> bytes | str:
        """Take a chunk and return what is safe to show by now (possibly nothing)."""
        if isinstance(chunk, str):
            return self._decode(self._feed(chunk.encode("utf-8", "surrogatepass")))
        return self._feed(chunk)

    def flush(self) -> bytes:
        """What was held back. The stream is at its end; for str streams use `flush_text`."""
        rest = self._advance(len(self._buffer))
        self._buffer, self._done = b"", 0
        return rest

    def flush_text(self) -> str:
        """What was held back of a stream that was fed with str."""
        return self._decode(self.flush())

    def _feed(self, chunk: bytes) -> bytes:
        if not self._redactor:
            return chunk
        self._buffer += chunk
        shown = self._advance(max(self._done, self._redactor.undecided_from(self._buffer)))
        drop = max(0, self._done - self._redactor.longest - 1)
        self._buffer, self._done = self._buffer[drop:], self._done - drop
        return shown

    def _advance(self, cut: int) -> bytes:
        shown = _render(self._buffer, self._redactor.spans(self._buffer), self._done, cut)
        self._done = cut
        return shown

    def _decode(self, content: bytes) -> str:
        content = self._text_tail + content
        whole = len(content) - _incomplete_tail(content)
        self._text_tail = content[whole:]
        return content[:whole].decode("utf-8", "surrogatepass")


def _parts(secret: str) -> Iterator[str]:
    secret = secret.strip()
    if secret:
        yield secret
    if "\n" in secret:
        lines = (line.strip() for line in secret.splitlines())
        yield from (line for line in lines if len(line) >= MIN_LINE_LENGTH and not line.startswith("-----"))


def _forms(secret: str) -> Iterator[_Form]:
    raw = secret.encode("utf-8", "surrogatepass")
    if len(secret) < MIN_LENGTH:
        yield _Form(raw, after=1, alone=True)
        return
    for spelling in {raw, *_escaped(secret, raw), raw.hex().encode(), raw.hex().upper().encode()}:
        yield _Form(spelling)
    for content in (raw, secret.encode("utf-16-le", "surrogatepass")):
        for lead in range(_BASE64_ALIGNMENT):
            yield from _base64_forms(content, lead)


def _escaped(secret: str, raw: bytes) -> Iterator[bytes]:
    for encoded in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield encoded.encode()
        yield _lower_hex(encoded).encode()
    for ascii_only in (True, False):
        literal = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield literal.encode("utf-8", "surrogatepass")
        yield literal.replace("/", "\\/").encode("utf-8", "surrogatepass")


def _lower_hex(encoded: str) -> str:
    head, *rest = encoded.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _base64_forms(content: bytes, lead: int) -> Iterator[_Form]:
    """The characters that depend on `content` alone when `lead` unknown bytes stand before it; 6 bits each."""
    first = -(-lead * 8 // 6)
    last = (lead + len(content)) * 8 // 6
    shared_end = 1 if (lead + len(content)) % _BASE64_ALIGNMENT else 0
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        segment = encode(b"\0" * lead + content)[first:last]
        if len(segment) >= MIN_LENGTH:
            yield _Form(segment, before=1 if lead else 0, after=shared_end)


def _occurrences(form: _Form, content: bytes) -> Iterator[tuple[int, int]]:
    start = content.find(form.literal)
    while start >= 0:
        end = start + len(form.literal)
        if not form.alone:
            yield max(0, start - form.before), min(len(content), end + form.after)
        elif not _is_word(content[start - 1 : start]) and not _is_word(content[end : end + 1]):
            yield start, end
        start = content.find(form.literal, start + 1)


def _is_word(neighbour: bytes) -> bool:
    return neighbour.isalnum() or neighbour == b"_"


def _compatible(literal: bytes, tail: bytes) -> bool:
    return literal.startswith(tail) or tail.startswith(literal)


def _render(content: bytes, spans: list[tuple[int, int]], begin: int, end: int) -> bytes:
    """`content[begin:end]` with a mask for each span that starts there; one that starts earlier was masked earlier."""
    parts, place = [], begin
    for start, stop in spans:
        if stop <= begin or start >= end:
            continue
        if start >= begin:
            parts += [content[place:start], _MASK]
        place = min(stop, end)
    parts.append(content[place:end])
    return b"".join(parts)


def _incomplete_tail(content: bytes) -> int:
    """How many bytes at the end begin a UTF-8 sequence that is not complete (RFC 3629 §3)."""
    for back in range(1, min(3, len(content)) + 1):
        byte = content[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < needed else 0
        if byte < 0x80:
            return 0
    return 0
