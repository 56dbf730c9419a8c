"""Tool → service → URL, decided for each step on its own. Pure and total: every name gets an answer, and a reason.

`Router` belongs to one snapshot of the catalog. `LiveRouter` follows a `CatalogSource` for processes that live long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from opsconductor.catalog.catalog import Catalog, CatalogSource
from opsconductor.model.errors import OpsError
from opsconductor.model.names import canonical
from opsconductor.routing.services import FALLBACK_SERVICE, Services

METADATA = "metadata"
UNKNOWN_TOOL = "fallback:unknown_tool"
NO_LOCATION = "fallback:no_location"
UNKNOWN_SERVICE = "fallback:unknown_service"

Fallback = Literal["allow", "deny"]
Locate = Callable[[str], tuple[str, str | None] | None]
"""A tool's name in any spelling → its id and canonical location, or None when there is no such tool."""

# Decisions are remembered by the spelling that asked. Spellings are endless, so this is bounded; it holds every
# tool of a large catalog under several spellings.
_MAX_REMEMBERED = 65_536
_MAX_REMEMBERED_NAME = 200


class RoutingDecision(msgspec.Struct, frozen=True, kw_only=True):
    """Where a step goes. `tool` is the name as asked, `id` the canonical one; `url` is None for in this process."""

    tool: str
    id: str
    service: str
    url: str | None
    reason: str

    @property
    def is_fallback(self) -> bool:
        """Whether the step goes to the service that answers for what nobody owns."""
        return self.reason != METADATA


_HINTS = {
    UNKNOWN_TOOL: "no tool has that name; `opsconductor tools search` finds the one you mean",
    NO_LOCATION: "its definition names no execution_location; add one",
    UNKNOWN_SERVICE: "no service answers to its execution_location; set that service's URL",
}


class Router:
    """Routes tools by one snapshot of the catalog. `resolve` costs a dict look-up for a name it has seen."""

    def __init__(self, locate: Locate, services: Services, fallback: Fallback = "allow") -> None:
        self._locate = locate
        self._services = services
        self._deny = fallback == "deny"
        self._remembered: dict[str, RoutingDecision] = {}

    def resolve(self, tool: str) -> RoutingDecision:
        """Decide for one tool. Raises OpsError(`routing_denied`) for a fallback when those are denied."""
        return self._remembered.get(tool) or self._decide(tool)

    def _decide(self, tool: str) -> RoutingDecision:
        located = self._locate(tool)
        if located is None:
            return self._fall_back(tool, canonical(tool), UNKNOWN_TOOL)
        name, location = located
        if location is None:
            return self._fall_back(tool, name, NO_LOCATION)
        if location not in self._services:
            return self._fall_back(tool, name, UNKNOWN_SERVICE, location)
        url = self._services.url_of(location)
        decision = RoutingDecision(tool=tool, id=name, service=location, url=url, reason=METADATA)
        if len(tool) <= _MAX_REMEMBERED_NAME:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[tool] = decision
        return decision

    def _fall_back(self, tool: str, name: str, reason: str, location: str | None = None) -> RoutingDecision:
        if self._deny:
            found = f"{reason} {location!r}" if location else reason
            message = f"{tool[:100]!r} has no service of its own ({found}) and fallbacks are denied: {_HINTS[reason]}"
            raise OpsError("routing_denied", message, tool=tool[:100], reason=reason, location=location)
        url = self._services.url_of(FALLBACK_SERVICE)
        return RoutingDecision(tool=tool, id=name, service=FALLBACK_SERVICE, url=url, reason=reason)


class LiveRouter:
    """The router of the newest catalog, made anew when definitions change."""

    def __init__(self, source: CatalogSource, services: Services, fallback: Fallback = "allow") -> None:
        self._source = source
        self._services = services
        self._fallback: Fallback = fallback
        self._catalog: Catalog | None = None
        self._router: Router | None = None

    def current(self) -> Router:
        """The router for the catalog as `CatalogSource.current` has it."""
        catalog = self._source.current()
        if self._router is None or catalog is not self._catalog:
            self._catalog = catalog
            self._router = Router(catalog.location_of, self._services, self._fallback)
        return self._router

    def resolve(self, tool: str) -> RoutingDecision:
        """As `Router.resolve`, by the newest catalog."""
        return self.current().resolve(tool)
