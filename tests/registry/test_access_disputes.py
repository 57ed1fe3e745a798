"""A person disputes an entry of their list: who answers, within which term, and that nobody else reads what was said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from audit.client import SearchRequest
from deploy.postgres.roles import Database
from exchange.problem import Problem
from registry.access_disputes import office
from registry.access_disputes.model import MOVES, MUST_ACT, TERMS, DisputeState, Side
from registry.client import Credential
from tests.audit.scene import BANK, REASON
from tests.identity.office import CITIZEN, FIRM
from tests.registry.docket import Docket, open_docket
from tests.registry.town import CONSUMER, IDENTITY_SERVICE, POPULATION

WORDS = "I never applied for anything there"
ANSWER = "the window clerk had your application before them"
PROVIDER_MEMBER = "CN-YA/GOV/public-security"
DAY = 86_400


@pytest.fixture
async def docket(database: Database, tmp_path: Path) -> AsyncIterator[Docket]:
    """Give a registry and an audit that has one release about the citizen, one about a firm, and a look of an auditor."""
    async with open_docket(database, tmp_path) as opened:
        await opened.scene.release(CITIZEN, consumer=BANK, service=IDENTITY_SERVICE)
        await opened.scene.release(FIRM, consumer=CONSUMER, service=IDENTITY_SERVICE)
        await opened.scene.number()
        yield opened


async def asked(docket: Docket, who: str = "citizen", n: int = 1, words: str = WORDS) -> dict[str, Any]:
    return await docket.town.client.access_disputes.ask(docket.who[who], n, words)


async def refused(code: str, call: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.code == code, caught.value
    return caught.value


# --- the tables


def test_what_waits_has_somebody_who_must_act_and_a_term() -> None:
    waiting = {DisputeState.SUBMITTED, DisputeState.ESCALATED, DisputeState.UPHELD}
    assert set(MUST_ACT) == set(TERMS) == waiting
    for (state, _), (side, _) in MOVES.items():
        assert side is Side.PERSON or MUST_ACT[state] is side


async def test_postgresql_allows_exactly_the_moves_of_the_model(docket: Docket) -> None:
    pairs = {(before.value, after.value) for (before, _), (_, after) in MOVES.items()}
    connection = await asyncpg.connect(docket.town.office.database.url("yitong_registry"))
    try:
        for before, after in product(DisputeState, repeat=2):
            if before is not after:
                assert await _moves(connection, before, after) == ((before, after) in pairs), (before, after)
    finally:
        await connection.close()


async def _moves(connection: asyncpg.Connection, before: str, after: str) -> bool:
    transaction = connection.transaction()
    await transaction.start()
    try:
        # Where a dispute stands already is no business of the trigger on moves.
        await connection.execute("ALTER TABLE registry.access_dispute DISABLE TRIGGER guarded")
        number = await connection.fetchval(
            "INSERT INTO registry.access_dispute (state, place, kind, entry_at, provider, names, revision, asked_at, changed_at)"
            " VALUES ($1, 1, 'release', 1, 'i/c/p/s', '{}', 1, 1, 1) RETURNING number",
            before,
        )
        await connection.execute("ALTER TABLE registry.access_dispute ENABLE TRIGGER guarded")
        await connection.execute("UPDATE registry.access_dispute SET state = $1 WHERE number = $2", after, number)
    except asyncpg.RestrictViolationError:
        return False
    finally:
        await transaction.rollback()
    return True


BROKEN = {
    "a dispute that disappears": "DELETE FROM registry.access_dispute",
    "another place": "UPDATE registry.access_dispute SET place = place + 1",
    "another provider": "UPDATE registry.access_dispute SET provider = 'CN-YA/GOV/tax/taxation'",
    "words that are rewritten": "UPDATE registry.access_dispute_word SET words = 'x'",
    "another person": "UPDATE registry.access_dispute_subject SET subject = 'x'",
    "an answer without words": "INSERT INTO registry.access_dispute_word (access_dispute, after, party, actor, at_ms)"
    " SELECT number, 'justified', 'provider', 'x', 1 FROM registry.access_dispute",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN)
async def test_postgresql_keeps_disputes_itself(docket: Docket, statement: str) -> None:
    await asked(docket)
    with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
        await docket.execute(statement)


# --- journeys


async def test_the_provider_answers_within_its_term_and_the_person_reads_it(docket: Docket) -> None:
    calls = docket.town.client.access_disputes
    dispute = await asked(docket)
    assert (dispute["state"], dispute["must_act"], dispute["consumer"], dispute["provider"], dispute["service"]) == (
        *("submitted", PROVIDER_MEMBER, BANK, POPULATION, IDENTITY_SERVICE),
    )
    assert (dispute["deadline"]["rule"], dispute["deadline"]["owner"]) == ("access-dispute-reply", PROVIDER_MEMBER)
    seen = await calls.show(docket.who["provider"], dispute["number"])
    assert (seen["subject"], [said["words"] for said in seen["said"]], seen["kind"]) == (CITIZEN, [WORDS], "release")
    assert set(seen["steps"]) == {"justify", "remedy"}
    done = await calls.answer(docket.who["provider"], seen, "justify", ANSWER)
    assert (done["state"], done["must_act"], done["deadline"]) == ("justified", None, None)
    told = await calls.show(docket.who["citizen"], dispute["number"])
    assert [(said["after"], said["party"], said["actor"]) for said in told["said"]] == [
        ("submitted", "person", "person"),
        ("justified", "provider", POPULATION),
    ]
    number = dispute["number"]
    assert await docket.told("access-dispute") == [f"access-dispute ask: {number}", f"access-dispute justify: {number}"]


async def test_an_answer_is_brought_before_the_authority_which_decides(docket: Docket) -> None:
    calls = docket.town.client.access_disputes
    dispute = await calls.answer(docket.who["provider"], await asked(docket), "justify", ANSWER)
    dispute = await calls.escalate(docket.who["citizen"], dispute, "nobody had an application of mine")
    assert (dispute["must_act"], dispute["deadline"]["rule"]) == ("authority", "dispute")
    read = await calls.show(docket.who["registrar"], dispute["number"])
    assert (read["subject"], len(read["said"]), read["said"][0]["words"]) == (None, 3, WORDS)
    dispute = await calls.decide(docket.who["registrar"], dispute, upheld=True, words="the case number does not exist")
    assert (dispute["state"], dispute["must_act"]) == ("upheld", PROVIDER_MEMBER)
    done = await calls.answer(docket.who["provider"], dispute, "remedy", "the right is suspended")
    assert done["state"] == "remedied"
    closed = await calls.decide(
        docket.who["registrar"], await calls.escalate(docket.who["citizen"], done, "not enough"), upheld=False, words="it is"
    )
    assert (closed["state"], closed["deadline"]) == ("dismissed", None)


async def test_what_nobody_answers_may_be_escalated_once_its_term_is_over(docket: Docket) -> None:
    calls = docket.town.client.access_disputes
    dispute = await asked(docket)
    await refused("conflict", calls.escalate(docket.who["citizen"], dispute, "no answer"))
    docket.town.office.clock.advance(40 * DAY)
    await docket.town.app.state.clocks.watch()
    number = dispute["number"]
    assert f"deadline overdue: access-dispute {number} (access-dispute-reply)" in await docket.told("deadline overdue")
    moved = await calls.escalate(await docket.town.token("citizen"), dispute, "no answer")
    assert moved["state"] == "escalated"


async def test_a_look_into_the_audit_goes_to_the_authority_at_once(docket: Docket) -> None:
    client = docket.side.client("auditor")
    await client.search(SearchRequest(reason=REASON, subject=CITIZEN))
    await docket.scene.number()
    dispute = await asked(docket, n=2)
    assert (dispute["kind"], dispute["state"], dispute["provider"], dispute["must_act"]) == (
        "read",
        "escalated",
        None,
        "authority",
    )
    await refused("not-found", docket.town.client.access_disputes.show(docket.who["provider"], dispute["number"]))
    calls = docket.town.client.access_disputes
    upheld = await calls.decide(docket.who["registrar"], dispute, upheld=True, words="no case")
    assert upheld["must_act"] == "authority"
    assert (await calls.answer(docket.who["registrar"], upheld, "remedy", "the account is closed"))["state"] == "remedied"


async def test_agents_dispute_for_their_enterprise(docket: Docket) -> None:
    dispute = await asked(docket, "agent")
    assert (dispute["names"], dispute["consumer"]) == (["address", "name"], CONSUMER)
    page = await docket.town.client.access_disputes.page(docket.who["agent"])
    assert [row["number"] for row in page["disputes"]] == [dispute["number"]]


# --- who may what


async def test_only_whom_it_is_about_disputes_and_only_what_stands_in_their_list(docket: Docket) -> None:
    await refused("not-found", asked(docket, "other-citizen"))
    await refused("not-found", asked(docket, "citizen", 9))
    for account in ("registrar", "integrator", "auditor", "officer", "consumer"):
        await refused("forbidden", asked(docket, account))
    await refused("conflict", _twice(docket))


async def _twice(docket: Docket) -> None:
    for _ in range(2):
        await asked(docket)


async def test_only_so_many_wait_at_a_time(docket: Docket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "MOST_OPEN", 1)
    await docket.scene.release(CITIZEN)
    await docket.scene.number()
    calls = docket.town.client.access_disputes
    first = await asked(docket)
    await refused("quota-exceeded", asked(docket, n=2))
    assert (await calls.withdraw(docket.who["citizen"], first))["state"] == "withdrawn"
    await asked(docket, n=2)


async def test_strangers_learn_nothing_and_those_who_watch_read_no_words(docket: Docket) -> None:
    calls, dispute = docket.town.client.access_disputes, await asked(docket)
    for who in ("other-citizen", "consumer", "stranger", "agent"):
        await refused("not-found", calls.show(docket.who[who], dispute["number"]))
        assert (await calls.page(docket.who[who]))["disputes"] == []
    for who in ("registrar", "supervisor", "auditor"):
        seen = await calls.show(docket.who[who], dispute["number"])
        assert (seen["subject"], [said["words"] for said in seen["said"]]) == (None, [None])
    for who in ("officer", "security"):
        await refused("forbidden", calls.show(docket.who[who], dispute["number"]))
    steps: dict[str, Callable[[Credential], Awaitable[Any]]] = {
        "citizen": lambda who: calls.answer(who, dispute, "justify", ANSWER),
        "registrar": lambda who: calls.answer(who, dispute, "justify", ANSWER),
        "provider": lambda who: calls.withdraw(who, dispute),
        "supervisor": lambda who: calls.decide(who, dispute, upheld=True, words="x"),
    }
    for who, step in steps.items():
        await refused("forbidden", step(docket.who[who]))
    assert [row["number"] for row in (await calls.page(docket.who["provider"]))["disputes"]] == [dispute["number"]]


async def test_the_log_says_neither_who_disputes_nor_what_they_said(docket: Docket) -> None:
    calls, dispute = docket.town.client.access_disputes, await asked(docket)
    await calls.answer(docket.who["provider"], dispute, "remedy", ANSWER)
    everything = str(await docket.town.office.entries())
    looks = [leaf for leaf, _ in await docket.town.office.entries() if leaf.get("scope") == "case-access"]
    assert len(looks) == 1
    for private in (CITIZEN, WORDS, ANSWER, "'citizen'"):
        # The release itself names its subject in its sealed body, which the helper opens; nothing else may.
        assert everything.count(private) == (1 if private == CITIZEN else 0), private


async def test_without_its_audit_nothing_is_disputed_and_nothing_kept(docket: Docket) -> None:
    docket.side.app.state.registry_key = None
    await refused("forbidden", asked(docket))
    assert (await docket.town.client.access_disputes.page(docket.who["registrar"]))["disputes"] == []


async def test_two_at_once_leave_one(docket: Docket) -> None:
    results = await asyncio.gather(asked(docket), asked(docket), return_exceptions=True)
    assert sorted(isinstance(each, Problem) for each in results) == [False, True]
