"""Whether data left: what a refusal says of its own attempt, and what a consumer finds wrong with an answer that has come."""

from __future__ import annotations

import json

from deploy.home import Home
from exchange.problem import Problem
from gateway.client import Prepared, read_batch
from tests.journeys.dishonest import hide
from tests.journeys.stage import DEED_TAX, IDENTITY, Stage, refused


async def test_an_answer_that_hides_something_has_left_all_the_same(stage: Stage) -> None:
    prepared = stage.prepare(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, facts={"is_adult": {}, "id_is_valid": {}}))
    honest = stage.read(await stage.send(prepared), prepared)
    shortened = hide(honest.answer, "id_is_valid", Home(stage.exchange.root))
    with refused("record-incomplete") as caught:
        stage.read_text(shortened, prepared)
    assert caught.value.document()["data_left"] is True


async def test_an_answer_to_another_question_has_left_all_the_same(stage: Stage) -> None:
    mine, others = (stage.prepare(stage.wanted(DEED_TAX, who, facts={"deed_tax_paid": {}})) for who in people(stage))
    answer = await stage.send(others)
    stage.read(answer, others)
    with refused("record-invalid") as caught:
        stage.read(answer, mine)
    assert caught.value.document()["data_left"] is True


async def test_in_a_batch_each_position_says_it_for_itself(stage: Stage) -> None:
    first, second = (stage.prepare(stage.wanted(DEED_TAX, who, facts={"deed_tax_paid": {}})) for who in people(stage))
    presentations = [stage.read(await stage.send(each), each).presentation for each in (first, second)]
    said = Problem("quota-exceeded").document("x")
    came = [
        position(each)
        for each in batch(stage, [{"receipt": presentations[1]}, {"receipt": "\u4f4f"}, said], [first, first, second])
    ]
    assert came == [("record-invalid", True), ("record-invalid", True), ("quota-exceeded", False)]
    bodies: tuple[object, ...] = ([], "nothing")
    for body in bodies:
        with refused("record-invalid") as caught:
            batch(stage, body, [first])
        assert caught.value.document()["data_left"] is True


def people(stage: Stage) -> tuple[str, str]:
    """Two who are in the register."""
    return stage.exchange.cast.buyer.id, stage.exchange.cast.indebted_buyer.id


def batch(stage: Stage, body: object, prepared: list[Prepared]) -> list[object]:
    """What a consumer reads out of a batch's answer with this body."""
    now = stage.session.clock.now()
    return list(read_batch(200, json.dumps(body).encode(), prepared, stage.session.trust.current(), now=now))


def position(read: object) -> tuple[str, bool]:
    """Code, and whether it is said that data left, of a position that must have failed."""
    assert isinstance(read, Problem)
    return read.code, bool(read.document()["data_left"])


async def test_a_refusal_speaks_of_its_own_attempt_and_a_conflict_of_what_left_before(stage: Stage) -> None:
    about = stage.exchange.cast.buyer.id
    used = {"request_id": f"{stage.case}-1"}
    await stage.fetch(stage.wanted(IDENTITY, about, items=["name"], **used))
    uncovered = await stage.send(stage.prepare(stage.wanted(IDENTITY, about, items=["id_valid_until"], **used)))
    assert (uncovered.json()["code"], uncovered.json()["data_left"]) == ("item-not-covered", False)
    again = await stage.send(stage.prepare(stage.wanted(IDENTITY, about, items=["name"], **used)))
    assert (again.json()["code"], again.json()["data_left"]) == ("conflict", True)
    assert await stage.entry_codes() == ["release", "item-not-covered", "conflict"]
