"""The four services, each made only when something is sent to it: their libraries take time to import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opsconductor.bootstrap.clock import IdSource, utc_now
from opsconductor.catalog.catalog import Catalog
from opsconductor.model.errors import OpsError
from opsconductor.model.outcome import PlanRequest, StepRequest
from opsconductor.model.target import Target
from opsconductor.security.egress import EgressGate, parse_policy
from opsconductor.services.kit.handlers import GuardRegistry, HandlerRegistry
from opsconductor.services.kit.inbox import Inbox
from opsconductor.services.kit.limits import limits_from
from opsconductor.services.kit.parsing import Parser
from opsconductor.services.kit.service import Service
from opsconductor.services.kit.targets import TargetResolver
from opsconductor.settings import SECRET_SETTINGS, Settings, child_environment
from opsconductor.transports.base import Transport
from opsconductor.transports.local import LocalTransport

if TYPE_CHECKING:
    from opsconductor.store.asset_store import AssetStore

AUTOMATION, COMMUNICATION = "automation-service", "communication-service"
ASSET, NETWORK = "asset-service", "network-analyzer-service"
SERVICE_NAMES = (AUTOMATION, COMMUNICATION, ASSET, NETWORK)


class ServiceFactory:
    """Makes services that share one transport, one egress gate and one source of ids."""

    def __init__(self, settings: Settings, catalog: Callable[[], Catalog], new_id: IdSource) -> None:
        self.settings = settings
        self.egress = EgressGate(parse_policy(settings.egress_allow, settings.egress_deny))
        self._catalog = catalog
        self._new_id = new_id
        self._transport: Transport | None = None
        self._store: AssetStore | None = None

    @property
    def transport(self) -> Transport:
        """The local transport, made on first use."""
        if self._transport is None:
            self._transport = LocalTransport()
        return self._transport

    def make(self, name: str, resolver: TargetResolver | None = None) -> Service:
        """The service `name`. Raises OpsError(`not_found`) for one that is not part of OpsConductor."""
        if name not in SERVICE_NAMES:
            known = ", ".join(SERVICE_NAMES)
            raise OpsError(
                "not_found", f"there is no service {name!r} in this program; expected one of {known}, gateway"
            )
        work_dir = self.settings.state_dir / name
        return Service(
            name,
            catalog=self._catalog,
            handlers=self.handlers(name),
            transport=self.transport,
            inbox=Inbox(work_dir / "inbox.sqlite3", now=utc_now, retention_s=self.settings.inbox_retention_s),
            work_dir=work_dir,
            environment=child_environment(),
            now=utc_now,
            new_id=self._new_id,
            limits=limits_from(self.settings),
            resolver=resolver,
            parsers=self.parsers(name),
            setting_present=self._has_setting,
            guards=self.guards(name),
        )

    def _has_setting(self, name: str) -> bool:
        return bool(getattr(self.settings, name.lower(), ""))

    def handlers(self, name: str) -> HandlerRegistry:
        """The Python handlers of a service, by the names that definitions use."""
        if name == COMMUNICATION:
            from opsconductor.services.communication.config import config_from
            from opsconductor.services.communication.handlers import handlers as communication_handlers

            return communication_handlers(config_from(self.settings, self.egress))
        if name == ASSET:
            from opsconductor.services.asset.handlers import handlers as asset_handlers

            return asset_handlers(self._asset_store())
        if name == NETWORK:
            from opsconductor.security.scan import parse_scan_policy
            from opsconductor.services.network.handlers import handlers as network_handlers

            return network_handlers(
                parse_scan_policy(self.settings.scan_allow), self.transport, child_environment(), self._new_id
            )
        return {}

    def _asset_store(self) -> AssetStore:
        from opsconductor.store.asset_store import AssetStore

        if self._store is None:
            url = self.settings.database_url or f"sqlite:///{self.settings.state_dir / 'inventory.sqlite3'}"
            self._store = AssetStore(url, now=utc_now, new_id=self._new_id)
        return self._store

    async def close(self) -> None:
        """Close what the services share; they are closed first."""
        if self._store is not None:
            await self._store.close()
            self._store = None

    def guards(self, name: str) -> GuardRegistry:
        """The policies by which a service judges inputs of operations that ask for it."""
        if name == AUTOMATION:
            from opsconductor.services.automation.guards import egress_guard

            return {"egress": egress_guard(self.egress)}
        return {}

    def parsers(self, name: str) -> Mapping[str, Parser]:
        """The parsers a service has besides those of the kit and of jc."""
        if name == AUTOMATION:
            from opsconductor.services.automation.parsers import PARSERS
            from opsconductor.services.automation.parsers_network import PARSERS as NETWORK_PARSERS

            return {**PARSERS, **NETWORK_PARSERS}
        return {}

    def secrets(self) -> list[str]:
        """Values of settings that may show nowhere."""
        return [value for field in SECRET_SETTINGS if (value := getattr(self.settings, field))]


class InventoryTargets:
    """Resolves target names by asking asset-service, like every other caller of it."""

    def __init__(self, client_for: Callable[[str], Any], new_id: IdSource) -> None:
        self._client_for = client_for
        self._new_id = new_id

    async def resolve(self, name: str, tenant_id: str | None) -> Target:
        """The asset of that name, id or address. Raises OpsError(`target_unknown`, or why the inventory is silent)."""
        from opsconductor.services.asset.targets import target_of_answer

        step = StepRequest(tool="asset-query", operation="resolve", id="resolve", inputs={"name": name})
        request = PlanRequest(execution_id=self._new_id(), steps=(step,), tenant_id=tenant_id)
        response = await self._client_for(ASSET).execute_plan(request)
        return target_of_answer(name, response.step_results[0])
