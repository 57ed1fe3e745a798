"""A key that is revoked or has run out."""

from __future__ import annotations

import pytest

from exchange.keys import SigningKey
from exchange.problem import Problem
from tests.identity.office import CONSUMER, Office


@pytest.mark.parametrize("end", ["revoked", "expired"])
async def test_a_key_that_has_ended_signs_nothing_more(office: Office, end: str) -> None:
    key = await office.enrolled(CONSUMER)
    registered = await office.client.find_key(key.kid)
    if end == "revoked":
        await office.client.revoke_key(await office.token("security"), key.kid, "lost")
    else:
        office.clock.advance(registered.valid_until - 1 - office.clock.now())
        with pytest.raises(Problem, match="malformed-request"):  # the signature holds, the end that is asked for does not
            await office.ask(valid_seconds=-5)
        office.clock.advance(1)
    with pytest.raises(Problem, match="signature-invalid"):
        await office.client.rotate_key(key, SigningKey.generate(), CONSUMER)
    with pytest.raises(Problem, match="signature-invalid"):
        await office.ask()


@pytest.mark.invariant("I-27")
async def test_a_revoked_key_stands_in_the_fence_and_twice_is_once(office: Office) -> None:
    key = await office.enrolled(CONSUMER)
    first = await office.client.revoke_key(await office.token("registrar"), key.kid, "lost")
    fences = await office.rows("SELECT kind, ground, cause FROM audit.fence")
    assert [tuple(row) for row in fences] == [("key", key.kid, "revoked")]
    office.clock.advance(5)
    again = await office.client.revoke_key(await office.token("security"), key.kid, "lost again")
    assert again == first
    assert len(await office.rows("SELECT FROM audit.fence")) == 1
    assert len([leaf for leaf, _ in await office.entries() if leaf["kind"] == "key" and leaf["state"] == "ended"]) == 1
