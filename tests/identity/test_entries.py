"""Every change is an entry in the log, without a person in its leaf."""

from __future__ import annotations

import pytest

from audit.client import blinded
from exchange.canonical import b64url_decode, parse_json
from exchange.keys import SigningKey
from identity.client import KeyUse
from tests.identity.office import ACCOUNTS, CHILD, CITIZEN, CONSUMER, GUARDIAN, SERVICE, STRANGER, Office, title
from tests.support.sealing import READER

PEOPLE = [row["subject"] for row in ACCOUNTS if row["subject"]]


async def moves(office: Office) -> list[tuple[str, str]]:
    """Kind and matter of each entry."""
    return [(leaf["kind"], str(leaf.get("what") or leaf.get("state") or leaf.get("cause"))) for leaf, _ in await office.entries()]


async def test_each_change_has_its_entry(office: Office) -> None:
    before = len(await office.entries())
    token = await office.token("registrar")
    await office.enrolled(CONSUMER)
    old = await office.client.enrol_key(token, SigningKey.generate(), "gateway-2", KeyUse.GATEWAY)
    await office.client.revoke_key(token, old.kid, "test")
    await office.granted()
    await office.answer("withdraw", await office.granted(items=["base"], use={"kind": "once"}))
    await office.answer("decline", (await office.ask(purpose="loan"))["id"])
    used = await office.granted(mode="store", use={"kind": "once"})
    await (await office.gateway()).report_used_up(used)
    await office.client.begin_guardianship(token, GUARDIAN, CHILD)
    await office.client.end_guardianship(token, GUARDIAN, CHILD)
    await office.client.save_titles("purposes", "new", title("new"), token)
    await office.client.save_titles("purposes", "new", title("new"), token)
    await office.ask(STRANGER)
    office.clock.advance(3600)
    await office.desks.consents.settle()
    assert (await moves(office))[before:] == [
        ("key", "active"),
        ("key", "active"),
        ("fence", "revoked"),
        ("key", "ended"),
        ("grant", "consent-requested"),
        ("grant", "consent"),
        ("grant", "consent-requested"),
        ("grant", "consent"),
        ("withdraw", "withdrawn"),
        ("grant", "consent-requested"),
        ("grant", "consent-declined"),
        ("grant", "consent-requested"),
        ("grant", "consent"),
        ("key", "active"),
        ("grant", "consent-used-up"),
        ("config", "guardianship-begun"),
        ("config", "guardianship-ended"),
        ("config", "title-purpose"),
        ("grant", "consent-requested"),
        ("grant", "consent-expired"),
        ("grant", "consent-lapsed"),
    ]


@pytest.mark.invariant("I-19")
async def test_a_leaf_names_no_person_and_no_consent_and_commits_to_its_body(office: Office) -> None:
    consent_id = await office.granted()
    await office.answer("withdraw", consent_id)
    await office.client.begin_guardianship(await office.token("registrar"), GUARDIAN, CHILD)
    rows = await office.rows("SELECT leaf, body, blind FROM audit.entry JOIN audit.body USING (serial, at)")
    assert rows
    for row in rows:
        assert not [person for person in PEOPLE if person.encode() in row["leaf"]]
        assert consent_id.encode() not in row["leaf"]
        opened = READER.open(row["body"], row["blind"])
        assert opened is not None
        assert opened.is_committed_to(parse_json(row["leaf"]))
    for leaf, body in await office.entries():
        for name in {"grant", "ground"} & leaf.keys() & {name.removesuffix("_blind") for name in body}:
            assert body[name] == consent_id
            assert leaf[name] == blinded(consent_id.encode(), b64url_decode(body[f"{name}_blind"]))


async def test_the_entry_of_a_grant_holds_the_exact_text_and_the_grant(office: Office) -> None:
    asked = await office.ask()
    granted = await office.answer("grant", asked["id"])
    [(leaf, body)] = [(leaf, body) for leaf, body in await office.entries() if leaf.get("what") == "consent"]
    assert (leaf["consumer"], leaf["service"]) == (CONSUMER, SERVICE)
    assert (body["subject"], body["by"], body["text"]) == (CITIZEN, "self", granted["texts"][0]["text"])
    [row] = await office.rows('SELECT "grant" FROM identity.consent')
    assert body["jws"] == row["grant"]


async def test_the_search_columns_say_who_asked_whom(office: Office) -> None:
    await office.granted()
    rows = await office.rows("SELECT kind, consumer, provider, service, purpose FROM audit.entry WHERE kind = 'grant'")
    provider = SERVICE.rpartition("/")[0]
    assert {tuple(row) for row in rows} == {("grant", CONSUMER, provider, SERVICE, "real-estate-transfer")}
