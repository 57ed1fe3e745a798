"""What the exchange said during a run: every answer with data, every refusal, as it came over the wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx2

from exchange.canonical import parse_json
from exchange.question import DATA_PREFIX


@dataclass(frozen=True, slots=True)
class Refusal:
    """拒绝应答. A problem as a caller got it."""

    url: httpx2.URL
    status: int
    headers: httpx2.Headers
    body: bytes

    @property
    def code(self) -> str:
        """The stable code."""
        return str(parse_json(self.body)["code"])


@dataclass(slots=True)
class Traffic:
    """往来记录. Kept by a hook on every HTTP client of the journeys."""

    presentations: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def codes_of(self, origins: Sequence[str]) -> Counter[str]:
        """How often data requests to these base URLs were refused, by code."""
        places = {httpx2.URL(origin).netloc for origin in origins}
        asked = (each for each in self.refusals if each.url.netloc in places and each.url.path.startswith(DATA_PREFIX))
        return Counter(each.code for each in asked)

    async def note(self, answer: httpx2.Response) -> None:
        """The hook."""
        path = answer.request.url.path
        if answer.status_code >= 400:
            self.refusals.append(Refusal(answer.request.url, answer.status_code, answer.headers, await answer.aread()))
        elif path.startswith(DATA_PREFIX):
            self.presentations += _presentations(answer.headers["content-type"], await answer.aread())


def _presentations(media: str, body: bytes) -> list[str]:
    if media == "application/sd-jwt":
        return [body.decode("ascii")]
    document = parse_json(body, max_bytes=16_777_216)
    documents = document if isinstance(document, list) else [document]
    return [each["receipt"] for each in documents if "receipt" in each]
