"""Rights: signed by both sides, checked against the catalogue, and fenced before their end is acknowledged."""

from __future__ import annotations

import pytest

from audit.client import Answer
from exchange.problem import Problem
from registry.client import parse_right
from tests.registry.town import (
    BANK,
    CONSUMER,
    IDENTITY_SERVICE,
    POPULATION,
    PROVIDER,
    RIGHTS,
    SERVICE,
    Town,
    placed,
    story_right,
)


async def test_a_right_is_in_the_snapshot_when_it_has_been_acknowledged(town: Town) -> None:
    answer = await town.granted()
    snapshot = await town.source().refresh()
    [right] = snapshot.rights(CONSUMER, IDENTITY_SERVICE)
    assert right.id == answer["id"]
    assert right.items["address"] == "masked"
    assert snapshot.is_active(CONSUMER)


async def test_every_right_of_the_story_is_accepted(town: Town) -> None:
    for document in RIGHTS:
        await town.granted(document)
    snapshot = await town.source().refresh()
    assert snapshot.right_count == len(RIGHTS)
    assert all(not right.items for right in snapshot.rights(BANK, SERVICE))


async def test_a_right_is_an_entry_of_the_log_with_what_was_signed(town: Town) -> None:
    answer = await town.granted()
    [(leaf, body)] = [pair for pair in await town.office.entries() if pair[0]["kind"] == "grant"]
    assert (leaf["what"], leaf["grant"], leaf["consumer"], leaf["service"]) == ("right", answer["id"], CONSUMER, IDENTITY_SERVICE)
    assert body["by"] == "registrar"
    assert body["grant"]["document"] == story_right()
    assert body["grant"]["grant"] == answer["grant"]


SIGNERS: dict[str, dict[str, str]] = {
    "the consumer grants": {"grant_by": CONSUMER},
    "the provider accepts": {"acceptance_by": POPULATION},
    "another provider grants": {"grant_by": PROVIDER},
    "another consumer accepts": {"acceptance_by": BANK},
}


async def test_a_right_that_its_two_parties_have_not_signed_is_refused(town: Town) -> None:
    document = story_right()
    for name, signers in SIGNERS.items():
        with pytest.raises(Problem) as refused:
            await town.client.register_right(await town.token(), document, *await town.signed(document, **signers))
        assert refused.value.code == "signature-invalid", name
    assert (await town.source().refresh()).right_count == 0


async def test_a_right_with_one_signature_or_another_document_is_refused(town: Town) -> None:
    document = story_right()
    grant, acceptance = await town.signed(document)
    token = await town.token()
    wider = document | {"items": document["items"] | {"address": "full"}}
    for value, signatures in ((document, (grant, grant)), (document, ("x", acceptance)), (wider, (grant, acceptance))):
        with pytest.raises(Problem) as refused:
            await town.client.register_right(token, value, *signatures)
        assert refused.value.code == "signature-invalid"


async def test_a_revoked_key_signs_no_right(town: Town) -> None:
    document = story_right()
    signatures = await town.signed(document)
    await town.office.client.revoke_key(await town.token(), town.office.keys[CONSUMER].kid, "lost")
    with pytest.raises(Problem, match="signature-invalid"):
        await town.client.register_right(await town.token(), document, *signatures)


async def test_what_the_catalogue_does_not_allow_is_refused_with_every_fault(town: Town) -> None:
    document = story_right() | {"items": {"wage": "full", "name": "full"}, "purposes": ["fun"]}
    answer = await town.call(
        "POST", "/rights", body=dict(zip(("document", "grant", "acceptance"), (document, "a", "b"), strict=True))
    )
    assert answer.status_code == 400
    assert len(answer.json()["faults"]) == 2


async def test_registering_a_right_again_changes_nothing(town: Town) -> None:
    document = story_right()
    first, second = await town.granted(document), await town.granted(document)
    assert first == second
    assert len(await town.leaves("grant")) == 1


@pytest.mark.invariant("I-27")
async def test_a_revoked_right_is_fenced_before_it_is_acknowledged_and_does_not_come_back(town: Town) -> None:
    identifier = (await town.granted())["id"]
    assert await placed(town, right_id=identifier) is Answer.RELEASED
    before = await town.source().refresh()
    answer = await town.client.revoke_right(await town.token(), identifier, "the case has ended")
    assert answer["status"] == "revoked"
    assert await town.fences() == [("right", identifier, "the case has ended")]
    assert await placed(town, right_id=identifier) is Answer.WITHDRAWN
    after = await town.source().refresh()
    assert after.rights(CONSUMER, IDENTITY_SERVICE) == ()
    assert after.version > before.version
    assert (await town.client.revoke_right(await town.token(), identifier, "again"))["cause"] == "the case has ended"
    with pytest.raises(Problem, match="conflict"):
        await town.granted()


async def test_an_unknown_right_is_not_found(town: Town) -> None:
    identifier = parse_right(story_right())[0].id
    for call in (
        town.client.find_right(await town.token(), identifier),
        town.client.revoke_right(await town.token(), identifier, "x"),
    ):
        with pytest.raises(Problem, match="not-found"):
            await call


async def test_a_right_leaves_the_snapshot_when_it_ends(town: Town) -> None:
    short = story_right() | {"valid_until": "2026-09-21T14:40:00Z"}  # 26 minutes after the test begins
    await town.granted(short)
    before = (await town.source().refresh()).version
    town.office.clock.advance(3000)
    await town.app.state.desk.registrar.tick()
    snapshot = await town.source().refresh()
    assert snapshot.right_count == 0
    assert snapshot.version > before
