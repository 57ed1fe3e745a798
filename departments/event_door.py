"""A department's system at its own provider process: says what happened, and sees how publishing goes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx2

from exchange.clock import Clock
from exchange.keys import SigningKey
from exchange.wire import Machine, Wire


class EventDoor:
    """事件发布窗口. `system` (slash form) is of the department whose process it speaks to. Raises Problem as answered."""

    def __init__(self, url: str, system: str, key: SigningKey, http: httpx2.AsyncClient, clock: Clock | None = None) -> None:
        """`url` is the base URL of the department's process."""
        self._wire, self._who = Wire(url, http, clock, away="provider-unavailable"), Machine(system, key)

    async def say(
        self, kind: str, subject: str, values: Mapping[str, Any] | None = None, *, identifier: str | None = None
    ) -> dict[str, Any]:
        """Change the register and say so; where the event stands in the chain. An id that was said happens once."""
        body = {"id": identifier or str(uuid.uuid4()), "type": kind, "subject": subject, "values": dict(values or {})}
        return await self._wire.send(self._who, "POST", "/events", body)

    async def access_records(self, since: datetime, until: datetime, after: int | None = None) -> dict[str, Any]:
        """One page of what the department answered within a window, oldest first: `records`, and `next`."""
        body = {"since": since.isoformat(), "until": until.isoformat(), **({} if after is None else {"after": after})}
        return await self._wire.send(self._who, "POST", "/access-records", body)

    async def lag(self) -> dict[str, Any]:
        """How far publishing has come."""
        return await self._wire.get(self._who, "/events/lag")
