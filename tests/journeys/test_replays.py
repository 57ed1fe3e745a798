"""One request, one release: whatever is repeated, however often, wherever, at the same moment."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace

import pytest

from gateway.client import Prepared
from tests.journeys.figures import FIGURES
from tests.journeys.stage import DEED_TAX, Stage

TWINS = 100


async def send_all(stage: Stage, requests: list[Prepared]) -> list[tuple[int, str, bool]]:
    """(status, code or nothing, whether data left) of each, sent at once, in turn to both gateways."""
    answers = await asyncio.gather(*(stage.send(each) for each in requests))
    told = []
    for answer in answers:
        document = answer.json() if answer.status_code != 200 else {"code": "", "data_left": True}
        told.append((answer.status_code, str(document["code"]), bool(document["data_left"])))
    return told


@pytest.mark.invariant("I-38")
async def test_of_a_hundred_copies_of_one_signed_request_one_is_answered(stage: Stage) -> None:
    prepared = stage.prepare(stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}}))
    began = time.monotonic()
    told = await send_all(stage, [prepared] * TWINS)
    FIGURES["I-38 copies of one signed request"] = f"{TWINS} in {time.monotonic() - began:.1f} s: {dict(Counter(told))}"
    assert Counter((status, code) for status, code, _ in told) == {(200, ""): 1, (409, "request-replayed"): TWINS - 1}
    codes = Counter(await stage.entry_codes())
    assert codes == {"release": 1, "request-replayed": TWINS - 1}
    # Once the first is through, every further copy is told so, on either gateway.
    later = await send_all(stage, [prepared] * 4)
    assert set(later) == {(409, "request-replayed", True)}


@pytest.mark.invariant("I-38")
async def test_of_a_hundred_requests_under_one_id_one_is_answered(stage: Stage) -> None:
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}}, request_id=f"{stage.case}-one-id")
    cast = stage.exchange.cast
    questions = [wanted, replace(wanted, subject=cast.indebted_buyer.id)] * (TWINS // 2)
    began = time.monotonic()
    told = await send_all(stage, [stage.prepare(each) for each in questions])
    FIGURES["I-38 requests under one id"] = f"{TWINS} in {time.monotonic() - began:.1f} s: {dict(Counter(told))}"
    assert Counter(told) == {(200, "", True): 1, (409, "conflict", True): TWINS - 1}
    codes = Counter(await stage.entry_codes())
    assert codes == {"release": 1, "conflict": TWINS - 1}


@pytest.mark.invariant("I-38")
async def test_an_id_whose_request_failed_is_free_to_be_used_again(stage: Stage) -> None:
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}}, request_id=f"{stage.case}-again")
    problem = await stage.refusal(stage.prepare(replace(wanted, purpose="enterprise-purchase")))
    assert problem.code == "purpose-not-covered"
    fetched = await stage.fetch(wanted)
    assert fetched.request_id == f"{stage.case}-again"
    assert (await stage.refusal(stage.prepare(wanted))).code == "conflict"


@pytest.mark.invariant("I-38")
async def test_the_id_of_one_consumer_is_nothing_to_another(stage: Stage) -> None:
    request_id = f"{stage.case}-shared"
    consent = await stage.give_consent(
        "citizen", "public-security/population/resident-identity", facts={"is_adult": []}, consumer="CN-YA/COM/anju-bank/lending"
    )
    buyer = stage.exchange.cast.buyer.id
    ours = stage.wanted("public-security/population/resident-identity", buyer, items=["name"], request_id=request_id)
    theirs = replace(ours, items=(), facts={"is_adult": {}}, purpose="mortgage-lending", consent=consent)
    await stage.fetch(ours)
    fetched = await stage.fetch(theirs, consumer="CN-YA/COM/anju-bank/lending")
    assert fetched.facts == {"is_adult": True}
