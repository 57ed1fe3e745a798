"""A consumer says that a record is wrong: who answers, within which term, and that nobody else reads what was said."""

from __future__ import annotations

import asyncio
import json
from itertools import product
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.problem import Problem
from registry.client import Credential, Machine
from registry.corrections import office
from registry.corrections.model import BROUGHT_UP, MOVES, MUST_ACT, TERMS, CorrectionState
from registry.model import RightSide
from tests.identity.office import person_id
from tests.registry.town import CONSUMER, IDENTITY_SERVICE, POPULATION, Town

SUBJECT = person_id("19900101", 2)
WORDS = "the surname is written with another character"
ANSWER = "the paper of 1990 has it so"
STRANGER = "CN-YA/GOV/tax/taxation"
NEIGHBOUR = "CN-YA/GOV/real-estate/registration"


@pytest.fixture
async def parties(town: Town) -> dict[str, Credential]:
    """Give consumer, provider and a stranger as machines, and the people who watch; the consumer has its right."""
    names = {"consumer": CONSUMER, "provider": POPULATION, "stranger": STRANGER, "neighbour": NEIGHBOUR}
    machines = {who: Machine(name, await town.office.enrolled(name)) for who, name in names.items()}
    await town.granted()
    await town.app.state.desk.registrar.refresh_keys()
    return machines | {account: await town.token(account) for account in ("registrar", "supervisor", "auditor", "integrator")}


async def asked(town: Town, parties: dict[str, Credential], **changed: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "consumer": CONSUMER,
        "service": IDENTITY_SERVICE,
        "request_id": "window-7",
        "subject": SUBJECT,
        "items": ["name"],
        "words": WORDS,
    }
    return await town.client.corrections.ask(parties["consumer"], **known | changed)


# --- the tables


def test_what_waits_has_somebody_who_must_act_and_a_term() -> None:
    waiting = {CorrectionState.SUBMITTED, CorrectionState.DISPUTED, CorrectionState.UPHELD}
    assert set(MUST_ACT) == set(TERMS) == waiting
    assert {state for state, _ in MOVES} - waiting == {CorrectionState.CONFIRMED, CorrectionState.REJECTED}
    for (state, _), (party, _) in MOVES.items():
        assert party is RightSide.CONSUMER or MUST_ACT[state] is party


async def test_postgresql_allows_exactly_the_moves_of_the_model(town: Town) -> None:
    pairs = {(before.value, after.value) for (before, _), (_, after) in MOVES.items()}
    connection = await asyncpg.connect(town.office.database.url("yitong_registry"))
    try:
        for before, after in product(CorrectionState, repeat=2):
            if before is not after:
                assert await _moves_in_postgresql(connection, before, after) == ((before, after) in pairs), (before, after)
    finally:
        await connection.close()


async def _moves_in_postgresql(connection: asyncpg.Connection, before: str, after: str) -> bool:
    transaction = connection.transaction()
    await transaction.start()
    try:
        # Where a request stands already is no business of the trigger on moves.
        await connection.execute("ALTER TABLE registry.correction DISABLE TRIGGER guarded")
        number = await connection.fetchval(
            "INSERT INTO registry.correction (state, consumer, consumer_member, service, provider_member, request_id, items,"
            " asker, revision, asked_at, changed_at)"
            " VALUES ($1, 'i/c/m/s', 'i/c/m', 'i/c/p/s/x', 'i/c/p', 'r', '{name}', 'a', 1, 1, 1) RETURNING number",
            before,
        )
        await connection.execute("ALTER TABLE registry.correction ENABLE TRIGGER guarded")
        await connection.execute("UPDATE registry.correction SET state = $1 WHERE number = $2", after, number)
    except asyncpg.RestrictViolationError:
        return False
    finally:
        await transaction.rollback()
    return True


BROKEN = {
    "a request that disappears": "DELETE FROM registry.correction",
    "another service": "UPDATE registry.correction SET service = provider_member || '/x/y'",
    "other items": "UPDATE registry.correction SET items = '{gender}'",
    "words that are rewritten": "UPDATE registry.correction_word SET words = 'x'",
    "another subject": "UPDATE registry.correction_subject SET subject = 'x'",
    "a no without a why": "INSERT INTO registry.correction_word (correction, after, party, actor, at_ms)"
    " SELECT number, 'rejected', 'provider', 'x', 1 FROM registry.correction",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN)
async def test_postgresql_keeps_corrections_itself(town: Town, parties: dict[str, Credential], statement: str) -> None:
    await asked(town, parties)
    connection = await asyncpg.connect(town.office.database.url("yitong_registry"))
    try:
        with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
            await connection.execute(statement)
    finally:
        await connection.close()


# --- journeys


async def test_a_record_is_corrected_at_its_source(town: Town, parties: dict[str, Credential]) -> None:
    calls = town.client.corrections
    request = await asked(town, parties)
    assert (request["state"], request["must_act"]) == ("submitted", "CN-YA/GOV/public-security")
    assert (request["deadline"]["rule"], request["deadline"]["owner"]) == ("correction-reply", "CN-YA/GOV/public-security")
    seen = await calls.show(parties["provider"], request["number"])
    assert (seen["subject"], seen["items"], [said["words"] for said in seen["said"]]) == (SUBJECT, ["name"], [WORDS])
    done = await calls.answer(parties["provider"], seen, "correct")
    assert (done["state"], done["must_act"], done["deadline"]) == ("corrected", None, None)
    told = await calls.show(parties["consumer"], request["number"])
    assert [(said["after"], said["party"]) for said in told["said"]] == [("submitted", "consumer"), ("corrected", "provider")]
    entries = [leaf["what"] for leaf in await town.leaves("config") if leaf["what"].startswith("correction")]
    assert entries == [f"correction ask: {request['number']}", f"correction correct: {request['number']}"]


@pytest.mark.parametrize(("outcome", "state"), [("confirm", "confirmed"), ("reject", "rejected")])
async def test_who_does_not_correct_says_why_and_may_be_taken_to_the_authority(
    town: Town, parties: dict[str, Credential], outcome: str, state: str
) -> None:
    calls = town.client.corrections
    request = await asked(town, parties)
    with pytest.raises(Problem, match="say why"):
        await calls.answer(parties["provider"], request, outcome)
    answered = await calls.answer(parties["provider"], request, outcome, ANSWER)
    assert (answered["state"], answered["deadline"]) == (state, None)
    disputed = await calls.dispute(parties["consumer"], answered, "the paper of 1991 has not")
    assert (disputed["must_act"], disputed["deadline"]["rule"]) == ("authority", "dispute")
    upheld = await calls.decide(parties["registrar"], disputed, upheld=True, words="1991 is the later one")
    assert (upheld["state"], upheld["must_act"]) == ("upheld", "CN-YA/GOV/public-security")
    with pytest.raises(Problem, match="conflict"):
        await calls.answer(parties["provider"], upheld, "reject", "still not")
    assert (await calls.answer(parties["provider"], upheld, "correct"))["state"] == "corrected"


async def test_a_dispute_may_be_closed_and_a_request_withdrawn(town: Town, parties: dict[str, Credential]) -> None:
    calls = town.client.corrections
    answered = await calls.answer(parties["provider"], await asked(town, parties), "reject", ANSWER)
    disputed = await calls.dispute(parties["consumer"], answered, "no")
    closed = await calls.decide(parties["registrar"], disputed, upheld=False, words="it is as it is")
    assert (closed["state"], closed["steps"], closed["deadline"]) == ("closed", [], None)
    withdrawn = await calls.withdraw(parties["consumer"], await asked(town, parties))
    assert (withdrawn["state"], withdrawn["deadline"]) == ("withdrawn", None)


async def test_a_provider_that_does_not_answer_is_overdue_before_everyones_eyes(
    town: Town, parties: dict[str, Credential]
) -> None:
    request = await asked(town, parties)
    town.office.clock.advance(30 * 86_400)
    await town.app.state.clocks.watch()
    late = await town.client.deadlines.page(await town.token("supervisor"), state="overdue")
    assert [row["matter"] for row in late["deadlines"]] == [f"correction {request['number']}"]


# --- who may, and who reads


async def test_each_step_is_its_own_partys_and_strangers_see_nothing(town: Town, parties: dict[str, Credential]) -> None:
    calls = town.client.corrections
    request = await asked(town, parties)
    with pytest.raises(Problem, match="forbidden"):
        await calls.answer(parties["consumer"], request, "correct")
    with pytest.raises(Problem, match="forbidden"):
        await calls.withdraw(parties["provider"], request)
    # Another system of the consumer's own member is a stranger too: it has no business with that person.
    for who in ("stranger", "neighbour"):
        for attempt in (
            calls.show(parties[who], request["number"]),
            calls.answer(parties[who], request, "correct"),
            calls.withdraw(parties[who], request),
        ):
            with pytest.raises(Problem, match="not-found"):
                await attempt
        assert (await calls.page(parties[who]))["corrections"] == []
    assert (await calls.show(parties["integrator"], request["number"]))["subject"] == SUBJECT
    assert len((await calls.page(parties["provider"], party="provider"))["corrections"]) == 1
    assert len((await calls.page(parties["provider"], party="consumer"))["corrections"]) == 0
    assert len((await calls.page(parties["supervisor"], state="submitted", limit=1))["corrections"]) == 1


async def test_what_was_said_is_for_the_two_and_for_the_authority_only_once_it_is_called(
    town: Town, parties: dict[str, Credential]
) -> None:
    calls = town.client.corrections
    request = await asked(town, parties)
    for who in ("registrar", "supervisor", "auditor"):
        shown = await calls.show(parties[who], request["number"])
        assert (shown["subject"], [said["words"] for said in shown["said"]]) == (None, [None])
    answered = await calls.answer(parties["provider"], request, "reject", ANSWER)
    disputed = await calls.dispute(parties["consumer"], answered, "no")
    assert CorrectionState(disputed["state"]) in BROUGHT_UP
    shown = await calls.show(parties["registrar"], request["number"])
    assert (shown["subject"], [said["words"] for said in shown["said"]]) == (None, [WORDS, ANSWER, "no"])
    assert (await calls.show(parties["auditor"], request["number"]))["said"][0]["words"] is None


async def test_neither_the_log_nor_any_other_table_nor_an_answer_holds_what_was_said(
    town: Town, parties: dict[str, Credential], capfd: pytest.CaptureFixture[str]
) -> None:
    headers = {"authorization": f"Bearer {await town.token('integrator')}", "idempotency-key": "correction-1"}
    body = {"consumer": CONSUMER, "service": IDENTITY_SERVICE, "request_id": "window-7", "subject": SUBJECT}
    content = json.dumps(body | {"items": ["name"], "words": WORDS}).encode()
    answers = [
        await town.http.post("/corrections", headers=headers | {"content-type": "application/json"}, content=content)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    await town.client.corrections.answer(parties["provider"], answers[0].json(), "reject", ANSWER)
    tables = await town.office.rows(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
    )
    holding = set()
    for table in (row["name"] for row in tables):
        for secret in (SUBJECT, WORDS, ANSWER):
            # A row as text shows what a text column holds, and bytes in hexadecimal.
            found = await town.office.rows(
                f"SELECT 1 FROM {table} t WHERE t::text LIKE '%' || $1 || '%' OR t::text LIKE '%' || $2 || '%' LIMIT 1",
                secret,
                secret.encode().hex(),
            )
            if found:
                holding.add(table)
    assert {"registry.correction_word", "registry.correction_subject"} <= holding
    # Identity knows its development accounts, the citizen of this number among them.
    assert {table for table in holding if table.startswith(("registry.", "audit."))} == {
        "registry.correction_word",
        "registry.correction_subject",
    }
    bodies = b"".join(answer.content for answer in answers).decode() + "".join(capfd.readouterr())
    assert not any(secret in bodies for secret in (SUBJECT, WORDS, ANSWER))


async def test_only_what_may_have_been_told_is_corrected(
    town: Town, parties: dict[str, Credential], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: dict[str, dict[str, Any]] = {
        "the service has no shoe_size": {"items": ["shoe_size"]},
        "right-missing": {"service": f"{POPULATION}/household", "items": ["head_name"]},
        "may have been told": {"items": ["name", "id_valid_until"]},
        "unknown-service": {"service": f"{POPULATION}/nothing"},
        "check": {"subject": SUBJECT[:-1] + ("0" if SUBJECT[-1] != "0" else "1")},
        "a system asks for itself": {"consumer": NEIGHBOUR},
        "malformed-request": {"words": "x" * 2001},
    }
    for problem, changed in faults.items():
        with pytest.raises(Problem, match=problem) as refused:
            await asked(town, parties, **changed)
        assert str(changed.get("subject", SUBJECT)) not in refused.value.detail
    monkeypatch.setattr(office, "MOST_OPEN", 3)
    answers = await asyncio.gather(*(asked(town, parties) for _ in range(12)), return_exceptions=True)
    assert (
        sorted(answer.code if isinstance(answer, Problem) else "asked" for answer in answers)
        == ["asked"] * 3 + ["quota-exceeded"] * 9
    )


# --- whatever is tried

_STEPS = ("correct", "confirm", "reject", "dispute", "uphold", "close", "withdraw")
_WHO = ("consumer", "provider", "neighbour", "stranger", "registrar", "auditor")


async def attempted(town: Town, parties: dict[str, Credential], request: dict[str, Any], step: str, who: str) -> dict[str, Any]:
    """Try a step as somebody; the request as it is then."""
    calls, credential = town.client.corrections, parties[who]
    try:
        if step in ("correct", "confirm", "reject"):
            return await calls.answer(credential, request, step, ANSWER)
        if step in ("uphold", "close"):
            return await calls.decide(credential, request, upheld=step == "uphold", words=ANSWER)
        if step == "dispute":
            return await calls.dispute(credential, request, WORDS)
        return await calls.withdraw(credential, request)
    except Problem as problem:
        if problem.code not in ("conflict", "forbidden", "not-found"):
            raise
        return request


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ways=st.lists(st.tuples(st.sampled_from(_STEPS), st.sampled_from(_WHO)), min_size=3, max_size=14))
async def test_whatever_is_tried_history_is_one_way_through_the_table(
    town: Town, parties: dict[str, Credential], ways: list[tuple[str, str]]
) -> None:
    request = await asked(town, parties)
    for step, who in ways:
        request = await attempted(town, parties, request, step, who)
    shown = await town.client.corrections.show(parties["consumer"], request["number"])
    states = [said["after"] for said in shown["said"]]
    allowed = {(before.value, after.value, party.value) for (before, _), (party, after) in MOVES.items()}
    taken = zip(states, states[1:], (said["party"] for said in shown["said"][1:]), strict=False)
    assert set(taken) <= allowed
    waits = CorrectionState(shown["state"]) in MUST_ACT
    assert (shown["deadline"] is not None) == (shown["must_act"] is not None) == waits
    if shown["deadline"] is not None:
        assert shown["deadline"]["owner"] == shown["must_act"]
    assert all(said["words"] for said in shown["said"] if said["after"] not in ("corrected", "withdrawn"))
