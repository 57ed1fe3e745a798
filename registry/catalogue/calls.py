"""A client's calls about the catalogue."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from exchange.wire import Credential, Wire


class CatalogueCalls:
    """目录调用. `who` is a person's token or a Machine; `service` is an identifier in slash form."""

    def __init__(self, wire: Wire) -> None:
        """`wire` leads to the registry."""
        self._wire = wire

    async def search(
        self, who: Credential, words: str = "", *, after: str | None = None, limit: int = 50, **filters: str | int | None
    ) -> dict[str, Any]:
        """A page of data sets; `filters` may be provider, theme, sharing_class, subject_kind, most_classification, has_events."""
        return await self._wire.get(who, "/catalogue", q=words, after=after, limit=limit, **filters)

    async def show(self, who: Credential, service: str) -> dict[str, Any]:
        """The version of a data set that stands, with its entry."""
        return await self._wire.get(who, f"/catalogue/{quote(service)}")

    async def versions(self, who: Credential, service: str) -> dict[str, Any]:
        """All its versions, newest first."""
        return await self._wire.get(who, f"/catalogue/{quote(service)}/versions")

    async def difference(self, who: Credential, service: str, before: int, after: int) -> dict[str, Any]:
        """What changed for consumers between two versions."""
        return await self._wire.get(who, f"/catalogue/{quote(service)}/difference", **{"from": before, "to": after})

    async def openapi(self, who: Credential, service: str) -> dict[str, Any]:
        """The OpenAPI 3.1 document of a data set."""
        return await self._wire.get(who, f"/catalogue/{quote(service)}/openapi")

    async def asyncapi(self, who: Credential, service: str) -> dict[str, Any]:
        """The AsyncAPI 3.0 document of a data set's event types. Raises `not-found` where it has none."""
        return await self._wire.get(who, f"/catalogue/{quote(service)}/asyncapi")

    async def propose(self, who: Credential, description: str, path: str, method: str = "get") -> dict[str, Any]:
        """A draft of a data set from the OpenAPI description (text) of an existing system."""
        return await self._wire.send(
            who, "POST", "/catalogue/proposals", {"description": description, "path": path, "method": method}
        )
