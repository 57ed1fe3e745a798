"""A consent from being asked for to its end, through the API."""

from __future__ import annotations

import pytest

from exchange.problem import Problem
from identity.client import covers, verify_grant
from tests.identity.office import CITIZEN, CONSUMER, SERVICE, Office


async def test_a_granted_consent_reaches_the_gateway_and_covers_what_was_shown(office: Office) -> None:
    asked = await office.ask()
    assert asked["state"] == "requested"
    assert CITIZEN not in str(asked)
    granted = await office.answer("grant", asked["id"])
    assert granted["state"] == "granted"
    handed = await (await office.gateway()).get(asked["id"])
    assert handed is not None
    key = office.desks.consents.key.public
    grant = verify_grant(handed.grant_jws, lambda kid: key if kid == key.kid else None)
    assert grant.text_hash == granted["texts"][0]["text_hash"]
    assert covers(
        grant,
        handed.blind,
        consumer=CONSUMER,
        service=SERVICE,
        purpose="real-estate-transfer",
        subject=CITIZEN,
        items={"months": "full"},
        facts={"contributed_months_at_least": {"n": 24}},
        now=office.clock.now(),
    )
    assert CITIZEN not in handed.grant_jws


async def test_an_unknown_consent_is_none_to_a_gateway(office: Office) -> None:
    assert await (await office.gateway()).get("no-such-consent") is None


async def test_withdrawn_is_told_to_the_gateway(office: Office) -> None:
    consent_id = await office.granted()
    assert (await office.answer("withdraw", consent_id))["state"] == "withdrawn"
    handed = await (await office.gateway()).get(consent_id)
    assert handed is not None
    assert handed.state == "withdrawn"
    with pytest.raises(Problem, match="conflict"):
        await office.answer("grant", consent_id)
