"""What a right allows a day holds over both gateways: who asks beyond it is told which limit, and when to come back."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from gateway.client import Wanted
from gateway.model import CHECKS, DenyReason
from tests.journeys.stage import Stage, both
from tests.journeys.test_grounds import HOUSEHOLD, right_document

PROVIDER = "public-security"


def wanted_of(stage: Stage, subject: str, **more: Any) -> Wanted:
    return stage.wanted(HOUSEHOLD, subject, items=["household_number"], **more)


@asynccontextmanager
async def right(stage: Stage, name: str, *, legal_basis: str | None = None, **limits: int) -> AsyncIterator[str]:
    """A right of the transfer system on households, registered within the block."""
    document = right_document(stage, application=f"{stage.case}-{name}")
    document["conditions"] = {**document["conditions"], **limits}
    document["legal_basis"] = legal_basis or document["legal_basis"]
    registered = await stage.register_right(document)
    try:
        yield registered
    finally:
        await stage.registry().revoke_right(await stage.session.token("registrar"), registered, "the test is over")


async def asked(stage: Stage, subject: str, gateway: str, **more: Any) -> httpx2.Response:
    return await stage.send(stage.prepare(wanted_of(stage, subject, **more)), gateway)


def require_told(answer: httpx2.Response, limit: str, allowed: int) -> None:
    """The refusal names the limit, says when the next day begins, and that nothing left."""
    document = answer.json()
    assert (answer.status_code, document["code"], document["limit"]) == (429, "quota-exceeded", limit)
    assert document["detail"].startswith(f"{limit}: the right allows {allowed} ")
    assert 0 < int(answer.headers["retry-after"]) == document["retry_after"] <= 86_400
    assert document["data_left"] is False


async def test_the_request_after_the_last_of_a_day_is_refused_on_both_gateways_and_troubles_no_provider(stage: Stage) -> None:
    buyer, (first, second) = stage.exchange.cast.buyer.id, both(stage.session.gateways)
    async with right(stage, "requests", requests_a_day=4):
        for gateway in (first, second, first, second):
            await stage.served(wanted_of(stage, buyer), gateway)
        refused = [await asked(stage, buyer, gateway) for gateway in (second, first)]
        # Both have learnt it: from now on they refuse without asking, so it does not matter that nobody would answer.
        stage.exchange.supervisor.kill(PROVIDER, signal.SIGSTOP)
        try:
            refused += [await asked(stage, buyer, gateway) for gateway in (second, first)]
        finally:
            stage.exchange.supervisor.kill(PROVIDER, signal.SIGCONT)
        for answer in refused:
            require_told(answer, "requests_a_day", 4)
        codes = [code for code in await stage.entry_codes() if code != "right-missing"]
        assert codes == ["release"] * 4 + ["quota-exceeded"] * 4
        for answer in refused:
            explained = await stage.session.consumer().explain(answer.json()["request_id"])
            assert explained["code"] == "quota-exceeded"
            checks = list(CHECKS[: CHECKS.index(DenyReason.QUOTA_EXCEEDED) + 1])
            assert [check["check"] for check in explained["checks"]] == checks
            assert [check["passed"] for check in explained["checks"]] == [True] * (len(checks) - 1) + [False]
        # Another right that covers the same is not missed.
        async with right(stage, "more", requests_a_day=2):
            for gateway in (first, second):
                await stage.served(wanted_of(stage, buyer), gateway)


async def test_who_was_asked_about_today_may_be_asked_about_again_and_nobody_new(stage: Stage) -> None:
    cast, (first, second) = stage.exchange.cast, both(stage.session.gateways)
    buyer, seller, spouse = cast.buyer.id, cast.seller.id, cast.buyer_spouse.id
    async with right(stage, "subjects", subjects_a_day=2):
        for subject, gateway in ((buyer, first), (seller, second)):
            await stage.served(wanted_of(stage, subject), gateway)
        for gateway in (first, second, first):
            require_told(await asked(stage, spouse, gateway), "subjects_a_day", 2)
            for subject in (buyer, seller):
                assert (await asked(stage, subject, gateway)).status_code == 200
        batch = await stage.batch(HOUSEHOLD, [buyer, spouse, seller], items=["household_number"])
        assert [each.get("code", "released") for each in batch.json()] == ["released", "quota-exceeded", "released"]
        assert 0 < batch.json()[1]["retry_after"] <= 86_400
        refusals = await stage.entries(code="quota-exceeded", subject=spouse)
        assert len(refusals) == 4
        audit = stage.session.audit(await stage.session.token("auditor"))
        for refusal in refusals:
            opened = await audit.entry(refusal.serial, "journeys of the test run")
            assert (opened.body or {})["limit"] == "subjects_a_day"


async def test_a_quota_that_is_used_up_is_told_before_anybody_looks_for_a_consent(stage: Stage) -> None:
    buyer, gateways = stage.exchange.cast.buyer.id, both(stage.session.gateways)
    async with right(stage, "consent", legal_basis="consent", requests_a_day=1):
        consent = await stage.give_consent("citizen", HOUSEHOLD, items=["household_number"])
        await stage.served(wanted_of(stage, buyer, consent=consent), gateways[0])
        answers = [await asked(stage, buyer, gateway, consent=consent) for gateway in gateways]
        stage.exchange.supervisor.kill("identity", signal.SIGSTOP)
        try:
            answers += [await asked(stage, buyer, gateway, consent=consent) for gateway in gateways]
        finally:
            stage.exchange.supervisor.kill("identity", signal.SIGCONT)
        for answer in answers:
            require_told(answer, "requests_a_day", 1)
