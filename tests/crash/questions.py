"""What the tests of this folder ask, and how they read the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from deploy.home import CONSUMER, INSTANCE
from deploy.session import Session
from exchange.problem import Problem
from gateway.client import Consumer, Fetched, Wanted
from tests.support.waiting import LIMIT_S

PURPOSE = "real-estate-transfer"
IDENTITY = f"{INSTANCE}/GOV/public-security/population/resident-identity"
DEED_TAX = f"{INSTANCE}/GOV/tax/taxation/deed-tax"
CONTRIBUTIONS = f"{INSTANCE}/GOV/social-security/insurance/contributions"

Result = TypeVar("Result")


def wanted(service: str, subject: str, **more: Any) -> Wanted:
    """A question of an officer about a case."""
    return Wanted(service, subject, PURPOSE, officer="officer-007", case="2026-0417", **more)


def about_name(subject: str, **more: Any) -> Wanted:
    """A question that the law alone allows: a person's name."""
    return wanted(IDENTITY, subject, items=["name"], **more)


def about_deed_tax(subject: str, **more: Any) -> Wanted:
    """The same, of another department, answered with yes or no."""
    return wanted(DEED_TAX, subject, facts={"deed_tax_paid": {}}, **more)


def about_contributions(subject: str, consent: str | None) -> Wanted:
    """A question that only the person's consent allows."""
    return wanted(CONTRIBUTIONS, subject, facts={"contributed_months_at_least": {"n": 24}}, consent=consent)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a refused question got, and after how long (seconds)."""

    problem: Problem
    seconds: float

    @property
    def code(self) -> str:
        """The stable code."""
        return self.problem.code

    @property
    def request_id(self) -> str:
        """The id under which it was asked."""
        return str(self.problem.extra["request_id"])


async def refusal(consumer: Consumer, question: Wanted) -> Refusal:
    """Ask what must be refused."""
    began = time.monotonic()
    with pytest.raises(Problem) as caught:
        await consumer.fetch(question)
    return Refusal(caught.value, time.monotonic() - began)


async def at_last(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """What an attempt gives, as soon as it is not refused any more."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return await attempt()
        except Problem:
            assert time.monotonic() < deadline, "it was never answered"
        await asyncio.sleep(0.02)


async def answered_at_last(consumer: Consumer, question: Wanted) -> Fetched:
    """The answer to a question, as soon as it is answered again."""
    return await at_last(lambda: consumer.fetch(question))


async def explained(consumer: Consumer, request_id: str) -> dict[str, Any]:
    """What the log says of a request, as soon as it can be asked."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return await consumer.explain(request_id)
        except Problem as problem:
            if problem.code == "not-found":
                return {"outcome": "unknown", "code": None}
            assert time.monotonic() < deadline, "it was never explained"
        await asyncio.sleep(0.02)


async def new_consent(session: Session, subject: str, **more: Any) -> str:
    """The id of a consent that the story's citizen has just given."""
    identity, token = session.identity, await session.token("citizen")
    asked = await identity.ask_consent(
        CONSUMER,
        session.key(),
        subject=subject,
        service=CONTRIBUTIONS,
        purpose=PURPOSE,
        facts={"contributed_months_at_least": [24]},
        **more,
    )
    text = (await identity.show_consent(token, asked["id"]))["texts"][0]
    await identity.grant_consent(token, asked["id"], text_hash=text["text_hash"], language=text["language"])
    return str(asked["id"])
