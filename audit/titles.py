"""What things are called, in plain words: asked of identity, which tells people the same before they consent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx2

from exchange.clock import Clock

_SECONDS: Final = 2
_KEPT_SECONDS: Final = 600
_ASKED_AGAIN_SECONDS: Final = 5
_MOST: Final = 10_000

Title = dict[str, str]


@dataclass(slots=True)
class Titles:
    """名称簿. Remembers answers for ten minutes; whatever identity cannot say has no title, and its code speaks for itself."""

    http: httpx2.AsyncClient
    url: str | None
    clock: Clock
    _known: dict[tuple[str, str], tuple[float, Title | None]] = field(default_factory=dict)

    async def of(self, kind: str, identifier: Any) -> Title | None:
        """`{"zh-CN", "en"}` of a consumer, service or purpose; None if there is no such title, or nobody to ask."""
        if self.url is None or not isinstance(identifier, str):
            return None
        until, title = self._known.get((kind, identifier), (0.0, None))
        if self.clock.now() < until:
            return title
        answer, kept = await self._ask(kind, identifier)
        if len(self._known) >= _MOST:
            self._known.clear()
        # One that is away does not take away what was known.
        title = answer if kept == _KEPT_SECONDS else title
        self._known[kind, identifier] = (self.clock.now() + kept, title)
        return title

    async def _ask(self, kind: str, identifier: str) -> tuple[Title | None, float]:
        try:
            answer = await self.http.get(f"{self.url}/catalogue/{kind}/{quote(identifier)}", timeout=_SECONDS)
            if answer.status_code == 404:
                return None, _KEPT_SECONDS
            document = answer.raise_for_status().json()
            return {"zh-CN": str(document["title_zh"]), "en": str(document["title_en"])}, _KEPT_SECONDS
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return None, _ASKED_AGAIN_SECONDS
