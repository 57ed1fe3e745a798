"""What a consumer holds in its hands: exactly what was recorded, signed by the provider, for this very question."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from jwcrypto.jwk import JWK
from sd_jwt.verifier import SDJWTVerifier

from deploy.home import CONSUMER
from deploy.local import LocalExchange
from exchange.canonical import b64url_decode
from exchange.clock import ManualClock
from exchange.receipt import verify_presentation
from gateway.app import open_gateway
from gateway.client import Prepared
from gateway.config import Settings
from gateway.disclose import Disclosed, Gateway, disclose
from tests.journeys.stage import CONTRIBUTIONS, DEED_TAX, ENCUMBRANCE, IDENTITY, LICENCE, Stage, refused

# --- I-2, I-31: what is held


@pytest.mark.invariant("I-2")
@pytest.mark.parametrize("accept", ["application/sd-jwt", "application/json"])
async def test_the_entry_commits_to_exactly_the_bytes_that_came(stage: Stage, accept: str) -> None:
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name", "address"], facts={"is_adult": {}})
    hashes, entries = [], []
    for gateway in stage.session.gateways:
        answer = await stage.send(stage.prepare(wanted), gateway, accept=accept)
        text = answer.text if accept.endswith("sd-jwt") else answer.json()["receipt"]
        shown, _, receipt = text.rpartition("~")
        # By hand, with nothing of ours: RFC 9901 section 4.3.1.
        digest = hashlib.sha256(f"{shown}~".encode("ascii")).digest()
        hashes.append(base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"))
        entries.append(claims_of(receipt)["entry"])
    found = await stage.entries()
    assert [line.leaf["sd_hash"] for line in found] == hashes
    audit = stage.session.audit(await stage.session.token("auditor"))
    for line, entry in zip(found, entries, strict=True):
        opened = await audit.entry(line.serial, "journeys of the test run")
        assert opened.entry == entry, "the leaf in the receipt is the leaf in the log, byte for byte"
        assert opened.commitment_holds is True
        [row] = await stage.query("SELECT leaf_hash FROM audit.entry WHERE serial = $1", line.serial)
        assert row["leaf_hash"] == hashlib.sha256(b"\x00" + b64url_decode(entry)).digest()


def claims_of(jwt: str) -> dict[str, Any]:
    """The payload of a JWT, not verified."""
    part = jwt.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


@pytest.mark.invariant("I-31")
async def test_another_implementation_of_sd_jwt_verifies_the_answer_and_reads_the_same(stage: Stage) -> None:
    cast, keys = stage.exchange.cast, stage.session.trust
    for service, subject, asked in (
        (IDENTITY, cast.buyer.id, {"items": "all", "facts": {"is_adult": {}, "id_is_valid": {}}}),
        (LICENCE, cast.buying_firm.id, {"items": ["name", "representative_id"]}),
        (ENCUMBRANCE, cast.seized_seller.id, {"items": ["seizures"], "facts": {"is_seized": {}}}),
    ):
        fetched = await stage.fetch(stage.wanted(service, subject, **asked))

        def issuer_key(_issuer: str, header: dict[str, Any]) -> JWK:
            entry = keys.current().key(header["kid"])
            assert entry is not None
            return JWK(**entry.key.jwk)

        verifier = SDJWTVerifier(fetched.presentation, issuer_key, CONSUMER, fetched.request_id)
        payload = verifier.get_verified_payload()
        assert {**payload["items"], **payload["masked"]} == fetched.data
        assert {name: fact["holds"] for name, fact in payload["facts"].items()} == fetched.facts
        assert payload["subject"] == subject


@pytest.mark.invariant("I-31")
async def test_a_presentation_that_was_tampered_with_is_refused(stage: Stage) -> None:
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name", "address"], facts={"is_adult": {}})
    prepared = stage.prepare(wanted)
    whole = stage.read(await stage.send(prepared), prepared)
    other = await stage.fetch(wanted)
    jwt, *disclosures, receipt = whole.presentation.split("~")
    strange = next(each for each in other.presentation.split("~")[1:-1] if each not in disclosures)
    tampered = [[*disclosures[:at], *disclosures[at + 1 :]] for at in range(len(disclosures))]
    tampered += [[*disclosures, each] for each in (*disclosures, strange)]
    tampered += [list(reversed(disclosures)), []]
    altered = json.loads(b64url_decode(disclosures[0]))
    altered[2] = "110105194912310021"
    forged = base64.urlsafe_b64encode(json.dumps(altered).encode()).rstrip(b"=").decode("ascii")
    tampered.append([forged, *disclosures[1:]])
    for shown in tampered:
        with refused("record-invalid"):
            stage.read_text("~".join([jwt, *shown, receipt]), prepared)
    for at in range(0, len(jwt), 37):
        flipped = jwt[:at] + ("A" if jwt[at] != "A" else "B") + jwt[at + 1 :]
        with refused("record-invalid"):
            stage.read_text("~".join([flipped, *disclosures, receipt]), prepared)
    assert stage.read_text(whole.presentation, prepared).data == whole.data


# --- I-34: the answer belongs to the question


@pytest.mark.invariant("I-34")
async def test_answers_that_were_swapped_on_the_way_are_refused(stage: Stage) -> None:
    cast = stage.exchange.cast
    mine = stage.prepare(stage.wanted(DEED_TAX, cast.buyer.id, facts={"deed_tax_paid": {}}))
    others = stage.prepare(stage.wanted(DEED_TAX, cast.indebted_buyer.id, facts={"deed_tax_paid": {}}))
    again = stage.prepare(stage.wanted(DEED_TAX, cast.buyer.id, facts={"deed_tax_paid": {}}))
    answers = [await stage.send(each) for each in (mine, others, again)]
    for prepared, answer in ((mine, answers[1]), (others, answers[0]), (mine, answers[2]), (again, answers[0])):
        with refused("record-invalid"):
            stage.read(answer, prepared)
    for prepared, answer in zip((mine, others, again), answers, strict=True):
        stage.read(answer, prepared)


@dataclass
class Recorder:
    """Hands a question on and keeps the answer."""

    gateway: Gateway
    kept: list[bytes]

    async def ask(self, *arguments: Any, **named: Any) -> bytes:
        """As the real one."""
        self.kept.append(await self.gateway.providers.ask(*arguments, **named))
        return self.kept[-1]


@dataclass
class Replayer:
    """A provider, or somebody before it, that answers every question with an answer of before."""

    answer: bytes

    async def ask(self, *_arguments: Any, **_named: Any) -> bytes:
        """Always the same."""
        return self.answer


@asynccontextmanager
async def gateway_in_this_process(exchange: LocalExchange, name: str = "gateway-1") -> AsyncIterator[Gateway]:
    """The same gateway once more, against the real database, bus and registry, so that a test can stand between it and them."""
    settings = {**exchange._common(name), **exchange._gateway(name)}
    named = {key.removeprefix("YITONG_").lower(): value for key, value in settings.items() if key.startswith("YITONG_")}
    async with open_gateway(Settings.model_validate(named)) as gateway:
        yield gateway


async def release(stage: Stage, gateway: Gateway, prepared: Prepared) -> str:
    """The presentation that a gateway in this process lets go."""
    outcome = await disclose(gateway, prepared.request, peer="127.0.0.1")
    [answer] = outcome.answers
    assert isinstance(answer, Disclosed)
    gateway.outcomes.sent(outcome.serials)
    stage.traffic.presentations.append(answer.presentation)
    return answer.presentation


@pytest.mark.invariant("I-34", "I-6")
async def test_a_providers_answer_of_before_is_refused_by_the_gateway_and_the_refusal_recorded(stage: Stage) -> None:
    cast, kept = stage.exchange.cast, list[bytes]()
    wanted = stage.wanted(DEED_TAX, cast.buyer.id, facts={"deed_tax_paid": {}})
    # Signed with a clock nine seconds ahead, the request is still fresh when its record is too old.
    first = stage.prepare(wanted, ahead=9)
    async with gateway_in_this_process(stage.exchange) as gateway:
        recording = replace(gateway, providers=Recorder(gateway, kept))  # type: ignore[arg-type]  # stands in for the Caller
        stage.read_text(await release(stage, recording, first), first)
        replaying = replace(gateway, providers=Replayer(kept[0]))  # type: ignore[arg-type]  # stands in for the Caller
        for another in (wanted, replace(wanted, subject=cast.indebted_buyer.id)):
            with refused("record-invalid") as caught:
                await disclose(replaying, stage.prepare(another).request, peer="127.0.0.1")
            assert "another question" in caught.value.reason
        later = replace(replaying, clock=ManualClock(stage.session.clock.now() + 65))
        with refused("record-invalid") as caught:
            await disclose(later, first.request, peer="127.0.0.1")
        assert "too old" in caught.value.reason
        elsewhere = replace(replaying, key=stage.session.home.key("gateway-2"))
        with refused("record-invalid") as caught:
            await disclose(elsewhere, first.request, peer="127.0.0.1")
        assert "another gateway" in caught.value.reason
        garbled = replace(gateway, providers=Replayer(b"\xff"))  # type: ignore[arg-type]  # stands in for the Caller
        with refused("record-invalid"):
            await disclose(garbled, stage.prepare(wanted).request, peer="127.0.0.1")
    assert sorted(await stage.entry_codes()) == ["record-invalid"] * 5 + ["release"]


@dataclass
class Broken:
    """A fault of the gateway's own."""

    async def ask(self, *_arguments: Any, **_named: Any) -> bytes:
        """Fails as nobody foresaw."""
        raise RuntimeError("a fault")


@pytest.mark.invariant("I-6")
async def test_a_fault_of_the_gateway_itself_stands_in_the_log_as_well(stage: Stage) -> None:
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})
    async with gateway_in_this_process(stage.exchange) as gateway:
        broken = replace(gateway, providers=Broken())  # type: ignore[arg-type]  # stands in for the Caller
        with pytest.raises(RuntimeError):
            await disclose(broken, stage.prepare(wanted).request, peer="127.0.0.1")
    assert await stage.entry_codes() == ["internal"]


# --- I-35: the form of an answer tells nothing


@pytest.mark.invariant("I-35")
async def test_the_form_of_a_record_is_that_of_the_permit_whatever_the_register_holds(stage: Stage) -> None:
    cast = stage.exchange.cast
    pairs: list[tuple[str, dict[str, Any], list[str]]] = [
        (ENCUMBRANCE, {"items": "all", "facts": {"is_seized": {}, "is_mortgaged": {}}}, [cast.seized_seller.id, cast.nobody]),
        (IDENTITY, {"items": "all", "facts": {"is_adult": {}}}, [cast.dotted_name.id, cast.nobody, cast.deceased.id]),
        (LICENCE, {"items": "all"}, [cast.buying_firm.id, cast.no_firm, cast.deregistered_firm.id]),
        ("real-estate/registration/ownership", {"items": "all"}, [cast.seller.id, cast.nobody]),
    ]
    for service, asked, subjects in pairs:
        forms = [form_of((await stage.fetch(stage.wanted(service, subject, **asked))).presentation) for subject in subjects]
        assert all(form == forms[0] for form in forms), service


@pytest.mark.invariant("I-35")
async def test_nor_does_it_tell_how_many_months_somebody_contributed(stage: Stage) -> None:
    forms = []
    for account, subject in (("citizen", stage.exchange.cast.buyer.id), ("guardian", stage.exchange.cast.guardian.id)):
        consent = await stage.give_consent(account, CONTRIBUTIONS, items=["months"], facts={"contributed_months_at_least": [60]})
        asked = {"items": ["months"], "facts": {"contributed_months_at_least": {"n": 60}}}
        fetched = await stage.fetch(stage.wanted(CONTRIBUTIONS, subject, **asked, consent=consent))
        forms.append(form_of(fetched.presentation))
    assert forms[0] == forms[1]


def form_of(presentation: str) -> tuple[object, ...]:
    """Everything of a record's JWT that is not a digest, an id, a time, or the one word that says whether something was found."""
    claims = claims_of(presentation.partition("~")[0])
    digests = {"subject": len(claims["_sd"])} | {form: len(claims[form]["_sd"]) for form in ("items", "masked", "facts")}
    size = len(json.dumps(claims)) + (0 if claims["found"] else -1)
    plain = {name: claims[name] for name in ("iss", "aud", "svc", "schema", "answered")}
    return digests, plain, sorted(claims), size


@pytest.mark.invariant("I-31")
async def test_a_receipt_stands_for_itself_without_the_question(stage: Stage) -> None:
    fetched = await stage.fetch(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, items=["name"]))
    snapshot = stage.session.trust.current()

    def key_of(kid: str) -> Any:
        entry = snapshot.key(kid)
        return None if entry is None else entry.key

    verified = verify_presentation(fetched.presentation, provider_key_of=key_of, gateway_key_of=key_of)
    assert verified.record.values("items") == fetched.data
    with refused("record-invalid"):
        verify_presentation(fetched.presentation, provider_key_of=lambda _: None, gateway_key_of=key_of)
