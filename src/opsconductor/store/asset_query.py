"""What callers ask the inventory and get from it: plain data, without SQLAlchemy."""

from __future__ import annotations

import base64
import hashlib
from enum import StrEnum
from typing import Any

import msgspec

from opsconductor.model.asset import Asset
from opsconductor.model.errors import OpsError
from opsconductor.model.selector import Selector

MAX_LIMIT = 10_000
DEFAULT_TENANT = "default"
SORT_FIELDS = (
    *("hostname", "type", "platform", "os", "status", "environment", "location", "owner"),
    *("created_at", "updated_at", "id"),
)


class IfExists(StrEnum):
    """What creating does when a live asset has the hostname already."""

    REFUSE = "refuse"
    UPDATE = "update"
    KEEP = "keep"


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who changes the inventory, and why: goes into the history as it is."""

    tenant_id: str = DEFAULT_TENANT
    actor: str | None = None
    reason: str | None = None
    execution_id: str | None = None


class AssetQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of assets. `limit` is 1 … `MAX_LIMIT`; `cursor` is the `next_cursor` of the page before.

    Retired assets are left out unless `include_retired` or a clause of the selector speaks of `retired`.
    """

    selector: Selector | None = None
    include_retired: bool = False
    sort: str = "hostname"
    descending: bool = False
    limit: int = 1000
    cursor: str | None = None
    with_total: bool = False

    def check(self) -> None:
        """Raise OpsError(`asset_invalid`) for a sort or limit that does not exist."""
        if self.sort not in SORT_FIELDS:
            message = f"sort: found {self.sort!r}, expected one of {', '.join(SORT_FIELDS)}"
            raise OpsError("asset_invalid", message, field="sort")
        if not 1 <= self.limit <= MAX_LIMIT:
            raise OpsError("asset_invalid", f"limit: found {self.limit}, expected 1 to {MAX_LIMIT}", field="limit")

    @property
    def hides_retired(self) -> bool:
        """Whether only live assets are meant."""
        named = self.selector is not None and any(clause.field == "retired_at" for clause in self.selector.clauses)
        return not (self.include_retired or named)

    def position_after(self, value: str, asset_id: str) -> str:
        """The cursor behind an asset whose sort column holds `value`."""
        return base64.urlsafe_b64encode(msgspec.json.encode([self._digest(), value, asset_id])).decode()

    def position(self) -> tuple[str, str] | None:
        """(sort value, id) behind which the page begins. Raises OpsError(`asset_invalid`)."""
        if self.cursor is None:
            return None
        try:
            raw = base64.b64decode(self.cursor, altchars=b"-_", validate=True)
            digest, value, asset_id = msgspec.json.decode(raw, type=tuple[str, str, str])
        except (ValueError, msgspec.DecodeError) as error:
            message = "cursor: not one that a page gave as its next_cursor; start without"
            raise OpsError("asset_invalid", message, field="cursor") from error
        if digest != self._digest():
            message = "cursor: it belongs to another selection or sort order; start without, or repeat the same filters"
            raise OpsError("asset_invalid", message, field="cursor")
        return value, asset_id

    def _digest(self) -> str:
        asked = f"{self.selector}|{self.hides_retired}|{self.sort}|{self.descending}"
        return hashlib.sha256(asked.encode()).hexdigest()[:16]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Assets in the order asked for. `total` counts all pages; None when it was not asked for and is not known."""

    assets: tuple[Asset, ...]
    total: int | None = None
    next_cursor: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a writing call did. `differences` is field → [old, new], empty when nothing had to change."""

    asset: Asset
    created: bool = False
    differences: dict[str, list[Any]] = {}


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `action` is create, update, delete or restore; `version` is the one it led to."""

    asset_id: str
    version: int
    at: str
    action: str
    actor: str | None
    reason: str | None
    execution_id: str | None
    changes: dict[str, list[Any]]
