"""Reads a peer's answer within bounded memory, whole or line by line. Used by `http_client`.

An answer larger than its bound is `service_answer_invalid`, and its connection is closed without reading the rest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp

from opsconductor.services.kit.service_answers import invalid


async def read_all(answer: aiohttp.ClientResponse, most: int, peer: str) -> bytes:
    """The whole body, which may have `most` bytes."""
    parts: list[bytes] = []
    size = 0
    async for part in _parts(answer, peer):
        size += len(part)
        if size > most:
            raise invalid(peer, f"an answer of more than {most} bytes", parts[0] if parts else part)
        parts.append(part)
    return b"".join(parts)


async def read_lines(answer: aiohttp.ClientResponse, most: int, peer: str) -> AsyncIterator[bytes]:
    """The lines of a stream without their line feeds, each of at most `most` bytes."""
    rest: list[bytes] = []
    size = 0
    async for part in _parts(answer, peer):
        *ended, last = part.split(b"\n")
        for line in ended:
            rest.append(line)
            if size + len(line) > most:
                raise invalid(peer, f"an event of more than {most} bytes", rest[0])
            yield b"".join(rest)
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        if size > most:
            raise invalid(peer, f"an event of more than {most} bytes", rest[0])
    if size:
        raise invalid(peer, "a stream that breaks off in the middle of a line", b"".join(rest))


def _parts(answer: aiohttp.ClientResponse, peer: str) -> AsyncIterator[bytes]:
    """Chunks as they come."""
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise invalid(peer, "a compressed answer, which nobody asked for")
    return answer.content.iter_any()
