"""Every refusal has its code, stands in the log before it is said, and tells nobody more than it must."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace

import httpx2
import pytest

from deploy.bootstrap import load_rights
from deploy.home import BANK
from exchange.envelope import Tag, sign_request
from exchange.keys import SigningKey
from exchange.problem import PROBLEMS
from gateway.client import Prepared, Wanted
from tests.journeys.stage import CONTRIBUTIONS, DEED_TAX, IDENTITY, Stage, both, refused
from tests.support.waiting import until_yes

MONTHS = {"contributed_months_at_least": {"n": 24}}
SHORT = {"contributed_months_at_least": [24]}


def wrong_questions(stage: Stage) -> dict[str, tuple[str, Wanted]]:
    """By name: the code that is expected, and a question that must be refused with it."""
    cast = stage.exchange.cast
    good = stage.wanted(IDENTITY, cast.buyer.id, items=["name"])
    with_months = stage.wanted(CONTRIBUTIONS, cast.buyer.id, facts=MONTHS)
    wrong_digit = cast.buyer.id[:-1] + ("0" if cast.buyer.id[-1] != "0" else "1")
    full_width = cast.buyer.id.translate({48 + digit: 0xFF10 + digit for digit in range(10)})
    return {
        "no-such-item": ("malformed-request", replace(good, items=["name", "salary"])),
        "no-such-fact": ("malformed-request", replace(good, facts={"is_rich": {}})),
        "wrong-argument": ("malformed-request", replace(good, facts={"is_adult": {"n": 1}})),
        "check-digit": ("malformed-request", replace(good, subject=wrong_digit)),
        "an-enterprise": ("malformed-request", replace(good, subject=cast.buying_firm.id)),
        "full-width": ("malformed-request", replace(good, subject=full_width)),
        "range-for-nothing": ("malformed-request", replace(good, months=("2025-01", "2025-02"))),
        "nothing-asked": ("malformed-request", replace(good, items=())),
        "no-officer": ("malformed-request", replace(good, officer=None)),
        "no-such-service": ("unknown-service", replace(good, service="CN-YA/GOV/public-security/population/dreams")),
        "no-such-provider": ("unknown-service", replace(good, service="CN-YA/GOV/public-security/dreams/dreams")),
        "no-right": ("right-missing", stage.wanted("tax/taxation/income-tax", cast.buyer.id, items=["months"])),
        "no-such-purpose": ("purpose-not-covered", replace(good, purpose="curiosity")),
        "another-purpose": ("purpose-not-covered", replace(good, purpose="mortgage-lending")),
        "item-outside": ("item-not-covered", replace(good, items=["name", "id_valid_until"])),
        "argument-outside": ("item-not-covered", replace(with_months, facts={"contributed_months_at_least": {"n": 13}})),
        "no-consent": ("consent-required", with_months),
        "unknown-consent": ("consent-mismatch", replace(with_months, consent="00000000-0000-4000-8000-000000000000")),
    }


WRONG_QUESTIONS = (
    *("no-such-item", "no-such-fact", "wrong-argument", "check-digit", "an-enterprise", "full-width", "range-for-nothing"),
    *("nothing-asked", "no-officer", "no-such-service", "no-such-provider", "no-right", "no-such-purpose", "another-purpose"),
    *("item-outside", "argument-outside", "no-consent", "unknown-consent"),
)


@pytest.mark.invariant("I-6")
@pytest.mark.parametrize("name", WRONG_QUESTIONS)
async def test_a_wrong_question_is_refused_on_both_gateways_and_in_the_log_with_its_code(stage: Stage, name: str) -> None:
    code, wanted = wrong_questions(stage)[name]
    for gateway in stage.session.gateways:
        answer = await stage.send(stage.prepare(wanted), gateway)
        assert (answer.status_code, answer.json()["code"]) == (PROBLEMS[code].status, code)
        assert answer.json()["data_left"] is False
    entries = await stage.entries()
    assert [line.leaf["code"] for line in entries] == [code, code]
    assert [line.leaf["gateway"] for line in entries] == ["gateway-1", "gateway-2"]


@pytest.mark.invariant("I-6")
async def test_a_body_that_is_no_question_is_refused_and_recorded_once_its_signature_holds(stage: Stage) -> None:
    for body in (b"[]", b"{", b'{"subject":"1","subject":"2","items":["name"]}', b'{"subject":NaN}', b'{"subject":"\\u0000"}'):
        answer = await stage.send(with_body(stage, body))
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request")
    assert await stage.entry_codes() == ["malformed-request"] * 5


def with_body(stage: Stage, body: bytes) -> Prepared:
    """A signed request with any body."""
    prepared = stage.prepare(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]))
    signatures = {"content-digest", "signature-input", "signature"}
    headers = [(name, value) for name, value in prepared.request.headers if name not in signatures]
    plain = replace(prepared.request, headers=headers, body=body)
    return replace(prepared, request=sign_request(stage.session.key(), plain, tag=Tag.REQUEST, now=stage.session.clock.now()))


@pytest.mark.invariant("I-6")
async def test_a_consent_for_something_else_is_refused_and_recorded(stage: Stage) -> None:
    cast = stage.exchange.cast
    sellers = await stage.give_consent("stranger", CONTRIBUTIONS, facts=SHORT, valid_seconds=3_000)
    twelve = await stage.give_consent("citizen", CONTRIBUTIONS, facts={"contributed_months_at_least": [12]})
    banks = await stage.give_consent("citizen", CONTRIBUTIONS, facts=SHORT, consumer=BANK)
    wanted = stage.wanted(CONTRIBUTIONS, cast.buyer.id, facts=MONTHS)
    for consent in (sellers, twelve, banks):
        for gateway in stage.session.gateways:
            with refused("consent-mismatch"):
                await stage.fetch(replace(wanted, consent=consent), gateway)
    # Each of them is good for what it was given for.
    await stage.fetch(replace(wanted, subject=cast.seller.id, consent=sellers))
    await stage.fetch(replace(wanted, facts={"contributed_months_at_least": {"n": 12}}, consent=twelve))
    await stage.fetch(replace(wanted, purpose="mortgage-lending", consent=banks), consumer=BANK)
    assert await stage.entry_codes() == ["consent-mismatch"] * 6 + ["release"] * 3


@pytest.mark.invariant("I-6")
async def test_a_data_set_that_is_not_shared_is_refused_and_recorded(stage: Stage) -> None:
    title = {"title_zh": "涉密信息", "title_en": "Secrets"}
    item = {**title, "classification": 3, "mask": "hide", "source": "tax", "ranged": False}
    entry = {
        "id": "CN-YA/GOV/tax/taxation/secrets",
        "schema_version": 1,
        **title,
        "subject_kind": "person",
        "sharing_class": "refused",
        "sharing_terms": "保守国家秘密法",
        "items": {"secret": item},
        "facts": {},
    }
    await stage.published("service", entry)
    wanted = stage.wanted("tax/taxation/secrets", stage.exchange.cast.buyer.id, items=["secret"])
    await until_yes(lambda: says(stage, wanted, "sharing-refused", *stage.session.gateways))
    assert (await stage.entry_codes())[-2:] == ["sharing-refused", "sharing-refused"]


@pytest.mark.invariant("I-6")
async def test_outside_the_hours_of_a_right_is_refused_and_recorded(stage: Stage) -> None:
    hour = int((stage.session.clock.now() + 8 * 3600) // 3600 % 24)  # in China
    document = next(each for each in load_rights() if each["service"].endswith("/ownership") and "/COM/" not in each["consumer"])
    hours = {"from": f"{(hour + 2) % 24:02}:00", "to": f"{(hour + 3) % 24:02}:00"}
    right = {
        **document,
        "service": "CN-YA/GOV/public-security/population/household",
        "items": {"household_number": "masked"},
        "facts": {},
        "conditions": {**document["conditions"], "hours": hours},
        "application": f"{stage.case}-hours",
    }
    right_id = await stage.register_right(right)
    wanted = stage.wanted("public-security/population/household", stage.exchange.cast.buyer.id, items=["household_number"])
    await until_yes(lambda: says(stage, wanted, "outside-time-window", *stage.session.gateways))
    assert (await stage.entry_codes())[-2:] == ["outside-time-window", "outside-time-window"]
    await stage.registry().revoke_right(await stage.session.token("registrar"), right_id, "the test is over")


async def says(stage: Stage, wanted: Wanted, code: str, *gateways: str) -> bool:
    """Whether each of these gateways refuses with that code by now."""
    return {(await stage.refusal(stage.prepare(wanted), gateway)).code for gateway in gateways} == {code}


@pytest.mark.invariant("I-6")
async def test_a_provider_that_hangs_is_refused_in_time_and_recorded(stage: Stage) -> None:
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})
    supervisor = stage.exchange.supervisor
    supervisor.kill("tax", signal.SIGSTOP)
    try:
        problems = await asyncio.gather(*(stage.refusal(stage.prepare(wanted), gateway) for gateway in stage.session.gateways))
    finally:
        supervisor.kill("tax", signal.SIGCONT)
    assert {(problem.status, problem.code) for problem in problems} == {(504, "deadline-exceeded")}
    assert (await stage.entry_codes())[:2] == ["deadline-exceeded"] * 2

    async def late_answers_are_told() -> bool:
        return await stage.entry_codes() == ["deadline-exceeded", "deadline-exceeded", "late", "late"]

    await until_yes(late_answers_are_told)
    for gateway in stage.session.gateways:
        await stage.served(wanted, gateway)


@pytest.mark.invariant("I-6")
async def test_a_consent_that_cannot_be_looked_up_lets_nothing_go_and_is_recorded(stage: Stage) -> None:
    consent = await stage.give_consent("citizen", CONTRIBUTIONS, facts=SHORT, valid_seconds=3_100)
    wanted = stage.wanted(CONTRIBUTIONS, stage.exchange.cast.buyer.id, facts=MONTHS, consent=consent)
    supervisor = stage.exchange.supervisor
    supervisor.kill("identity", signal.SIGSTOP)
    try:
        problems = await asyncio.gather(*(stage.refusal(stage.prepare(wanted), gateway) for gateway in stage.session.gateways))
    finally:
        supervisor.kill("identity", signal.SIGCONT)
    assert {(problem.status, problem.code) for problem in problems} == {(503, "identity-unavailable")}
    await stage.served(wanted, stage.gateway())
    assert (await stage.entry_codes())[:2] == ["identity-unavailable"] * 2


@pytest.mark.invariant("I-6")
async def test_strangers_are_recorded_one_by_one_and_then_counted(stage: Stage) -> None:
    gateway, _ = both(stage.session.gateways)
    before, sent = await stage.last_serial(), 60
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"])
    requests = [stage.prepare(wanted, key=SigningKey.generate()) for _ in range(sent)]
    problems = await asyncio.gather(*(stage.refusal(request, gateway) for request in requests))
    assert {problem.code for problem in problems} == {"signature-invalid"}

    async def counts() -> list[int]:
        rows = await stage.query("SELECT leaf FROM audit.entry WHERE kind = 'deny' AND consumer IS NULL AND serial > $1", before)
        return [json.loads(row["leaf"])["count"] for row in rows]

    async def all_are_told() -> bool:
        return sum(await counts()) >= sent

    await until_yes(all_are_told)
    told = await counts()
    assert sum(told) == sent
    assert 1 < len(told) < sent, "some singly, the rest by number"
    assert await stage.entries() == [], "what a stranger writes into a header is not believed"


@pytest.mark.invariant("I-6")
async def test_what_never_becomes_a_request_is_recorded_too(stage: Stage) -> None:
    _, gateway = both(stage.session.gateways)
    before = await stage.last_serial()
    http, url = stage.session.http, f"{gateway}/r1/CN-YA/GOV/{IDENTITY}"
    answers = [
        await http.get(url),
        await http.post(url, content=b"x" * 70_000),
        await http.post(url, headers={"content-encoding": "gzip"}, content=b"x"),
        await http.post(url, headers={"content-type": "application/json"}, content=b"{}"),
        await http.post(f"{gateway}/r1/{'a' * 600}", content=b"{}"),
    ]
    codes = [answer.json()["code"] for answer in answers]
    assert codes == ["method-not-allowed", "too-large", "malformed-request", "malformed-request", "too-large"]

    async def all_are_told() -> bool:
        rows = await stage.query("SELECT leaf FROM audit.entry WHERE kind = 'deny' AND consumer IS NULL AND serial > $1", before)
        told = [json.loads(row["leaf"]) for row in rows]
        return sum(leaf["count"] for leaf in told) == len(answers) and {leaf["code"] for leaf in told} == set(codes)

    await until_yes(all_are_told)


# --- I-44: what a refusal gives away


def shape(answer: httpx2.Response) -> tuple[object, ...]:
    """All of a refusal but the request's own id, which has the same length each time."""
    document = answer.json()
    document.pop("request_id")
    headers = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
    return answer.status_code, document, headers, len(answer.content)


Asks = Callable[[], Awaitable[httpx2.Response]]


@pytest.mark.invariant("I-44")
async def test_anothers_consent_looks_like_one_that_does_not_exist(stage: Stage) -> None:
    sellers = await stage.give_consent("stranger", CONTRIBUTIONS, facts=SHORT, valid_seconds=3_200)
    banks = await stage.give_consent("citizen", CONTRIBUTIONS, facts=SHORT, consumer=BANK, valid_seconds=3_200)
    wanted = stage.wanted(CONTRIBUTIONS, stage.exchange.cast.buyer.id, facts=MONTHS)
    for gateway in stage.session.gateways:
        shapes = [
            shape(await stage.send(stage.prepare(replace(wanted, consent=consent)), gateway))
            for consent in (sellers, banks, "00000000-0000-4000-8000-000000000000")
        ]
        assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.invariant("I-44")
async def test_a_refusal_does_not_tell_whether_a_person_is_known(stage: Stage) -> None:
    cast = stage.exchange.cast
    for wanted in (
        stage.wanted(IDENTITY, cast.buyer.id, items=["id_valid_until"]),
        stage.wanted(CONTRIBUTIONS, cast.buyer.id, facts=MONTHS),
        stage.wanted(IDENTITY, cast.buyer.id, items=["name"], purpose="mortgage-lending"),
    ):
        known = shape(await stage.send(stage.prepare(wanted)))
        unknown = shape(await stage.send(stage.prepare(replace(wanted, subject=cast.nobody))))
        assert known == unknown


@pytest.mark.invariant("I-44")
async def test_an_unknown_key_a_wrong_signature_and_an_unknown_consumer_look_the_same(stage: Stage) -> None:
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"])
    registered, unknown = stage.prepare(wanted), stage.prepare(wanted, key=SigningKey.generate())
    at = len(registered.request.headers) - 1
    name, value = registered.request.headers[at]
    other_signature = dict(unknown.request.headers)["signature"]
    broken = replace(registered.request, headers=[*registered.request.headers[:at], (name, other_signature)])
    assert value != other_signature
    nobody = stage.prepare(wanted, consumer="CN-YA/GOV/nobody-at-all/transfer", key=stage.session.key())
    shapes = [shape(await stage.send(each)) for each in (unknown, replace(registered, request=broken), nobody)]
    assert shapes[0] == shapes[1] == shapes[2]
    assert shapes[0][0] == 401


@pytest.mark.invariant("I-44")
async def test_anothers_request_cannot_be_told_from_one_that_never_was(stage: Stage) -> None:
    fetched = await stage.fetch(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]))
    shapes = []
    for request_id in (fetched.request_id, "00000000-0000-4000-8000-000000000000"):
        with refused("not-found") as caught:
            await stage.session.consumer(BANK).explain(request_id)
        shapes.append((caught.value.detail, {name: value for name, value in caught.value.extra.items() if name != "request_id"}))
    assert shapes[0] == shapes[1]
    explained = await stage.session.consumer().explain(fetched.request_id)
    assert (explained["outcome"], {check["passed"] for check in explained["checks"]}) == ("released", {True})
