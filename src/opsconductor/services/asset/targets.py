"""Names of targets, looked up in the inventory: what stands behind the service kit's `TargetResolver`.

`AssetTargets` looks them up in the store, for the operation `resolve` of asset-query; `target_of_answer` reads that
operation's answer in the service that asked. A name that does not resolve is an error, never another machine.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import msgspec

from opsconductor.model.asset import Asset
from opsconductor.model.errors import ERRORS, OpsError
from opsconductor.model.execution import StepStatus
from opsconductor.model.outcome import StepResult
from opsconductor.model.selector import Clause, Operator, Selector, parse
from opsconductor.model.target import LOCAL, Target, TargetKind
from opsconductor.store.asset_query import DEFAULT_TENANT, MAX_LIMIT, AssetQuery

if TYPE_CHECKING:
    from opsconductor.store.asset_store import AssetStore


class AssetTargets:
    """Resolves targets of one tenant."""

    def __init__(self, store: AssetStore, *, tenant_id: str = DEFAULT_TENANT) -> None:
        self._store = store
        self._tenant_id = tenant_id

    async def resolve(self, name: str) -> Target:
        """The one target of that asset name, id or address; `local` is this machine.

        Raises OpsError(`target_unknown`) with the nearest names, also for a retired asset and an address of several.
        """
        if name.strip().casefold() == LOCAL.name:
            return LOCAL
        asset = await self._store.find(self._tenant_id, name)
        if asset is not None and asset.retired_at is None:
            return target_of(asset)
        if asset is not None:
            message = (
                f"{asset.hostname} was retired at {asset.retired_at}; restore it (asset-delete, restore) to use it"
            )
            raise OpsError("target_unknown", message, target=name[:253])
        return await self._by_address(name) if _is_address(name) else await self._unknown(name)

    async def select(self, selector: str) -> tuple[Target, ...]:
        """Targets of all live assets that fit, by hostname; possibly none. Raises OpsError(`selector_invalid`)."""
        return tuple(target_of(asset) for asset in await self._live(parse(selector)))

    async def _live(self, selector: Selector) -> tuple[Asset, ...]:
        page = await self._store.query(self._tenant_id, AssetQuery(selector=selector, limit=MAX_LIMIT))
        if page.next_cursor is not None:
            message = f"more than {MAX_LIMIT} assets fit {selector}; narrow it"
            raise OpsError("selector_invalid", message, selector=str(selector))
        return tuple(asset for asset in page.assets if asset.retired_at is None)

    async def _by_address(self, name: str) -> Target:
        found = await self._live(Selector((Clause("addresses", Operator.IS, (name.strip(),)),)))
        if len(found) == 1:
            return target_of(found[0])
        if not found:
            message = f"no asset has the address {name}; add one (asset-create) or name an asset"
            raise OpsError("target_unknown", message, target=name)
        names = ", ".join(asset.hostname for asset in found[:5])
        message = f"{len(found)} assets have the address {name} ({names}); name one of them"
        raise OpsError("target_unknown", message, target=name)

    async def _unknown(self, name: str) -> Target:
        shown = name[:253]
        near = await self._store.nearest_names(self._tenant_id, shown)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `opsconductor assets list` shows what there is"
        raise OpsError("target_unknown", f"target {shown!r} is not in the inventory{hint}", target=shown, nearest=near)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip())
    except ValueError:
        return False
    return True


def target_of(asset: Asset) -> Target:
    """How to reach an asset: what is recorded, and the address to use; nothing is made up beyond that.

    `transport: local` says that the asset is the service's own machine.
    """
    connection: dict[str, Any] = {
        name: value for name, value in msgspec.to_builtins(asset.connection).items() if value is not None
    }
    connection.setdefault("address", asset.primary_address or asset.hostname)
    for name, value in (("asset_id", asset.id), ("platform", asset.platform), ("credential", asset.credential)):
        if value is not None:
            connection[name] = value
    local = asset.connection.transport == "local"
    return Target(kind=TargetKind.LOCAL if local else TargetKind.ASSET, name=asset.hostname, connection=connection)


def target_of_answer(name: str, result: StepResult) -> Target:
    """The target in the result of asset-query, operation `resolve`.

    Raises OpsError: `target_unknown`, why the inventory is silent (its own code), or `service_answer_invalid`.
    """
    if result.error is not None:
        code, message = result.error.code, result.error.message
        if code.startswith("input_"):
            raise OpsError(
                "target_unknown", f"{name[:253]!r} cannot be the name of a target: {message}", target=name[:253]
            )
        context = {key: value for key, value in result.error.context.items() if key not in ("problems", "target")}
        raise OpsError(code if code in ERRORS else "service_answer_invalid", message, target=name[:253], **context)
    data = result.output.get("data")
    try:
        if result.status is not StepStatus.COMPLETED or not isinstance(data, dict):
            raise ValueError(f"status {result.status}")
        return msgspec.convert(data.get("target"), Target)
    except (ValueError, msgspec.ValidationError) as error:
        message = f"asset-service answered the question for target {name[:253]!r} without a target ({error})"
        raise OpsError("service_answer_invalid", message, target=name[:253]) from error
