"""A story that a running exchange tells: what its steps share, and how each says what it has seen happen."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from departments.client import Cast
from deploy.home import INSTANCE
from deploy.local import LocalExchange
from deploy.session import Session
from deploy.speech import Speaker
from exchange.problem import Problem
from gateway.client import Fetched, Wanted

PURPOSE = "real-estate-transfer"
CASE, OFFICER = "2026-0417", "officer-007"
RECOVERY_SECONDS = 20


class StoryError(AssertionError):
    """A step did not come out as told."""


@dataclass(slots=True)
class Story:
    """演示. The steps share what they learned: receipts, and the consent that was given."""

    session: Session
    exchange: LocalExchange
    speaker: Speaker
    receipts: list[Fetched] = field(default_factory=list)
    learned: list[Fetched] = field(default_factory=list)
    """Receipts of what subscribers asked after an event."""
    consent: str = ""
    first_request: str = ""

    @property
    def cast(self) -> Cast:
        """Who plays what."""
        return self.exchange.cast

    def wanted(self, service: str, subject: str, **more: Any) -> Wanted:
        """A question of the case's officer."""
        return Wanted(f"{INSTANCE}/GOV/{service}", subject, PURPOSE, officer=OFFICER, case=CASE, **more)

    async def fetch(self, wanted: Wanted) -> Fetched:
        """Ask as the transfer system, and keep the receipt."""
        fetched = await self.session.consumer().fetch(wanted)
        self.receipts.append(fetched)
        return fetched

    def require(self, holds: bool, zh: str, en: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Say what was seen, or end the story. Raises StoryError."""
        if not holds:
            self.speaker.bad(zh, en)
            raise StoryError(en)
        self.speaker.good(zh, en)

    async def require_refusal(self, code: str, work: Awaitable[object], zh: str, en: str) -> Problem:
        """The work must be refused with `code`. Raises StoryError."""
        try:
            await work
        except Problem as problem:
            self.require(
                problem.code == code,
                f"{zh}（{problem.code}：{problem.kind.title_zh}）",
                f"{en} ({problem.code}: {problem.detail})",
            )
            return problem
        self.require(holds=False, zh=zh, en=en)
        raise StoryError(en)
