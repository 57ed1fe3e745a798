"""A client's calls about incidents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchange.wire import Credential, Wire


class IncidentCalls:
    """安全事件调用. Each answers the incident as it is then; raises Problem as answered."""

    def __init__(self, wire: Wire) -> None:
        """`wire` leads to the registry."""
        self._wire = wire

    async def open(
        self, who: Credential, kind: str, ground: str, *, reason: str, window: tuple[str, str], once: str | None = None
    ) -> dict[str, Any]:
        """Stop a ground: nothing is released on it once this has returned. `window` is RFC 3339."""
        body = {"kind": kind, "ground": ground, "reason": reason, "window_from": window[0], "window_until": window[1]}
        return await self._wire.send(who, "POST", "/incidents", body, once=once)

    async def explain(self, who: Credential, incident: Mapping[str, Any], **members: Any) -> dict[str, Any]:
        """Publish what happened: text_zh, text_en, releases, subjects."""
        path = f"/incidents/{incident['number']}/explanation"
        return await self._wire.send(who, "POST", path, members, revision=incident["revision"])

    async def close(self, who: Credential, incident: Mapping[str, Any], closing: str) -> dict[str, Any]:
        """Close an explained incident."""
        path = f"/incidents/{incident['number']}/closing"
        return await self._wire.send(who, "POST", path, {"closing": closing}, revision=incident["revision"])

    async def show(self, who: Credential, number: int) -> dict[str, Any]:
        """One incident."""
        return await self._wire.get(who, f"/incidents/{number}")

    async def page(self, who: Credential, *, after: int = 0, limit: int = 100, state: str | None = None) -> dict[str, Any]:
        """A page of incidents."""
        return await self._wire.get(who, "/incidents", after=after, limit=limit, state=state)
