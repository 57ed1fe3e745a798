"""A client's calls about deadlines."""

from __future__ import annotations

from typing import Any

from exchange.wire import Credential, Wire


class DeadlineCalls:
    """期限调用. `who` is a person's token or a Machine."""

    def __init__(self, wire: Wire) -> None:
        """`wire` leads to the registry."""
        self._wire = wire

    async def page(self, who: Credential, *, after: int = 0, limit: int = 100, state: str | None = None) -> dict[str, Any]:
        """A page of deadlines that run; `state` may be warned or overdue."""
        return await self._wire.get(who, "/deadlines", after=after, limit=limit, state=state)

    async def policy(self, who: Credential) -> dict[str, Any]:
        """The policy table."""
        return await self._wire.get(who, "/deadline-policy")

    async def calendar(self, who: Credential, year: int) -> dict[str, Any]:
        """A year of the working calendar."""
        return await self._wire.get(who, "/working-days", year=year)
