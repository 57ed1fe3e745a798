"""Whose consent it is not, for them it does not exist: same status, same words, for every verb."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2
import pytest

from exchange.envelope import HttpRequest, Tag, sign_request
from tests.identity.office import CHILD, CITIZEN, CONSUMER, FIRM, LICENCE, OTHER_CONSUMER, URL, Office

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWER = {"text_hash": "A" * 43, "language": "en"}
VERBS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "", None),
    ("POST", "/grant", ANSWER),
    ("POST", "/decline", None),
    ("POST", "/withdrawal", None),
]


def told(answer: httpx2.Response) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Everything an answer says but its request id."""
    body = {name: value for name, value in answer.json().items() if name != "request_id"}
    return answer.status_code, body, {name: value for name, value in answer.headers.items() if name != "x-request-id"}


@pytest.mark.invariant("I-44")
@pytest.mark.parametrize(("method", "verb", "body"), VERBS)
@pytest.mark.parametrize("account", ["stranger", "guardian", "child", "agent", "citizen"])
async def test_another_persons_consent_looks_like_one_that_does_not_exist(
    shared_office: Office, account: str, method: str, verb: str, body: dict[str, Any] | None
) -> None:
    office = shared_office
    subject, service = (FIRM, LICENCE) if account == "citizen" else (CITIZEN, None)
    theirs = await office.ask(subject, **({"service": service} if service else {}))
    mine_not = await office.call(method, f"/consents/{theirs['id']}{verb}", account=account, body=body)
    unknown = await office.call(method, f"/consents/{uuid.uuid4()}{verb}", account=account, body=body)
    assert told(mine_not) == told(unknown)
    assert (mine_not.status_code, mine_not.json()["code"]) == (404, "not-found")


@pytest.mark.invariant("I-44")
async def test_another_consumers_consent_looks_like_one_that_does_not_exist(shared_office: Office) -> None:
    office = shared_office
    theirs = await office.ask(consumer=CONSUMER)
    own = await office.client.follow_consent(CONSUMER, await office.enrolled(CONSUMER), theirs["id"])
    assert own["state"] == "requested"
    answers = []
    for consent_id in (theirs["id"], str(uuid.uuid4())):
        key = await office.enrolled(OTHER_CONSUMER)
        request = HttpRequest("GET", f"/consents/{consent_id}", "", "identity.test", [("x-road-client", OTHER_CONSUMER)], b"")
        signed = sign_request(key, request, tag=Tag.CONTROL, now=office.clock.now())
        answers.append(told(await office.http.get(f"{URL}/consents/{consent_id}", headers=list(signed.headers))))
    assert answers[0] == answers[1]
    assert answers[0][0] == 404


async def test_a_list_holds_the_persons_own_only(shared_office: Office) -> None:
    office = shared_office
    await office.ask(CITIZEN)
    listed = await office.client.list_consents(await office.token("stranger"))
    assert listed == {"consents": [], "next": None}


@pytest.mark.parametrize("account", ["officer", "auditor", "operator", "security", "registrar", "integrator", "supervisor"])
async def test_no_official_role_sees_or_answers_consents(shared_office: Office, account: str) -> None:
    office = shared_office
    theirs = await office.ask(CITIZEN)
    for method, verb, body in VERBS:
        assert (await office.call(method, f"/consents/{theirs['id']}{verb}", account=account, body=body)).status_code == 403
    assert (await office.call("GET", "/consents", account=account)).status_code == 403


@pytest.mark.parametrize(
    "account", ["officer", "auditor", "operator", "security", "integrator", "citizen", "agent", "supervisor", None]
)
async def test_only_the_registrar_speaks_of_guardians_and_titles(shared_office: Office, account: str | None) -> None:
    office, wanted = shared_office, 403 if account else 401
    body = {"guardian": CITIZEN, "ward": CHILD}
    for path in ("/guardianships", "/guardianships/end"):
        assert (await office.call("POST", path, account=account, body=body)).status_code == wanted
    answer = await office.call("PUT", "/catalogue/purposes/x", account=account, body={"title_zh": "x", "title_en": "x"})
    assert answer.status_code == wanted


async def test_no_answer_repeats_the_persons_number(shared_office: Office) -> None:
    office = shared_office
    consent_id = (await office.ask(CITIZEN))["id"]
    for verb in ("grant", "withdraw"):
        assert CITIZEN not in str(await office.answer(verb, consent_id))
    assert CITIZEN not in str(await office.client.list_consents(await office.token("citizen")))
    handed = await (await office.gateway()).get(consent_id)
    assert handed is not None
    assert CITIZEN not in str(handed)
