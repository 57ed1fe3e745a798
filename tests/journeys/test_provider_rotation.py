"""A provider goes over to another key while it answers: nobody is refused, every record verifies, rights stay what they are."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from exchange.keys import SigningKey
from tests.journeys.stage import DEED_TAX, PATIENCE_S, Stage, both
from tests.support.page import Shell


@pytest.mark.timeout(200)
async def test_a_providers_key_is_rotated_while_it_answers_and_no_request_is_refused(stage: Stage, tmp_path: Path) -> None:
    """To another key and back again, so that both are once the old and once the new one."""
    token, identity, registry = await stage.session.token("registrar"), stage.session.identity, stage.registry()
    home, shell = stage.session.home, Shell(tmp_path, stage.session.home.root)
    owner, first, second = "CN-YA/GOV/tax/taxation", home.key("tax"), SigningKey.generate()
    service = f"CN-YA/GOV/{DEED_TAX}"
    before = await registry.list(token, "rights", service=service, limit=200)
    second.save(tmp_path / "second.pem")
    first.save(tmp_path / "first.pem")
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})
    signed_by: list[str] = []

    async def ask(gateway: str) -> str:
        prepared = stage.prepare(wanted)
        fetched = stage.read(await stage.send(prepared, gateway), prepared)
        signed_by.append(fetched.answer.record.key.kid)
        return signed_by[-1]

    async def until_signed_by(kid: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while {await ask(gateway) for gateway in both(stage.session.gateways)} != {kid}:
                pass

    await until_signed_by(first.kid)
    await identity.rotate_key(first, second, owner)
    shell.type(f"yitong key use {owner} {tmp_path / 'second.pem'}")
    await until_signed_by(second.kid)
    shell.type(f"yitong key use {owner} {tmp_path / 'first.pem'}")
    await until_signed_by(first.kid)
    await identity.revoke_key(token, second.kid, "rotated")
    await until_signed_by(first.kid)
    changes = [kid for kid, following in pairwise(signed_by) if kid != following]
    assert len(changes) >= 2, "each answer of the whole time was verified, whichever key had signed it"
    assert await registry.list(token, "rights", service=service, limit=200) == before
