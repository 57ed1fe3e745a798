"""A client's calls about disputes of an access."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exchange.wire import Credential, Wire


class DisputeCalls:
    """查阅异议调用. `who` is a person's token or a Machine. Changes answer the dispute as it is then, without what was said."""

    def __init__(self, wire: Wire) -> None:
        """`wire` leads to the registry."""
        self._wire = wire

    async def ask(self, who: Credential, n: int, words: str, *, epoch: int | None = None) -> dict[str, Any]:
        """Ask why row `n` of one's own list came about."""
        asked = {"n": n, "words": words, **({} if epoch is None else {"epoch": epoch})}
        return await self._wire.send(who, "POST", "/access-disputes", asked)

    async def answer(self, who: Credential, dispute: Mapping[str, Any], outcome: str, words: str) -> dict[str, Any]:
        """As the provider: `justify` or `remedy`."""
        return await self._take(who, dispute, "answer", outcome=outcome, words=words)

    async def escalate(self, who: Credential, dispute: Mapping[str, Any], words: str) -> dict[str, Any]:
        """As the person: bring it before the authority."""
        return await self._take(who, dispute, "escalation", words=words)

    async def decide(self, who: Credential, dispute: Mapping[str, Any], *, upheld: bool, words: str) -> dict[str, Any]:
        """As the authority: the provider has to act, or the matter is closed."""
        return await self._take(who, dispute, "decision", upheld=upheld, words=words)

    async def withdraw(self, who: Credential, dispute: Mapping[str, Any], words: str | None = None) -> dict[str, Any]:
        """As the person: take it back."""
        return await self._take(who, dispute, "withdrawal", words=words)

    async def show(self, who: Credential, number: int) -> dict[str, Any]:
        """One dispute, with what was said as far as the caller may read it."""
        return await self._wire.get(who, f"/access-disputes/{number}")

    async def page(self, who: Credential, *, after: int = 0, limit: int = 100, state: str | None = None) -> dict[str, Any]:
        """A page of disputes."""
        return await self._wire.get(who, "/access-disputes", after=after, limit=limit, state=state)

    async def _take(self, who: Credential, dispute: Mapping[str, Any], path: str, **members: Any) -> dict[str, Any]:
        place = f"/access-disputes/{dispute['number']}/{path}"
        return await self._wire.send(who, "POST", place, members, revision=dispute["revision"])
