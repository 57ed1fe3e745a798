"""Many subjects under one signature, by the library and through an outway: each position stands for itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from deploy.home import CONSUMER
from exchange.problem import Problem
from exchange.receipt import verify_presentation
from gateway.client import Batch, Consumer, Fetched, Prepared, SyncConsumer, Wanted, prepare_batch, read_batch
from tests.journeys.stage import DEED_TAX, IDENTITY, Stage, refused
from tests.journeys.test_outway import call, keys_of

NOBODY, NO_NUMBER = "110105194912310038", "11010519491231002"


def people(stage: Stage) -> tuple[str, str, str]:
    """Three citizens who are registered."""
    cast = stage.exchange.cast
    return cast.buyer.id, cast.buyer_spouse.id, cast.indebted_buyer.id


def names(stage: Stage) -> dict[str, str]:
    """The names of the same, by number."""
    cast = stage.exchange.cast
    return {person.id: person.name for person in (cast.buyer, cast.buyer_spouse, cast.indebted_buyer)}


def codes(answers: Sequence[Fetched | Problem]) -> list[str]:
    """What became of each position."""
    return [answer.code if isinstance(answer, Problem) else "found" if answer.found else "none" for answer in answers]


def wanted(stage: Stage, **more: Any) -> Wanted:
    """What is asked about each subject."""
    return stage.wanted(IDENTITY, "", **{"items": ["name"], **more})


async def test_each_subject_has_a_record_a_receipt_and_an_entry_of_its_own(stage: Stage) -> None:
    consumer: Consumer = stage.session.consumer()
    batch = await consumer.fetch_batch(wanted(stage), people(stage))
    assert codes(batch.answers) == ["found"] * 3
    held = [answer for answer in batch.answers if isinstance(answer, Fetched)]
    assert [answer.data["name"] for answer in held] == [names(stage)[subject] for subject in people(stage)]
    assert [answer.answer.record.subject() for answer in held] == list(people(stage))
    assert len({answer.answer.record.claims.record_id for answer in held}) == 3
    assert len({answer.answer.receipt.entry for answer in held}) == 3
    assert {answer.request_id for answer in held} == {batch.request_id}
    assert len({answer.request for answer in held}) == 1, "one signature"
    entries = await stage.entries()
    assert sorted(line.leaf["sd_hash"] for line in entries) == sorted(answer.answer.receipt.sd_hash for answer in held)
    assert set(batch.headers) == {"x-road-request-id", "x-road-request-hash"}


async def test_a_position_that_fails_costs_nobody_else_an_answer(stage: Stage) -> None:
    first, second, _ = people(stage)
    batch = await stage.session.consumer().fetch_batch(wanted(stage), [first, NO_NUMBER, NOBODY, second])
    assert codes(batch.answers) == ["found", "malformed-request", "none", "found"]
    assert sorted(await stage.entry_codes()) == ["malformed-request", "release", "release", "release"]


async def test_a_whole_batch_is_refused_for_what_all_of_it_asks(stage: Stage) -> None:
    batch = await stage.session.consumer().fetch_batch(wanted(stage, items=["id_valid_until"]), people(stage))
    assert codes(batch.answers) == ["item-not-covered"] * 3
    for subjects in ([], [people(stage)[0]] * 2, [NOBODY[:17] + "X", NOBODY[:17] + "x"], [str(number) for number in range(101)]):
        with refused("malformed-request"):
            await stage.session.consumer().fetch_batch(wanted(stage), subjects)
    with refused("signature-invalid"):
        key = stage.session.home.key("bank")
        await stage.session.consumer(CONSUMER, key=key).fetch_batch(wanted(stage), people(stage))


async def test_a_batch_releases_once_under_its_id(stage: Stage) -> None:
    again = wanted(stage, request_id=f"{stage.case}-1")
    first = await stage.session.consumer().fetch_batch(again, people(stage))
    second = await stage.session.consumer().fetch_batch(again, people(stage))
    assert codes(first.answers) == ["found"] * 3
    assert codes(second.answers) == ["conflict"] * 3
    assert [answer.extra["data_left"] for answer in second.answers if isinstance(answer, Problem)] == [True] * 3


async def sent_batch(stage: Stage) -> tuple[tuple[Prepared, ...], list[dict[str, Any]]]:
    """A batch as it was signed, and the documents of the answer."""
    now = stage.session.clock.now()
    prepared = prepare_batch(CONSUMER, stage.session.key(), wanted(stage), people(stage), now=now)
    answer = await stage.send(prepared[0], accept="application/json")
    return prepared, answer.json()


async def test_what_a_gateway_changes_in_a_batch_is_found_at_its_position(stage: Stage) -> None:
    prepared, [a, b, c] = await sent_batch(stage)
    _, others = await sent_batch(stage)

    def read(*documents: Any, status: int = 200) -> list[str]:
        body = json.dumps(documents).encode()
        return codes(read_batch(status, body, prepared, stage.session.trust.current(), now=stage.session.clock.now()))

    assert read(a, b, c) == ["found"] * 3
    invalid = "record-invalid"
    assert read(b, a, c) == [invalid, invalid, "found"], "two answers swapped"
    assert read(a, a, c) == ["found", invalid, "found"], "an answer twice"
    assert read(others[0], b, c) == [invalid, "found", "found"], "the answer to another batch about the same person"
    assert read({**a, "receipt": a["receipt"][:-2]}, b, c)[0] == invalid
    assert read({**a, "receipt": None}, b, c)[0] == invalid
    assert read({**a, "receipt": "\u5f20"}, b, c)[0] == invalid
    assert read({**a, "data": {"name": "somebody else"}}, b, c)[0] == "found", "what is not signed is not read"
    nothing: tuple[Any, ...] = ({}, None, [], "a", {"code": "nonsense", "detail": ""}, {"code": ["a"], "detail": ""})
    for other in nothing:
        assert read(other, b, c) == ["internal", "found", "found"]
    for documents in ([], [a, b], [a, b, c, a]):
        with refused(invalid):
            read(*documents)
    snapshot, now = stage.session.trust.current(), stage.session.clock.now()
    for body in (b"{}", b"", b"[1.5, 2, 3]", json.dumps({"0": a}).encode()):
        with refused(invalid):
            read_batch(200, body, prepared, snapshot, now=now)
    with refused("right-missing"):
        read_batch(403, json.dumps({"code": "right-missing", "detail": "no"}).encode(), prepared, snapshot, now=now)


async def test_a_program_without_an_event_loop_can_ask_about_many(stage: Stage) -> None:
    session = stage.session

    def ask() -> Batch:
        with SyncConsumer(session.gateways, CONSUMER, session.key(), session.trust, clock=session.clock) as consumer:
            return consumer.fetch_batch(wanted(stage), people(stage))

    batch = await asyncio.to_thread(ask)
    assert codes(batch.answers) == ["found"] * 3
    # This client is none of the session's, whose answers are counted by themselves.
    stage.traffic.presentations += [answer.presentation for answer in batch.answers if isinstance(answer, Fetched)]


async def test_an_outway_hands_on_each_position_verified(stage: Stage) -> None:
    first, second, _ = people(stage)
    asked = {"subjects": [first, NO_NUMBER, second], "facts": {"deed_tax_paid": {}}}
    answer = await call(stage, DEED_TAX, asked, x_road_id=f"{stage.case}-1")
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-road-id"], answer.headers["x-road-client"]) == (f"{stage.case}-1", CONSUMER)
    one, bad, two = answer.json()
    key_of = keys_of(stage.session.trust)
    for document, subject in ((one, first), (two, second)):
        verified = verify_presentation(document["receipt"], provider_key_of=key_of, gateway_key_of=key_of)
        assert (verified.record.subject(), document["request_id"]) == (subject, f"{stage.case}-1")
    assert (bad["code"], bad["status"], bad["request_id"]) == ("malformed-request", 400, f"{stage.case}-1")
    assert bad["message"]
    again = await call(stage, DEED_TAX, asked, x_road_id=f"{stage.case}-1")
    assert [each["code"] for each in again.json()] == ["conflict", "malformed-request", "conflict"]
    assert [each["data_left"] for each in again.json()] == [True, False, True]


@pytest.mark.parametrize("count", [0, 101])
async def test_an_outway_refuses_none_and_too_many(stage: Stage, count: int) -> None:
    asked = {"subjects": [str(number) for number in range(count)], "items": ["name"]}
    answer = await call(stage, IDENTITY, asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert await stage.entries() == []
