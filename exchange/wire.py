"""How a client's call reaches a control plane: with a person's token, or signed by a subsystem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx2

from exchange.canonical import canonical, parse_json
from exchange.clock import Clock, SystemClock
from exchange.envelope import HttpRequest, Tag, sign_request
from exchange.keys import SigningKey
from exchange.problem import PROBLEMS, Problem

_TIMEOUT_SECONDS: Final = 10.0
_MAX_ANSWER_BYTES: Final = 33_554_432
_OWN_MEMBERS = frozenset(
    ("type", "code", "title", "status", "detail", "message", "advice", "retry", "request_id", "data_left", "explain")
)


@dataclass(frozen=True, slots=True)
class Machine:
    """业务系统凭证. A subsystem (slash form) and its registered key."""

    subsystem: str
    key: SigningKey = field(repr=False)


Credential = str | Machine
"""A person's access token, or a subsystem that signs."""


class Wire:
    """调用通道. Raises Problem as it was answered, or with the code `away` where nobody can be reached."""

    def __init__(self, url: str, http: httpx2.AsyncClient, clock: Clock | None = None, *, away: str = "registry-stale") -> None:
        """`url` is a base URL."""
        self._url, self._http, self._clock, self._away = url.rstrip("/"), http, clock or SystemClock(), away

    async def get(self, who: Credential, path: str, **query: object) -> dict[str, Any]:
        """Read; members of the query that are None are left out."""
        return await self.send(who, "GET", path, query={name: str(value) for name, value in query.items() if value is not None})

    async def send(
        self,
        who: Credential,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        revision: int | None = None,
        once: str | None = None,
        seconds: float = _TIMEOUT_SECONDS,
    ) -> dict[str, Any]:
        """Make a call. `path` is percent-encoded already; `revision` goes as If-Match, `once` as Idempotency-Key."""
        content = b"" if body is None else canonical(dict(body))
        extra = {
            "content-type": "application/json" if content else None,
            "if-match": None if revision is None else f'"{revision}"',
            "idempotency-key": once,
        }
        headers = [(name, value) for name, value in extra.items() if value is not None]
        target = urlencode(query or {})
        headers = self._authorized(who, method, path, target, headers, content)
        try:
            url = f"{self._url}{path}?{target}" if target else self._url + path
            answer = await self._http.request(method, url, headers=headers, content=content, timeout=seconds)
        except httpx2.HTTPError as error:
            raise Problem(self._away, reason=f"cannot be reached: {type(error).__name__}") from None
        return _read(answer)

    def _authorized(
        self, who: Credential, method: str, path: str, query: str, headers: list[tuple[str, str]], content: bytes
    ) -> list[tuple[str, str]]:
        if isinstance(who, str):
            return [*headers, ("authorization", f"Bearer {who}")]
        named = [*headers, ("x-road-client", who.subsystem)]
        plain = HttpRequest(method, path, query, urlsplit(self._url).netloc, named, content)
        return list(sign_request(who.key, plain, tag=Tag.CONTROL, now=self._clock.now()).headers)


def _read(answer: httpx2.Response) -> dict[str, Any]:
    try:
        document = parse_json(answer.content, max_bytes=_MAX_ANSWER_BYTES)
    except Problem:
        document = None
    found: dict[str, Any] = document if isinstance(document, dict) else {}
    if answer.is_success:
        return found
    code = str(found.get("code"))
    extra = {name: value for name, value in found.items() if name not in _OWN_MEMBERS}
    reason = f"status {answer.status_code}"
    raise Problem(code if code in PROBLEMS else "internal", str(found.get("detail", "")), **{**extra, "reason": reason})
