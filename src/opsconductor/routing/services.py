"""Which services there are and where they answer. Pure; `routing.router` and bootstrap use it."""

from __future__ import annotations

from collections.abc import Mapping

from opsconductor.model.names import canonical_location

FALLBACK_SERVICE = "automation-service"
"""Answers for tools that no other service owns; it never runs a tool's name as a command."""

DEFAULT_URLS: dict[str, str] = {
    "automation-service": "http://automation-service:3003",
    "communication-service": "http://communication-service:3004",
    "asset-service": "http://asset-service:3005",
    "network-analyzer-service": "http://network-analyzer-service:3006",
}
"""The four services of this package under their Compose names."""


class Services:
    """Known services and their URLs: the four of this package and whatever a site gave a URL.

    `urls` maps locations, in any spelling, to URLs. With `embedded`, a service without one runs in this process and
    its URL is None; otherwise the defaults fill in.
    """

    def __init__(self, urls: Mapping[str, str], *, embedded: bool) -> None:
        given = {canonical_location(location): url for location, url in urls.items() if url}
        defaults: Mapping[str, str | None] = dict.fromkeys(DEFAULT_URLS) if embedded else DEFAULT_URLS
        self._urls: dict[str, str | None] = {**defaults, **given}

    def __contains__(self, location: object) -> bool:
        """Whether some service answers to that canonical location."""
        return location in self._urls

    def url_of(self, service: str) -> str | None:
        """The URL of a known service; None when it runs in this process. Raises KeyError for an unknown one."""
        return self._urls[service]

    def names(self) -> tuple[str, ...]:
        """All known services, the four of this package first."""
        return tuple(self._urls)
