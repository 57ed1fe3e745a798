"""A department that lies: whatever it says, the consumer gets the whole truth that was permitted, or a clear problem (I-8)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.client import EpochKeys
from deploy.home import BANK, CONSUMER, GATEWAYS
from deploy.session import Session, open_session
from exchange.bus import MAX_PAYLOAD_BYTES
from exchange.canonical import b64url, b64url_decode, canonical, parse_json, sha256
from exchange.keys import SigningKey
from exchange.record import RECORD_TYPE, REFUSAL_TYPE, issue_refusal
from gateway.client import Wanted, prepare, read_answer
from tests.crash.breakable import BreakableExchange
from tests.crash.liar import AMOUNT, CERTIFICATE, Heard, Liar, Lie, lying
from tests.crash.questions import DEED_TAX as SERVICE
from tests.crash.questions import about_name, answered_at_last, wanted
from tests.support.waiting import until_yes

PATIENT, IMPATIENT = GATEWAYS
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", autouse=True)
def the_department_is_gone(exchange: BreakableExchange) -> Iterator[None]:
    """Kill the department's own process for as long as these tests run, or it would answer every other call."""
    exchange.wait_whole()
    with exchange.down("tax"):
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(exchange: BreakableExchange, the_department_is_gone: None) -> AsyncIterator[Session]:
    """Give the desks of the exchange, one department of which is gone; the same for all tests here."""
    async with open_session(exchange.home) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def liar(exchange: BreakableExchange) -> AsyncIterator[Liar]:
    """Give the one who answers in its place."""
    async with lying(exchange) as listening:
        yield listening


def question(exchange: BreakableExchange) -> Wanted:
    """An item in full, one masked, and a fact."""
    return wanted(SERVICE, exchange.cast.buyer.id, items=["paid_on", "certificate_number"], facts={"deed_tax_paid": {}})


class Asked:
    """A question on its way, and exactly the bytes that came back."""

    def __init__(self, session: Session, wanted: Wanted) -> None:
        """Sign it."""
        self._session = session
        self.prepared = prepare(CONSUMER, session.key(), wanted, now=session.clock.now())
        self.status, self.body = 0, b""

    async def send(self, gateway: str) -> Asked:
        """Ask a gateway."""
        request = self.prepared.request
        url = self._session.urls[gateway] + request.path
        answer = await self._session.http.post(url, content=request.body, headers=list(request.headers), timeout=20)
        self.status, self.body = answer.status_code, answer.content
        return self

    @property
    def document(self) -> dict[str, Any]:
        """The answer as JSON."""
        read: dict[str, Any] = parse_json(self.body, max_bytes=16_777_216)
        return read

    @property
    def request_id(self) -> str:
        """The id under which it was asked."""
        return self.prepared.asked.request_id

    def verified(self) -> Any:
        """What the consumer's library makes of the receipt."""
        receipt = self.document["receipt"].encode("ascii")
        return read_answer(self.status, receipt, self.prepared, self._session.trust.current(), now=self._session.clock.now())


def unreferenced(heard: Heard) -> str:
    extra = b64url(canonical(["c2FsdC1vZi1hLWxpYXI", "tax_amount", AMOUNT]))
    return f"{heard.record()}{extra}~"


def reworded(heard: Heard) -> str:
    jwt, *texts = heard.record().split("~")
    return "~".join([jwt, b64url(canonical(["c2FsdC1vZi1hLWxpYXI", "subject", heard.answer.subject])), *texts[1:]])


def without_alg(heard: Heard) -> str:
    jwt, *texts = heard.record().split("~")
    head = b64url(canonical({"alg": "none", "kid": heard.key.kid, "typ": RECORD_TYPE}))
    return "~".join([f"{head}.{jwt.split('.')[1]}.", *texts])


def hmac_with_the_public_key(heard: Heard) -> str:
    """The old confusion: the verifier's public key taken for a shared secret."""
    jwt, *texts = heard.record().split("~")

    jwk = heard.key.public_jwk
    numbers = EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), SECP256R1())
    secret = numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = f"{b64url(canonical({'alg': 'HS256', 'kid': heard.key.kid, 'typ': RECORD_TYPE}))}.{jwt.split('.')[1]}"
    return "~".join([f"{text}.{b64url(hmac.digest(secret, text.encode('ascii'), hashlib.sha256))}", *texts])


def _number(text: str) -> int:
    return int.from_bytes(b64url_decode(text))


def by_a_key_of_its_own(heard: Heard) -> str:
    own = SigningKey.generate()
    return replace(heard, key=own).resigned(lambda _: None, header={"kid": own.kid, "jwk": own.public_jwk})


def edit(**members: object) -> Callable[[dict[str, Any]], None]:
    return lambda payload: payload.update(members)


def twice_in_sd(payload: dict[str, Any]) -> None:
    payload["items"] = {"_sd": payload["items"]["_sd"] * 2}
    payload["answered"]["items"] = ["paid_on", "paid_by"]


def hidden_digest(payload: dict[str, Any]) -> None:
    payload["masked"]["_sd"].append(b64url(sha256(b"to be opened later")))


# What is said, and the code with which the gateway refuses it.
LIES: dict[str, tuple[Lie, str]] = {
    "nothing in it": (lambda _: b"", "record-invalid"),
    "noise": (lambda _: bytes(range(256)) * 40, "record-invalid"),
    "a page of a web server": (lambda _: "<html><body>502 Bad Gateway</body></html>", "record-invalid"),
    "plain JSON with the data": (lambda _: json.dumps({"certificate_number": CERTIFICATE}), "record-invalid"),
    "eight megabytes of tildes": (lambda _: b"~" * MAX_PAYLOAD_BYTES, "record-invalid"),
    "eight megabytes of letters": (lambda _: b"a" * MAX_PAYLOAD_BYTES, "record-invalid"),
    "half of the signed part": (lambda heard: heard.record()[:90], "record-invalid"),
    "all but the last byte": (lambda heard: heard.record()[:-1], "record-invalid"),
    "all but the last ten": (lambda heard: heard.record()[:-10], "record-invalid"),
    "the answer to another request": (lambda heard: heard.record(request=b64url(bytes(32))), "record-invalid"),
    "another subject": (lambda heard: heard.record(answer=replace(heard.answer, subject="110101199003078531")), "record-invalid"),
    "no subject": (lambda heard: "~".join([p for i, p in enumerate(heard.record().split("~")) if i != 1]), "record-invalid"),
    "for another gateway": (lambda heard: heard.record(gateway_key=SigningKey.generate().public_jwk), "record-invalid"),
    "for another consumer": (lambda heard: heard.record(audience=BANK), "record-invalid"),
    "of another service": (lambda heard: heard.record(service=SERVICE.replace("deed", "income")), "record-invalid"),
    "of another department": (lambda heard: heard.record(issuer="CN-YA/GOV/public-security/population"), "record-invalid"),
    "of another version of the data set": (lambda heard: heard.record(schema=2), "record-invalid"),
    "older than a minute": (lambda heard: heard.record(issued_at=heard.claims.issued_at - 62), "record-invalid"),
    "from the future": (lambda heard: heard.record(issued_at=heard.claims.issued_at + 30), "record-invalid"),
    "alg none": (without_alg, "record-invalid"),
    "alg HS256 with the public key": (hmac_with_the_public_key, "record-invalid"),
    "alg of another curve": (lambda heard: heard.resigned(edit(), header={"alg": "Ed25519"}), "record-invalid"),
    "a key that nobody knows": (lambda heard: heard.record(key=SigningKey.generate()), "record-invalid"),
    "a key that the record brings along": (by_a_key_of_its_own, "record-invalid"),
    "a critical header": (lambda heard: heard.resigned(edit(), header={"crit": ["b64"], "b64": False}), "record-invalid"),
    "another type": (lambda heard: heard.resigned(edit(), header={"typ": "dc+sd-jwt"}), "record-invalid"),
    "changed after it was signed": (lambda heard: "A" + heard.record()[1:], "record-invalid"),
    "a disclosure more": (unreferenced, "record-invalid"),
    "a disclosure twice": (lambda heard: heard.record() + heard.record().split("~")[1] + "~", "record-invalid"),
    "a disclosure with another salt": (reworded, "record-invalid"),
    "a digest twice": (lambda heard: heard.resigned(twice_in_sd), "record-invalid"),
    "a digest to be opened later": (lambda heard: heard.resigned(hidden_digest), "record-invalid"),
    "six hundred disclosures": (lambda heard: heard.record() + "WyJhIiwiYiIsMV0~" * 600, "record-invalid"),
    "values of what was not found": (lambda heard: heard.resigned(edit(found=False)), "record-invalid"),
    "an answer that says nothing of what it answers": (lambda heard: heard.resigned(edit(answered=None)), "record-invalid"),
    "a value beside the hidden ones": (lambda heard: heard.resigned(edit(subject=CERTIFICATE)), "record-invalid"),
    "numbers that are none": (lambda heard: heard.resigned(edit(iat=True)), "record-invalid"),
    "JSON with a name twice": (lambda heard: heard.sign(b'{"iss":"a","iss":"b"}') + "~", "record-invalid"),
    "a list": (lambda heard: heard.sign(b"[1,2,3]") + "~", "record-invalid"),
    "a receipt of its own": (lambda heard: heard.record() + heard.sign(b'{"iat":1}', {"typ": "kb+jwt"}), "record-invalid"),
    "a refusal that nobody signed": (lambda _: "eyJhbGciOiJub25lIn0.e30.", "record-invalid"),
    "a refusal of another request": (lambda heard: refusing(heard, "right-missing", b64url(bytes(32))), "provider-failed"),
    "a refusal for a reason of its own": (lambda heard: refusing(heard, "because", heard.request), "provider-failed"),
    "a refusal in the gateway's name": (lambda heard: refusing(heard, "consent-withdrawn", heard.request), "provider-failed"),
    "a record dressed as a refusal": (lambda heard: heard.record().split("~")[0], "record-invalid"),
    "a refusal dressed as a record": (lambda heard: heard.sign(b"{}", {"typ": REFUSAL_TYPE}) + "~", "record-invalid"),
}


def refusing(heard: Heard, code: str, request: str) -> str:
    return issue_refusal(heard.key, request=request, code=code, issued_at=heard.claims.issued_at)


@pytest.mark.invariant("I-8")
@pytest.mark.parametrize("name", LIES)
async def test_a_lie_is_refused_whole_and_the_refusal_is_in_the_log(
    exchange: BreakableExchange, session: Session, liar: Liar, name: str
) -> None:
    liar.lie, code = LIES[name]
    asked = await Asked(session, question(exchange)).send(PATIENT)
    assert asked.document["code"] == code
    assert asked.status == asked.document["status"] == 502
    assert asked.document["data_left"] is False
    for word in (CERTIFICATE, AMOUNT, "2026-03-04", exchange.cast.buyer.id):
        assert word.encode() not in asked.body
    explanation = await session.consumer().explain(asked.request_id)
    assert (explanation["outcome"], explanation["code"]) == ("denied", code)


@pytest.mark.invariant("I-8")
async def test_only_the_first_answer_counts(exchange: BreakableExchange, session: Session, liar: Liar) -> None:
    liar.lie, liar.again = (lambda _: "garbage"), (lambda heard: heard.record())
    asked = await Asked(session, question(exchange)).send(PATIENT)
    assert asked.document["code"] == "record-invalid"
    assert (await session.consumer().explain(asked.request_id))["outcome"] == "denied"


@pytest.mark.invariant("I-8")
async def test_an_answer_that_comes_too_late_is_recorded_and_never_released(
    exchange: BreakableExchange, session: Session, liar: Liar
) -> None:
    answered = asyncio.Event()
    given_up = asyncio.Event()

    async def wait(_heard: Heard) -> None:
        await given_up.wait()
        answered.set()

    liar.before = wait
    asked = await Asked(session, question(exchange)).send(IMPATIENT)
    assert (asked.status, asked.document["code"]) == (504, "deadline-exceeded")
    given_up.set()
    await answered.wait()
    liar.before = None
    assert (await Asked(session, question(exchange)).send(IMPATIENT)).status == 200
    assert (await session.consumer().explain(asked.request_id))["outcome"] == "denied"
    rid = EpochKeys.load(exchange.home.secrets / "epoch-keys.json").rid(CONSUMER, asked.request_id)
    late = "SELECT count(*) = 1 FROM audit.entry WHERE kind = 'late' AND position($1::bytea IN leaf) > 0"
    connection = await asyncpg.connect(exchange.database().owner_url)
    try:
        await until_yes(lambda: connection.fetchval(late, b64url(rid).encode("ascii")))
    finally:
        await connection.close()


# What the department discloses beyond the permit, or leaves out; the names that are withheld then.
DISOBEDIENCES: dict[str, tuple[Lie, set[str]]] = {
    "the full value where a masked one was permitted": (
        lambda heard: heard.record(
            answer=replace(heard.answer, items={**heard.answer.items, "certificate_number": CERTIFICATE}, masked={})
        ),
        {"certificate_number"},
    ),
    "an item that nobody asked for": (
        lambda heard: heard.record(answer=replace(heard.answer, items={**heard.answer.items, "tax_amount": AMOUNT})),
        set(),
    ),
    "a masked form of what nobody asked for": (
        lambda heard: heard.record(answer=replace(heard.answer, masked={**heard.answer.masked, "tax_amount": AMOUNT})),
        set(),
    ),
    "a fact that nobody asked for": (
        lambda heard: heard.record(
            answer=replace(heard.answer, facts={**heard.answer.facts, AMOUNT: {"args": {}, "holds": True}})
        ),
        set(),
    ),
    "a fact for other arguments": (
        lambda heard: heard.record(
            answer=replace(heard.answer, facts={"deed_tax_paid": {"args": {"n": 4881237}, "holds": True}})
        ),
        {"deed_tax_paid"},
    ),
    "nothing but the subject": (
        lambda heard: "~".join([*heard.record().split("~")[:2], ""]),
        {"paid_on", "certificate_number", "deed_tax_paid"},
    ),
    "all but one": (lambda heard: "~".join([*heard.record().split("~")[:3], ""]), {"certificate_number", "deed_tax_paid"}),
}


@pytest.mark.invariant("I-30")
@pytest.mark.parametrize("name", DISOBEDIENCES)
async def test_what_the_gateway_did_not_decide_does_not_leave_and_what_is_missing_is_named(
    exchange: BreakableExchange, session: Session, liar: Liar, name: str
) -> None:
    liar.lie, withheld = DISOBEDIENCES[name]
    asked = await Asked(session, question(exchange)).send(PATIENT)
    assert asked.status == 200
    fetched = asked.verified()
    assert dict(fetched.withheld) == dict.fromkeys(withheld, "provider-failed") == asked.document["withheld"]
    assert {*fetched.data, *fetched.facts} == {"paid_on", "certificate_number", "deed_tax_paid"} - withheld
    shown = [(d.name, d.value) for d in fetched.answer.record.disclosures]
    assert not [word for word in (CERTIFICATE, AMOUNT, "4881237") if word in json.dumps(shown)]


async def test_a_released_answer_says_what_the_department_said(exchange: BreakableExchange, session: Session, liar: Liar) -> None:
    asked = await Asked(session, question(exchange)).send(PATIENT)
    assert dict(asked.verified().data) == {"paid_on": "2026-03-04", "certificate_number": "**********"}
    assert liar.exchange is exchange


@pytest.mark.invariant("I-3")
async def test_a_release_whose_commit_nobody_saw_is_not_answered_and_stands_as_aborted(
    exchange: BreakableExchange, session: Session, liar: Liar, record_property: Callable[[str, object], None]
) -> None:
    """The database stops between the provider's answer and the release: it may commit what nobody waits for any more."""
    with_postgres_stopped = exchange.frozen("postgres")

    async def stop(_heard: Heard) -> None:
        with_postgres_stopped.__enter__()

    liar.before, began = stop, time.monotonic()
    try:
        asked = await Asked(session, question(exchange)).send(PATIENT)
    finally:
        with_postgres_stopped.__exit__(None, None, None)
    record_property("answer_s", time.monotonic() - began)
    liar.before = None
    assert (asked.status, asked.document["code"]) == (503, "audit-unavailable")
    for gateway in GATEWAYS:
        await answered_at_last(session.consumer(gateways=[session.urls[gateway]]), about_name(exchange.cast.buyer.id))
    rid = EpochKeys.load(exchange.home.secrets / "epoch-keys.json").rid(CONSUMER, asked.request_id)
    connection = await asyncpg.connect(exchange.database().owner_url)
    try:
        serial = await connection.fetchval("SELECT serial FROM audit.release_id WHERE rid = $1", rid)
        record_property("committed_unseen", serial is not None)
        if serial is not None:
            aborted = "SELECT true FROM audit.outcome WHERE $1::bigint = ANY (aborted)"
            await until_yes(lambda: connection.fetchval(aborted, serial))
    finally:
        await connection.close()


@pytest.mark.invariant("I-8")
async def test_a_record_larger_than_the_bus_takes_is_refused_by_its_name(exchange: BreakableExchange, session: Session) -> None:
    """Said by an honest department, whose register holds nine megabytes where a name should be."""
    subject = exchange.cast.seller.id
    connection = await asyncpg.connect(exchange.database().owner_url)
    try:
        name = await connection.fetchval("SELECT name FROM public_security.resident_identity WHERE subject = $1", subject)
        renamed = "UPDATE public_security.resident_identity SET name = $2 WHERE subject = $1"
        await connection.execute(renamed, subject, "N" * 9_000_000)
        try:
            asked = await Asked(session, about_name(subject)).send(PATIENT)
        finally:
            await connection.execute(renamed, subject, name)
    finally:
        await connection.close()
    assert (asked.status, asked.document["code"]) == (413, "too-large")
    assert (await session.consumer().explain(asked.request_id))["code"] == "too-large"
    assert (await Asked(session, about_name(subject)).send(PATIENT)).document["data"] == {"name": name}
