"""The registry's way to ask the audit in the course of a case."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2

from audit.cases import ROLE, KnownAccess, Receivers
from exchange.clock import Clock
from exchange.keys import SigningKey
from exchange.wire import Machine, Wire


class CaseCalls:
    """案件协查调用. Signed with the registry's key. Each raises the Problem answered, `audit-unavailable` if nobody answers."""

    def __init__(self, url: str, http: httpx2.AsyncClient, key: SigningKey, clock: Clock) -> None:
        """`url` is the audit's base URL."""
        self._wire, self._self = Wire(url, http, clock, away="audit-unavailable"), Machine(ROLE, key)

    async def access(self, case: str, subject: str, n: int, epoch: int | None = None) -> KnownAccess:
        """What row `n` of a person's list says."""
        asked = {"case": case, "subject": subject, "n": n, **({} if epoch is None else {"epoch": epoch})}
        return KnownAccess.model_validate(await self._wire.send(self._self, "POST", "/cases/access", asked))

    async def receivers(self, case: str, subject: str, service: str, names: Sequence[str]) -> Receivers:
        """Who received one of these values of a service about a person."""
        asked = {"case": case, "subject": subject, "service": service, "names": list(names)}
        return Receivers.model_validate(await self._wire.send(self._self, "POST", "/cases/receivers", asked))
