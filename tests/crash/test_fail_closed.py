"""What is missing closes the door: each line of the fail-closed table, on real processes that are killed or stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.client import load_trust, verify_receipt
from deploy.home import GATEWAYS
from deploy.local import ROOT
from deploy.process import Child, free_port
from deploy.receipts import keep_receipt, write_trust
from deploy.session import Session
from deploy.supervisor import answers
from exchange.problem import Problem
from gateway.client import Consumer
from tests.crash.breakable import BreakableExchange
from tests.crash.questions import (
    about_contributions,
    about_deed_tax,
    about_name,
    answered_at_last,
    explained,
    new_consent,
    refusal,
)
from tests.crash.short_lived import short_lived_registry
from tests.support.waiting import until

Note = Callable[[str, object], None]
PATIENT, IMPATIENT = GATEWAYS


def consumer_at(session: Session, exchange: BreakableExchange, gateway: str) -> Consumer:
    """The consuming system, asking one gateway only."""
    return session.consumer(gateways=[exchange.addresses.url(gateway)])


def wait_unready(exchange: BreakableExchange, *names: str) -> None:
    for name in names:
        until(lambda: not exchange.parts[name].is_ready())  # noqa: B023 - used before the next round


@pytest.mark.invariant("I-3", "I-24")
async def test_while_postgresql_is_dead_nothing_leaves(
    exchange: BreakableExchange, session: Session, record_property: Note
) -> None:
    subject = exchange.cast.buyer.id
    asked = []
    with exchange.down("postgres"):
        wait_unready(exchange, *GATEWAYS)
        for gateway in GATEWAYS:
            for question in (about_name(subject), about_deed_tax(subject)):
                refused = await refusal(consumer_at(session, exchange, gateway), question)
                assert (refused.code, refused.problem.status) == ("audit-unavailable", 503)
                asked.append(refused)
    record_property("answer_s_max", max(refused.seconds for refused in asked))
    for gateway in GATEWAYS:
        await answered_at_last(consumer_at(session, exchange, gateway), about_name(subject))
    assert {(await explained(session.consumer(), refused.request_id))["outcome"] for refused in asked} == {"unknown"}


@pytest.mark.invariant("I-3", "I-24")
async def test_while_postgresql_does_not_answer_nothing_leaves(
    exchange: BreakableExchange, session: Session, record_property: Note
) -> None:
    subject = exchange.cast.buyer.id
    consumers = [consumer_at(session, exchange, gateway) for gateway in GATEWAYS]
    with exchange.frozen("postgres"):
        first = await asyncio.gather(*(refusal(consumer, about_name(subject)) for consumer in consumers))
        wait_unready(exchange, *GATEWAYS)
        later = [await refusal(consumer, about_name(subject)) for consumer in consumers]
    assert {(refused.code, refused.problem.status) for refused in (*first, *later)} == {("audit-unavailable", 503)}
    record_property("first_answer_s_max", max(refused.seconds for refused in first))
    record_property("later_answer_s_max", max(refused.seconds for refused in later))
    for consumer in consumers:
        await answered_at_last(consumer, about_name(subject))
    outcomes = [(await explained(session.consumer(), refused.request_id))["outcome"] for refused in (*first, *later)]
    assert "released" not in outcomes


async def test_without_the_bus_a_provider_is_said_to_be_away_at_once(
    exchange: BreakableExchange, session: Session, record_property: Note
) -> None:
    subject = exchange.cast.buyer.id
    with exchange.down("nats"):
        wait_unready(exchange, *GATEWAYS)
        refused = await refusal(session.consumer(), about_name(subject))
        explanation = await session.consumer().explain(refused.request_id)
    assert (refused.code, refused.problem.status) == ("provider-unavailable", 503)
    assert explanation["code"] == "provider-unavailable"
    record_property("answer_s", refused.seconds)
    for gateway in GATEWAYS:
        await answered_at_last(consumer_at(session, exchange, gateway), about_name(subject))


async def test_without_the_registry_the_last_snapshot_keeps_serving(exchange: BreakableExchange, session: Session) -> None:
    with exchange.down("registry"):
        for gateway in GATEWAYS:
            fetched = await consumer_at(session, exchange, gateway).fetch(about_name(exchange.cast.buyer.id))
            assert fetched.data["name"] == exchange.cast.buyer.name
            assert exchange.parts[gateway].is_ready()


async def test_without_the_registry_the_last_snapshot_serves_until_it_expires_and_no_longer(
    exchange: BreakableExchange, session: Session, tmp_path: Path
) -> None:
    question = about_name(exchange.cast.buyer.id)
    async with short_lived_registry(exchange, life_seconds=4) as registry:
        gateway, url = start_gateway(exchange, tmp_path, registry.url)
        try:
            await asyncio.to_thread(gateway.wait_ready, lambda: answers(f"{url}/health/ready"), limit_s=30)
            consumer = session.consumer(gateways=[url])
            await consumer.fetch(question)
            await registry.stop()
            await consumer.fetch(question)
            await asyncio.to_thread(until, lambda: not answers(f"{url}/health/ready"))
            refused = await refusal(consumer, question)
            assert (refused.code, refused.problem.status) == ("registry-stale", 503)
            await registry.start()
            await answered_at_last(consumer, question)
        finally:
            gateway.stop(signal.SIGTERM, limit_s=10)


async def test_a_gateway_that_never_had_a_snapshot_is_not_ready_and_refuses(
    exchange: BreakableExchange, session: Session, tmp_path: Path
) -> None:
    gateway, url = start_gateway(exchange, tmp_path, f"http://127.0.0.1:{free_port()}")
    try:
        await asyncio.to_thread(gateway.wait_ready, lambda: answers(f"{url}/health/live"), limit_s=30)
        assert not answers(f"{url}/health/ready")
        refused = await refusal(session.consumer(gateways=[url]), about_name(exchange.cast.buyer.id))
        assert (refused.code, refused.problem.status) == ("registry-stale", 503)
    finally:
        gateway.stop(signal.SIGTERM, limit_s=10)


def start_gateway(exchange: BreakableExchange, directory: Path, registry_url: str) -> tuple[Child, str]:
    """One more process of the first gateway, with another registry; and its base URL."""
    port = free_port()
    environment = {**exchange._common(PATIENT), **exchange._gateway(PATIENT)}
    environment |= {"YITONG_PORT": str(port), "YITONG_REGISTRY_URL": registry_url}
    argv = [sys.executable, "-m", "gateway.app"]
    child = Child.spawn(argv, log=directory / "gateway.log", env=environment, cwd=ROOT)
    return child, f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("fault", ["killed", "stopped"])
async def test_without_identity_the_law_goes_on_and_consent_cannot_be_looked_up(
    exchange: BreakableExchange, session: Session, record_property: Note, fault: str
) -> None:
    subject = exchange.cast.buyer.id
    consent = await new_consent(session, subject)
    consumer, question = session.consumer(), about_contributions(subject, consent)
    await consumer.fetch(question)
    with exchange.down("identity") if fault == "killed" else exchange.frozen("identity"):
        await consumer.fetch(about_name(subject))
        refused = await refusal(consumer, question)
        assert (refused.code, refused.problem.status) == ("identity-unavailable", 503)
        assert (await refusal(consumer, about_contributions(subject, None))).code == "consent-required"
        assert (await consumer.explain(refused.request_id))["code"] == "identity-unavailable"
    record_property("answer_s", refused.seconds)
    await answered_at_last(consumer, question)


async def test_a_provider_that_is_dead_is_said_to_be_away(
    exchange: BreakableExchange, session: Session, record_property: Note
) -> None:
    subject = exchange.cast.buyer.id
    with exchange.down("tax"):
        refused = await refusal(session.consumer(), about_deed_tax(subject))
        assert (refused.code, refused.problem.status) == ("provider-unavailable", 503)
        assert (await session.consumer().explain(refused.request_id))["code"] == "provider-unavailable"
        await session.consumer().fetch(about_name(subject))
    record_property("answer_s", refused.seconds)
    await answered_at_last(session.consumer(), about_deed_tax(subject))


async def test_a_provider_that_is_slow_is_given_up_and_what_it_says_later_is_never_released(
    exchange: BreakableExchange, session: Session, record_property: Note
) -> None:
    subject, consumer = exchange.cast.buyer.id, consumer_at(session, exchange, IMPATIENT)
    with exchange.frozen("tax"):
        refused = await refusal(consumer, about_deed_tax(subject))
        await consumer.fetch(about_name(subject))
    assert (refused.code, refused.problem.status) == ("deadline-exceeded", 504)
    record_property("answer_s", refused.seconds)
    # The department has read the call by now, and said what it had to say: it answers the next one.
    await answered_at_last(consumer, about_deed_tax(subject))
    explanation = await consumer.explain(refused.request_id)
    assert (explanation["outcome"], explanation["code"]) == ("denied", "deadline-exceeded")


@pytest.mark.invariant("I-21")
async def test_without_the_integrator_releases_go_on_and_their_proofs_come_when_it_is_back(
    exchange: BreakableExchange, session: Session, tmp_path: Path
) -> None:
    subject, consumer = exchange.cast.buyer.id, session.consumer()
    with exchange.down("integrator"):
        fetched = [await consumer.fetch(about_name(subject)) for _ in range(20)]
        for each in fetched:
            with pytest.raises(Problem) as caught:
                await session.audit().proof(each.answer.receipt.entry)
            assert (caught.value.code, caught.value.extra["pending"]) == ("not-found", True)
    trust = load_trust(await write_trust(session))
    for number, each in enumerate(fetched):
        path = tmp_path / f"{number}.receipt"
        await keep_receipt(session, each, path)
        assert verify_receipt(path.read_bytes(), trust).valid
