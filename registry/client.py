"""The way into the registry for other packages: what they may import, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx2

from exchange.clock import Clock
from exchange.wire import Credential, Machine, Wire
from registry.access_disputes.calls import DisputeCalls
from registry.applications.calls import ApplicationCalls
from registry.catalogue.calls import CatalogueCalls
from registry.catalogue.propose import Proposal, propose_from_openapi
from registry.conformance import document_digest, sign_report, verify_report
from registry.corrections.calls import CorrectionCalls
from registry.deadlines.calls import DeadlineCalls
from registry.describe import describe_service
from registry.filings.calls import FilingCalls
from registry.incidents.calls import IncidentCalls
from registry.model import (
    FULL,
    MASKED,
    AccessRight,
    EventForm,
    FactEntry,
    Gateway,
    ItemEntry,
    KeyEntry,
    Member,
    Purpose,
    ServiceEntry,
    SharingClass,
    Status,
    SubjectKind,
    Subsystem,
)
from registry.reading import Snapshot, SnapshotReader
from registry.rights import parse_right, right_id, sign_right
from registry.source import SnapshotSource

__all__ = [
    "FULL",
    "MASKED",
    "AccessRight",
    "ApplicationCalls",
    "CatalogueCalls",
    "CorrectionCalls",
    "Credential",
    "DeadlineCalls",
    "DisputeCalls",
    "EventForm",
    "FactEntry",
    "Gateway",
    "ItemEntry",
    "KeyEntry",
    "Machine",
    "Member",
    "Proposal",
    "Purpose",
    "RegistryClient",
    "ServiceEntry",
    "SharingClass",
    "Snapshot",
    "SnapshotReader",
    "SnapshotSource",
    "Status",
    "SubjectKind",
    "Subsystem",
    "describe_service",
    "document_digest",
    "parse_right",
    "propose_from_openapi",
    "right_id",
    "sign_report",
    "sign_right",
    "verify_report",
]


class RegistryClient:
    """登记客户端. Calls with a person's access token or a Machine that signs. Raises Problem as answered."""

    def __init__(self, url: str, http: httpx2.AsyncClient, clock: Clock | None = None) -> None:
        """`url` is the registry's base URL."""
        self._wire = Wire(url, http, clock)
        self.access_disputes = DisputeCalls(self._wire)
        self.applications = ApplicationCalls(self._wire)
        self.catalogue = CatalogueCalls(self._wire)
        self.corrections = CorrectionCalls(self._wire)
        self.deadlines = DeadlineCalls(self._wire)
        self.filings = FilingCalls(self._wire)
        self.incidents = IncidentCalls(self._wire)

    async def list(self, who: Credential, collection: str, *, after: str = "", limit: int = 100, **wanted: str) -> dict[str, Any]:
        """A page: `entries` (or `rights`, which may be of one `consumer` or `service`) and `next`."""
        return await self._wire.get(who, f"/{collection}", after=after, limit=limit, **wanted)

    async def suspend(self, who: Credential, collection: str, identifier: str, cause: str) -> dict[str, Any]:
        """Suspend an entry: nothing is released that stands on it once this has returned."""
        return await self._wire.send(who, "POST", f"/{collection}/{quote(identifier)}/suspension", {"cause": cause})

    async def lift(self, who: Credential, collection: str, identifier: str) -> dict[str, Any]:
        """End a suspension."""
        return await self._wire.send(who, "POST", f"/{collection}/{quote(identifier)}/lifting")

    async def register_right(self, who: Credential, document: Mapping[str, Any], grant: str, acceptance: str) -> dict[str, Any]:
        """Register a right that provider (`grant`) and consumer (`acceptance`) have signed with `sign_right`."""
        body = {"document": dict(document), "grant": grant, "acceptance": acceptance}
        return await self._wire.send(who, "POST", "/rights", body)

    async def find_right(self, who: Credential, identifier: str) -> dict[str, Any]:
        """One right with both its signatures. Raises `not-found`."""
        return await self._wire.get(who, f"/rights/{quote(identifier)}")

    async def suspend_right(self, who: Credential, identifier: str, reason: str, side: str | None = None) -> dict[str, Any]:
        """Suspend a right for one's own side: nothing is released on it once this has returned."""
        body = {"reason": reason, "side": side}
        return await self._wire.send(who, "POST", f"/rights/{quote(identifier)}/suspension", body)

    async def lift_right(self, who: Credential, identifier: str, side: str | None = None) -> dict[str, Any]:
        """End one's own side's suspension."""
        return await self._wire.send(who, "POST", f"/rights/{quote(identifier)}/lifting", {"side": side})

    async def revoke_right(self, who: Credential, identifier: str, cause: str) -> dict[str, Any]:
        """Revoke a right: nothing is released on it once this has returned."""
        return await self._wire.send(who, "POST", f"/rights/{quote(identifier)}/revocation", {"cause": cause})
