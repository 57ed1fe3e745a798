"""The way into the registry for other packages: what they may import, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx2

from exchange.canonical import canonical, parse_json
from exchange.problem import PROBLEMS, Problem
from registry.describe import describe_service
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
    "EventForm",
    "FactEntry",
    "Gateway",
    "ItemEntry",
    "KeyEntry",
    "Member",
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
    "parse_right",
    "right_id",
    "sign_right",
]

_TIMEOUT_SECONDS: Final = 10.0
_MAX_ANSWER_BYTES: Final = 33_554_432


class RegistryClient:
    """登记客户端. The registrar's and the readers' calls; each with a person's access token. Raises Problem as answered."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        """`url` is the registry's base URL."""
        self._url, self._http = url.rstrip("/"), http

    async def register(self, token: str, collection: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Add an entry to `members`, `subsystems`, `gateways`, `purposes` or `services`."""
        return await self._send("POST", f"/{collection}", token, entry)

    async def amend(self, token: str, collection: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Change an entry; `entry` holds the `revision` that was read. Raises `conflict` if there is a newer one."""
        return await self._send("PUT", f"/{collection}", token, entry)

    async def list(self, token: str, collection: str, *, after: str = "", limit: int = 100, **wanted: str) -> dict[str, Any]:
        """A page: `entries` (or `rights`, which may be of one `consumer` or `service`) and `next`."""
        query = "&".join(
            f"{name}={quote(str(value), safe='')}" for name, value in {"after": after, "limit": limit, **wanted}.items()
        )
        return await self._send("GET", f"/{collection}?{query}", token)

    async def suspend(self, token: str, collection: str, identifier: str, cause: str) -> dict[str, Any]:
        """Suspend an entry: nothing is released that stands on it once this has returned."""
        return await self._send("POST", f"/{collection}/{quote(identifier)}/suspension", token, {"cause": cause})

    async def lift(self, token: str, collection: str, identifier: str) -> dict[str, Any]:
        """End a suspension."""
        return await self._send("POST", f"/{collection}/{quote(identifier)}/lifting", token)

    async def register_right(self, token: str, document: Mapping[str, Any], grant: str, acceptance: str) -> dict[str, Any]:
        """Register a right that provider (`grant`) and consumer (`acceptance`) have signed with `sign_right`."""
        return await self._send("POST", "/rights", token, {"document": dict(document), "grant": grant, "acceptance": acceptance})

    async def find_right(self, token: str, identifier: str) -> dict[str, Any]:
        """One right with both its signatures. Raises `not-found`."""
        return await self._send("GET", f"/rights/{quote(identifier)}", token)

    async def revoke_right(self, token: str, identifier: str, cause: str) -> dict[str, Any]:
        """Revoke a right: nothing is released on it once this has returned."""
        return await self._send("POST", f"/rights/{quote(identifier)}/revocation", token, {"cause": cause})

    async def _send(self, method: str, path: str, token: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        content = b"" if body is None else canonical(dict(body))
        headers = {"authorization": f"Bearer {token}", **({"content-type": "application/json"} if content else {})}
        try:
            answer = await self._http.request(
                method, self._url + path, headers=headers, content=content, timeout=_TIMEOUT_SECONDS
            )
        except httpx2.HTTPError as error:
            raise Problem("registry-stale", reason=f"the registry cannot be reached: {type(error).__name__}") from None
        document = _object(answer)
        if not answer.is_success:
            code = str(document.get("code"))
            raise Problem(
                code if code in PROBLEMS else "internal", str(document.get("detail", "")), reason=f"status {answer.status_code}"
            )
        return document


def _object(answer: httpx2.Response) -> dict[str, Any]:
    try:
        document = parse_json(answer.content, max_bytes=_MAX_ANSWER_BYTES)
    except Problem:
        document = None
    return document if isinstance(document, dict) else {}
