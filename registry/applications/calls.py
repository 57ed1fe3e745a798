"""A client's calls about applications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchange.wire import Credential, Wire

STEP_PATHS: Mapping[str, str] = {
    "submit": "submission",
    "return": "return",
    "forward": "forwarding",
    "ask-extension": "extension",
    "answer-extension": "extension-answer",
    "grant": "grant",
    "accept": "acceptance",
    "refuse": "refusal",
    "dispute": "dispute",
    "mediate": "mediation",
    "withdraw": "withdrawal",
}


class ApplicationCalls:
    """共享申请调用. `who` is a person's token or a Machine. Each answers the application as it is then."""

    def __init__(self, wire: Wire) -> None:
        """`wire` leads to the registry."""
        self._wire = wire

    async def draft(
        self, who: Credential, document: Mapping[str, Any], papers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Begin an application; `document` is the right as it is asked for, `papers` of PapersForm."""
        body = {"document": dict(document), "papers": dict(papers or {})}
        return await self._wire.send(who, "POST", "/applications", body)

    async def rewrite(
        self, who: Credential, application: Mapping[str, Any], document: Mapping[str, Any], papers: Mapping[str, str]
    ) -> dict[str, Any]:
        """Put other papers into a draft or a supplement."""
        body = {"document": dict(document), "papers": dict(papers)}
        path = f"/applications/{application['number']}"
        return await self._wire.send(who, "PUT", path, body, revision=application["revision"])

    async def take(self, who: Credential, application: Mapping[str, Any], step: str, **members: Any) -> dict[str, Any]:
        """Take a step with the application as it was read: `step` of STEP_PATHS, `members` of its form."""
        path = f"/applications/{application['number']}/{STEP_PATHS[step]}"
        return await self._wire.send(who, "POST", path, members, revision=application["revision"])

    async def show(self, who: Credential, number: int) -> dict[str, Any]:
        """One application with its history."""
        return await self._wire.get(who, f"/applications/{number}")

    async def page(self, who: Credential, *, after: int = 0, limit: int = 100, **wanted: str | None) -> dict[str, Any]:
        """A page of applications; `wanted` may be side, state, service."""
        return await self._wire.get(who, "/applications", after=after, limit=limit, **wanted)
