"""A client's calls about filings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchange.wire import Credential, Wire

STEP_PATHS: Mapping[str, str] = {
    "submit": "submission",
    "withdraw": "withdrawal",
    "return": "return",
    "approve": "approval",
    "publish": "publication",
    "deprecate": "deprecation",
    "revive": "revival",
    "archive": "archiving",
}


class FilingCalls:
    """登记申报调用. `who` is a person's token or a Machine. Each answers the filing as it is then; raises Problem as answered."""

    def __init__(self, wire: Wire) -> None:
        """`wire` leads to the registry."""
        self._wire = wire

    async def draft(
        self, who: Credential, kind: str, document: Mapping[str, Any], catalogue: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Begin a filing: `kind` is member, subsystem, gateway, service or purpose."""
        body = {"kind": kind, "document": dict(document), "catalogue": None if catalogue is None else dict(catalogue)}
        return await self._wire.send(who, "POST", "/filings", body)

    async def rewrite(
        self, who: Credential, filing: Mapping[str, Any], document: Mapping[str, Any], catalogue: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Put other papers into a draft."""
        body = {"document": dict(document), "catalogue": None if catalogue is None else dict(catalogue)}
        return await self._wire.send(who, "PUT", f"/filings/{filing['number']}", body, revision=filing["revision"])

    async def take(self, who: Credential, filing: Mapping[str, Any], step: str, **members: Any) -> dict[str, Any]:
        """Take a step with the filing as it was read: `step` of STEP_PATHS, `members` of its form."""
        path = f"/filings/{filing['number']}/{STEP_PATHS[step]}"
        return await self._wire.send(who, "POST", path, members, revision=filing["revision"])

    async def carry_through(
        self,
        submitter: Credential,
        approver: Credential,
        kind: str,
        document: Mapping[str, Any],
        *,
        catalogue: Mapping[str, Any] | None = None,
        report: str | None = None,
    ) -> dict[str, Any]:
        """The whole way of a filing that nobody objects to: drafted and submitted by one, approved and published by another."""
        filing = await self.draft(submitter, kind, document, catalogue)
        filing = await self.take(submitter, filing, "submit")
        filing = await self.take(approver, filing, "approve")
        return await self.take(approver, filing, "publish", report=report)

    async def show(self, who: Credential, number: int) -> dict[str, Any]:
        """One filing with its history."""
        return await self._wire.get(who, f"/filings/{number}")

    async def page(self, who: Credential, *, after: int = 0, limit: int = 100, **wanted: str | None) -> dict[str, Any]:
        """A page of filings; `wanted` may be kind, state, id."""
        return await self._wire.get(who, "/filings", after=after, limit=limit, **wanted)
