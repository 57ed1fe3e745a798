"""After a withdrawal is acknowledged nothing is placed on it: under load, past a stopped gateway, to the last use and second."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle

import httpx2
import pytest

from exchange.envelope import Tag, parse_signature_input
from gateway.client import Prepared, Wanted
from tests.journeys.figures import FIGURES, spread
from tests.journeys.metrics import metric
from tests.journeys.signing import resigned
from tests.journeys.stage import CONTRIBUTIONS, DEED_TAX, Stage, both, refused, stopped
from tests.support.waiting import until_async, until_yes

MONTHS = {"contributed_months_at_least": {"n": 24}}
TERMS = {"contributed_months_at_least": [24]}
CITIZENS = ["citizen", "guardian", "stranger", *(f"citizen-{number}" for number in range(1, 11))]
CONSENTS, WITHDRAWN, ASKERS, WITHDRAWERS = 200, 100, 8, 4


# --- I-25


@dataclass(frozen=True, slots=True)
class Asked:
    """一次请求. Which consent was used, when the request began (monotonic), and what came of it."""

    consent: str
    began: float
    code: str


@dataclass(slots=True)
class Load:
    """负载. Requests on all consents without a pause, in turn to both gateways."""

    stage: Stage
    questions: dict[str, Wanted]
    asked: list[Asked] = field(default_factory=list)

    async def ask(self, consent: str) -> None:
        """One request."""
        began = time.monotonic()
        answer = await self.stage.send(self.stage.prepare(self.questions[consent]))
        self.asked.append(Asked(consent, began, "" if answer.status_code == 200 else answer.json()["code"]))

    async def ask_each(self, consents: Sequence[str]) -> None:
        """One request on each of these consents."""
        waiting = iter(consents)

        async def work() -> None:
            for consent in waiting:
                await self.ask(consent)

        await asyncio.gather(*(work() for _ in range(ASKERS)))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask on and on within the block."""
        turn, ended = cycle(self.questions), asyncio.Event()

        async def work() -> None:
            while not ended.is_set():
                await self.ask(next(turn))

        workers = [asyncio.create_task(work()) for _ in range(ASKERS)]
        try:
            yield
        finally:
            ended.set()
            await asyncio.gather(*workers)


async def give_many(stage: Stage) -> dict[str, str]:
    """Two hundred consents, each with the account of the person who gave it."""
    given: dict[str, str] = {}
    waiting = iter(zip(range(CONSENTS), cycle(CITIZENS)))

    async def work() -> None:
        for number, account in waiting:
            consent = await stage.give_consent(account, CONTRIBUTIONS, facts=TERMS, valid_seconds=50_000 + number)
            given[consent] = account

    await asyncio.gather(*(work() for _ in range(ASKERS)))
    return given


async def withdraw_under_load(stage: Stage, load: Load, chosen: dict[str, str]) -> dict[str, float]:
    """Withdraw while all is asked on; when each withdrawal was acknowledged (monotonic)."""
    acknowledged: dict[str, float] = {}
    took: list[float] = []
    waiting = iter(chosen.items())

    async def work() -> None:
        for consent, account in waiting:
            began = time.monotonic()
            await stage.withdraw(account, consent)
            acknowledged[consent] = time.monotonic()
            took.append(acknowledged[consent] - began)

    async with load.running():
        # Nothing is proven by a withdrawal of what nobody uses.
        await until_async(lambda: len({asked.consent for asked in load.asked if not asked.code}) == CONSENTS)
        await asyncio.gather(*(work() for _ in range(WITHDRAWERS)))
    FIGURES["I-25 withdrawal acknowledged under load"] = spread(took)
    return acknowledged


@pytest.mark.invariant("I-25")
@pytest.mark.timeout(300)
async def test_no_consent_is_released_on_after_its_withdrawal_whatever_the_load(stage: Stage) -> None:
    given = await give_many(stage)
    subjects = {name: str(account["subject"]) for name, account in stage.session.home.accounts().items()}
    questions = {
        consent: stage.wanted(CONTRIBUTIONS, subjects[account], facts=MONTHS, consent=consent)
        for consent, account in given.items()
    }
    load, began = Load(stage, questions), time.monotonic()
    chosen = dict(list(given.items())[:WITHDRAWN])
    acknowledged = await withdraw_under_load(stage, load, chosen)
    lasted, under_load = time.monotonic() - began, len(load.asked)
    await load.ask_each(list(given))

    assert {asked.code for asked in load.asked} == {"", "consent-withdrawn"}, Counter(asked.code for asked in load.asked)
    late = [asked for asked in load.asked if not asked.code and asked.began > acknowledged.get(asked.consent, float("inf"))]
    assert late == []
    after = Counter(asked.code for asked in load.asked[under_load:])
    assert after == {"": CONSENTS - WITHDRAWN, "consent-withdrawn": WITHDRAWN}
    released = sum(not asked.code for asked in load.asked)
    FIGURES["I-25 load"] = (
        f"{released} releases on {CONSENTS} consents, {WITHDRAWN} of them withdrawn meanwhile, "
        f"{under_load / lasted:.0f} requests/s, 0 answered after the withdrawal"
    )
    assert len(await stage.entries(kind="release")) == released
    assert await count_released_after_withdrawal(stage) == (0, released)


async def count_released_after_withdrawal(stage: Stage) -> tuple[int, int]:
    """(releases with a larger serial than the withdrawal of their consent, releases on a consent), in this test's case.

    In SQL over the bodies, with nothing of the audit's own code or of its table of fences.
    """
    opened = """
        SELECT e.serial, e.kind, b.body
        FROM audit.entry e JOIN jsonb_to_recordset($2::jsonb) AS b (serial bigint, body jsonb) USING (serial)
        WHERE e.kind IN ('release', 'withdraw')"""
    [row] = await stage.query(
        f"""WITH opened AS ({opened})
        SELECT count(*) FILTER (WHERE w.serial < r.serial) AS late, count(*) AS released
        FROM opened r LEFT JOIN opened w ON w.kind = 'withdraw' AND w.body ->> 'ground' = r.body ->> 'consent'
        WHERE r.kind = 'release' AND r.body ->> 'case' = $1""",
        stage.case,
        await stage.opened_bodies(),
    )
    return row["late"], row["released"]


# --- I-26


async def in_flight(stage: Stage, requests: Sequence[Prepared], provider: str) -> list[asyncio.Task[httpx2.Response]]:
    """Requests that the first gateway has taken and whose answers lie before it, unread: it is stopped, the provider is not.

    The caller lets the gateway go on.
    """
    gateway, _ = both(stage.session.gateways)
    supervisor, http = stage.exchange.supervisor, stage.session.http
    answered = await metric(stage, provider, "provider_calls_total")
    handed_out = await metric(stage, "identity", "http_requests_total", 'route="/consents/{consent_id}/grant"')
    consents = sum("exchange-consent" in dict(each.request.headers) for each in requests)

    async def all_consents_are_looked_up() -> bool:
        seen = await metric(stage, "identity", "http_requests_total", 'route="/consents/{consent_id}/grant"')
        return seen >= handed_out + consents

    async def all_are_answered() -> bool:
        return await metric(stage, provider, "provider_calls_total") >= answered + len(requests)

    async with stopped(stage, provider):
        sent = [asyncio.create_task(stage.send(each, gateway)) for each in requests]
        await until_yes(all_consents_are_looked_up)
        for _ in range(5):
            # Each of these takes its turn behind what the gateway has to do for the requests.
            await http.get(f"{gateway}/health/ready")
        supervisor.kill("gateway-1", signal.SIGSTOP)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(until_yes(all_are_answered), 2)
    return sent


@pytest.mark.invariant("I-26")
async def test_a_gateway_that_was_stopped_releases_nothing_on_what_was_withdrawn_meanwhile(stage: Stage) -> None:
    consent = await stage.give_consent("citizen", CONTRIBUTIONS, facts=TERMS, valid_seconds=4_000)
    wanted = stage.wanted(CONTRIBUTIONS, stage.exchange.cast.buyer.id, facts=MONTHS, consent=consent)
    for gateway in stage.session.gateways:
        await stage.fetch(wanted, gateway)
    sent = await in_flight(stage, [stage.prepare(wanted) for _ in range(20)], "social-security")
    try:
        await stage.withdraw("citizen", consent)
    finally:
        stage.exchange.supervisor.kill("gateway-1", signal.SIGCONT)
    answers = Counter((answer.status_code, answer.json()["code"]) for answer in await asyncio.gather(*sent))
    FIGURES["I-26 withdrawn while the gateway stood still"] = str(dict(answers))
    assert answers[403, "consent-withdrawn"] > 0
    # One that was stopped while it looked the consent up has lost that answer, and lets nothing go either.
    assert set(answers) <= {(403, "consent-withdrawn"), (504, "deadline-exceeded"), (503, "identity-unavailable")}
    assert await count_released_after_withdrawal(stage) == (0, 2)


@pytest.mark.invariant("I-26")
async def test_a_gateway_that_was_stopped_too_long_finds_that_what_it_stood_on_has_lapsed(stage: Stage) -> None:
    lasts = 3
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})
    requests = [resigned(stage.prepare(wanted), stage.session.key(), lambda text: expiring(text, lasts)) for _ in range(10)]
    inputs = [dict(each.request.headers)["signature-input"] for each in requests]
    ends = max(parse_signature_input(each, Tag.REQUEST).created for each in inputs) + lasts
    sent = await in_flight(stage, requests, "tax")
    try:
        await until_async(lambda: stage.session.clock.now() > ends)
    finally:
        stage.exchange.supervisor.kill("gateway-1", signal.SIGCONT)
    answers = Counter((answer.status_code, answer.json()["code"]) for answer in await asyncio.gather(*sent))
    FIGURES["I-26 lapsed while the gateway stood still"] = str(dict(answers))
    assert answers[503, "lapsed"] > 0
    assert set(answers) <= {(503, "lapsed"), (504, "deadline-exceeded"), (401, "signature-stale")}
    assert "release" not in await stage.entry_codes()
    await stage.served(wanted, stage.session.gateways[0])


def expiring(text: str, seconds: int) -> str:
    """A signature input that is good for only so long."""
    return f"{text};expires={parse_signature_input(text, Tag.REQUEST).created + seconds}"


# --- I-28


@pytest.mark.invariant("I-28")
@pytest.mark.parametrize(("use", "uses"), [({"kind": "once"}, 1), ({"kind": "count", "n": 3}, 3)])
async def test_a_consent_is_used_as_often_as_it_allows_and_no_more(stage: Stage, use: dict[str, object], uses: int) -> None:
    consent = await stage.give_consent("citizen", CONTRIBUTIONS, facts=TERMS, use=use, valid_seconds=4_100 + uses)
    wanted = stage.wanted(CONTRIBUTIONS, stage.exchange.cast.buyer.id, facts=MONTHS, consent=consent)
    answers = await asyncio.gather(*(stage.send(stage.prepare(wanted)) for _ in range(20)))
    told = Counter(answer.json()["code"] if answer.status_code != 200 else "" for answer in answers)
    assert told == {"": uses, "consent-used-up": 20 - uses}
    for gateway in stage.session.gateways:
        with refused("consent-used-up"):
            await stage.fetch(wanted, gateway)
    assert Counter(await stage.entry_codes()) == {"release": uses, "consent-used-up": 22 - uses}

    async def the_person_sees_it() -> bool:
        shown = await stage.session.identity.show_consent(await stage.session.token("citizen"), consent)
        return bool(shown["state"] == "used-up")

    await until_yes(the_person_sees_it)


@pytest.mark.invariant("I-28")
async def test_a_repeated_request_costs_no_use(stage: Stage) -> None:
    consent = await stage.give_consent("citizen", CONTRIBUTIONS, facts=TERMS, use={"kind": "count", "n": 2}, valid_seconds=4_200)
    wanted = stage.wanted(CONTRIBUTIONS, stage.exchange.cast.buyer.id, facts=MONTHS, consent=consent, request_id=stage.case)
    assert (await stage.send(stage.prepare(wanted))).status_code == 200
    for _ in range(3):
        with refused("conflict"):
            await stage.fetch(wanted)
    await stage.fetch(replace(wanted, request_id=None))
    with refused("consent-used-up"):
        await stage.fetch(replace(wanted, request_id=None))


@pytest.mark.invariant("I-28")
async def test_a_consent_ends_at_its_second(stage: Stage) -> None:
    consent = await stage.give_consent("citizen", CONTRIBUTIONS, facts=TERMS, valid_seconds=3)
    wanted = stage.wanted(CONTRIBUTIONS, stage.exchange.cast.buyer.id, facts=MONTHS, consent=consent)
    shown = await stage.session.identity.show_consent(await stage.session.token("citizen"), consent)
    codes: list[str] = []

    async def it_has_ended() -> bool:
        answers = await asyncio.gather(*(stage.send(stage.prepare(wanted), gateway) for gateway in stage.session.gateways))
        codes.extend("" if answer.status_code == 200 else answer.json()["code"] for answer in answers)
        return all(codes[-2:])

    await until_yes(it_has_ended)
    assert codes[0] == ""
    assert set(codes) <= {"", "consent-mismatch", "lapsed"}
    released = [line.at for line in await stage.entries(kind="release")]
    assert released
    assert max(released) < shown["valid_until"], "RFC 3339 in UTC compares as text"
