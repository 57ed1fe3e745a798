"""A client's calls about correction requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from exchange.wire import Credential, Wire


class CorrectionCalls:
    """校核调用. `who` is a person's token or a Machine. Changes answer the request as it is then, without what was said."""

    def __init__(self, wire: Wire) -> None:
        """`wire` leads to the registry."""
        self._wire = wire

    async def ask(
        self, who: Credential, *, consumer: str, service: str, request_id: str, subject: str, items: Sequence[str], words: str
    ) -> dict[str, Any]:
        """Tell a provider that the record that answered a request is thought to be wrong in some items."""
        about = {"consumer": consumer, "service": service, "request_id": request_id, "subject": subject}
        return await self._wire.send(who, "POST", "/corrections", {**about, "items": list(items), "words": words})

    async def answer(
        self, who: Credential, correction: Mapping[str, Any], outcome: str, words: str | None = None
    ) -> dict[str, Any]:
        """As the provider: `correct`, `confirm` or `reject`."""
        return await self._take(who, correction, "answer", outcome=outcome, words=words)

    async def dispute(self, who: Credential, correction: Mapping[str, Any], words: str) -> dict[str, Any]:
        """As the consumer: bring an answer before the authority."""
        return await self._take(who, correction, "dispute", words=words)

    async def decide(self, who: Credential, correction: Mapping[str, Any], *, upheld: bool, words: str) -> dict[str, Any]:
        """As the authority: decide a dispute."""
        return await self._take(who, correction, "decision", upheld=upheld, words=words)

    async def withdraw(self, who: Credential, correction: Mapping[str, Any], words: str | None = None) -> dict[str, Any]:
        """As the consumer: take a request back."""
        return await self._take(who, correction, "withdrawal", words=words)

    async def show(self, who: Credential, number: int) -> dict[str, Any]:
        """One correction request, with what was said as far as the caller may read it."""
        return await self._wire.get(who, f"/corrections/{number}")

    async def page(self, who: Credential, *, after: int = 0, limit: int = 100, **wanted: str | None) -> dict[str, Any]:
        """A page of correction requests; `wanted` may be party, state, service."""
        return await self._wire.get(who, "/corrections", after=after, limit=limit, **wanted)

    async def notices(self, who: Credential, *, after: int = 0, limit: int = 100, is_open: bool | None = None) -> dict[str, Any]:
        """A page of notices of corrections to, or by, one's own systems."""
        wanted = None if is_open is None else str(is_open).lower()
        return await self._wire.get(who, "/correction-notices", after=after, limit=limit, open=wanted)

    async def notice(self, who: Credential, number: int) -> dict[str, Any]:
        """One notice, with whom it is about if the caller may read it."""
        return await self._wire.get(who, f"/correction-notices/{number}")

    async def acknowledge(self, who: Credential, number: int) -> dict[str, Any]:
        """As the receiver: what one holds was put right or thrown away."""
        return await self._wire.send(who, "POST", f"/correction-notices/{number}/acknowledgement")

    async def _take(self, who: Credential, correction: Mapping[str, Any], path: str, **members: Any) -> dict[str, Any]:
        place = f"/corrections/{correction['number']}/{path}"
        return await self._wire.send(who, "POST", place, members, revision=correction["revision"])
