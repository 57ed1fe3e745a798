"""Which rights are used up for today, as far as this gateway has learnt.

A request that the fence would refuse for its quota is refused before a provider or identity is asked. The fence stays the
judge; this only spares others the work.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from audit.client import DailyQuota, QuotaLimit
from exchange.clock import Clock
from registry.client import AccessRight

KNOWN_SECONDS: Final = 1.0
MAX_KNOWN: Final = 4096
_DAY: Final = 86_400
_EAST: Final = 8 * 3600

Ask = Callable[[str, bytes], Awaitable[QuotaLimit | None]]


def day_end(now: float) -> int:
    """The next midnight in China, unix seconds."""
    return (math.floor(now) + _EAST) // _DAY * _DAY + _DAY - _EAST


def describe(limit: QuotaLimit, stated: AccessRight | DailyQuota) -> str:
    """What may be said to the consumer: which limit of its right it is, and how much that is."""
    allowed = stated.requests_a_day if limit is QuotaLimit.REQUESTS else stated.subjects_a_day
    return f"{limit}: the right allows {allowed} and none is left today (China time)"


def particulars(limit: QuotaLimit, now: float) -> dict[str, Any]:
    """The members that a problem document has for it: the limit, and the seconds until the next day."""
    return {"limit": limit.value, "retry_after": math.ceil(day_end(now) - now)}


class SpentQuotas:
    """限额用尽登记. Rights that the fence has refused today are asked about before each request, until their day ends.

    What is found used up is believed for a second, so that one that is given back is not missed for longer; what is not used
    up is not remembered at all.
    """

    def __init__(self, ask: Ask, token_of: Callable[[str, str], bytes], clock: Clock) -> None:
        """`ask(right, token)` asks the database; `token_of(right, subject)` makes the token."""
        self._ask, self._token_of, self._clock = ask, token_of, clock
        self._watched: dict[str, int] = {}
        self._known: dict[tuple[str, bytes], tuple[QuotaLimit, float]] = {}

    def note(self, right_id: str, token: bytes, limit: QuotaLimit) -> None:
        """The fence refused a release for this limit of the right: ask before troubling a provider again today."""
        now = self._clock.now()
        self._watched = {name: end for name, end in self._watched.items() if end > now}
        self._watched[right_id] = day_end(now)
        self._remember(right_id, token, limit, now)

    async def find(self, rights: Iterable[AccessRight], subject: str) -> dict[str, QuotaLimit]:
        """Which of these rights are used up today for that subject, and by which limit. Raises Problem `audit-unavailable`."""
        if not self._watched:
            return {}
        found: dict[str, QuotaLimit] = {}
        for right in rights:
            if self._watched.get(right.id, 0) > self._clock.now() and (limit := await self._look(right.id, subject)):
                found[right.id] = limit
        return found

    async def _look(self, right_id: str, subject: str) -> QuotaLimit | None:
        token, now = self._token_of(right_id, subject), self._clock.now()
        for key in ((right_id, b""), (right_id, token)):
            limit, noted_at = self._known.get(key, (None, 0.0))
            # A clock that was set back must not make a memory last.
            if limit is not None and 0 <= now - noted_at < KNOWN_SECONDS:
                return limit
        limit = await self._ask(right_id, token)
        if limit is not None:
            self._remember(right_id, token, limit, now)
        return limit

    def _remember(self, right_id: str, token: bytes, limit: QuotaLimit, now: float) -> None:
        """Requests are used up for everybody, subjects only for those who are not among them."""
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[right_id, b"" if limit is QuotaLimit.REQUESTS else token] = limit, now
