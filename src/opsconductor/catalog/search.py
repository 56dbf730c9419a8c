"""Rank tools for words that a person types. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from opsconductor.model.names import canonical


class Searchable(Protocol):
    """What is searched of a tool."""

    @property
    def id(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...


T = TypeVar("T", bound=Searchable)


def rank(tools: Iterable[T], text: str) -> list[T]:
    """The tools in which every word of `text` is found, best first; equal ones by id. A name beats a description."""
    words = [word.casefold() for word in text.split()]
    whole = canonical(text)
    scored = []
    for tool in tools:
        scores = [_score(tool, word) for word in words]
        if scores and all(scores):
            scored.append((-sum(scores) - 1000 * (tool.id == whole), tool.id, tool))
    return [tool for _, _, tool in sorted(scored, key=lambda row: row[:2])]


def _score(tool: Searchable, word: str) -> int:
    name = canonical(word)
    if tool.id == name:
        return 100
    if name and name in tool.id.split("_"):
        return 60
    if any(word == tag.casefold() for tag in tool.tags):
        return 50
    if name and tool.id.startswith(name):
        return 40
    if name and name in tool.id:
        return 25
    if word in (tool.category.casefold(), tool.platform.casefold()):
        return 20
    description = tool.description.casefold()
    if word in description:
        return 12 if word in description.replace(",", " ").replace(".", " ").split() else 6
    return 3 if any(word in tag.casefold() for tag in tool.tags) else 0
