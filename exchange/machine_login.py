"""A program's log-in: an access token from the issuer's token endpoint (RFC 6749, section 4.3), renewed before it ends.

Of an account of its own, so that what the program reads is recorded under its name. An installation whose issuer knows
another way of logging machines in gives the program a file with a token instead, and renews that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from exchange.canonical import parse_json
from exchange.clock import Clock
from exchange.problem import Problem

_SECONDS: Final = 5
_BEFORE_SECONDS: Final = 60


@dataclass(slots=True)
class MachineLogin:
    """程序登录. `url` is the token endpoint; `password_file` (mode 0600) is read at each log-in."""

    http: httpx2.AsyncClient
    url: str
    account: str
    password_file: Path
    clock: Clock
    _token: str = ""
    _until: float = float("-inf")

    async def renew(self) -> None:
        """Log in again if the token ends within a minute. Raises Problem `unauthenticated`, `provider-unavailable`."""
        if self.clock.now() < self._until - _BEFORE_SECONDS:
            return
        password = self.password_file.read_text(encoding="utf-8").strip()
        form = {"grant_type": "password", "username": self.account, "password": password}
        began = self.clock.now()
        try:
            answer = await self.http.post(self.url, data=form, timeout=_SECONDS)
        except httpx2.HTTPError as error:
            raise Problem("provider-unavailable", "the issuer cannot be reached", reason=type(error).__name__) from error
        if answer.status_code != httpx2.codes.OK:
            raise Problem("unauthenticated", "the issuer refuses the log-in", reason=f"status {answer.status_code}")
        document: Any = parse_json(answer.content)
        try:
            self._token, self._until = str(document["access_token"]), began + int(document["expires_in"])
        except (KeyError, TypeError, ValueError):
            raise Problem("provider-unavailable", "the issuer's answer cannot be read") from None

    def token(self) -> str:
        """The token of the last log-in; empty before the first."""
        return self._token
