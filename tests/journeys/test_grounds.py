"""Whatever a release stands on can be taken away, and from the acknowledgement on neither gateway releases on it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from deploy.bootstrap import load_rights
from deploy.home import CONSUMER, GATEWAYS
from exchange.keys import SigningKey
from gateway.client import Prepared, Wanted
from identity.client import KeyUse
from tests.journeys.figures import FIGURES
from tests.journeys.stage import DEED_TAX, Stage, both, eventually

HOUSEHOLD = "public-security/population/household"
Ask = Callable[[], Prepared]


@dataclass(slots=True)
class Traveller:
    """Asks on and on at some gateways, and remembers when each request began and what came of it."""

    stage: Stage
    prepare: Ask
    gateways: tuple[str, ...]
    asked: list[tuple[float, str]] = field(default_factory=list)

    async def ask(self, gateway: str) -> str:
        """One request; nothing, or the code of the refusal."""
        began = time.monotonic()
        answer = await self.stage.send(self.prepare(), gateway)
        code = "" if answer.status_code == 200 else str(answer.json()["code"])
        self.asked.append((began, code))
        return code

    @contextlib.asynccontextmanager
    async def travelling(self) -> AsyncIterator[None]:
        """Ask on and on within the block, twice at each gateway."""
        ended = asyncio.Event()

        async def work(gateway: str) -> None:
            while not ended.is_set():
                await self.ask(gateway)

        workers = [asyncio.create_task(work(gateway)) for gateway in self.gateways * 2]
        try:
            yield
        finally:
            ended.set()
            await asyncio.gather(*workers)

    async def served(self) -> None:
        """Return when all gateways answer."""
        for gateway in self.gateways:
            await eventually(lambda gateway=gateway: self._require(gateway))  # type: ignore[misc]  # bound at once

    async def _require(self, gateway: str) -> None:
        prepared = self.prepare()
        self.stage.read(await self.stage.send(prepared, gateway), prepared)


async def stops(traveller: Traveller, ground: str, withdraw: Callable[[], Awaitable[object]], *codes: str) -> None:
    """Withdraw a ground under way: from the acknowledgement on every answer is one of `codes`, and the log agrees."""
    stage = traveller.stage
    await traveller.served()
    async with traveller.travelling():
        await withdraw()
        acknowledged = time.monotonic()
        at_once = await asyncio.gather(*(traveller.ask(gateway) for gateway in traveller.gateways * 4))
    denied = time.monotonic() - acknowledged
    assert set(at_once) <= set(codes), at_once
    after = {code for began, code in traveller.asked if began > acknowledged}
    assert after <= set(codes)
    [fence] = await stage.query("SELECT max(serial) AS serial FROM audit.fence WHERE ground = $1", ground)
    released = [line.serial for line in await stage.entries(kind="release") if on_ground(line.leaf, ground)]
    assert released
    assert max(released) < fence["serial"]
    FIGURES[f"I-27 {ground.rpartition('/')[2][:24]}"] = f"{len(at_once)} refusals within {1000 * denied:.0f} ms of the answer"


def on_ground(leaf: dict[str, Any], ground: str) -> bool:
    """Whether a release names this ground in its leaf."""
    grounds = {leaf[name] for name in ("consumer", "consumer_key", "provider", "right", "purpose", "gateway")}
    grounds |= {leaf["consumer"].rpartition("/")[0], leaf["provider"].rpartition("/")[0], f"{leaf['service']}@{leaf['schema']}"}
    return ground in grounds


def right_document(stage: Stage, **changes: Any) -> dict[str, Any]:
    """A right of the transfer system on households, which the story does not use."""
    document = next(each for each in load_rights() if each["service"].endswith("/deed-tax"))
    household = {"service": f"CN-YA/GOV/{HOUSEHOLD}", "items": {"household_number": "masked"}, "facts": {}}
    return {**document, **household, "application": stage.case, **changes}


def wanted_household(stage: Stage, **more: Any) -> Wanted:
    return stage.wanted(HOUSEHOLD, stage.exchange.cast.buyer.id, items=["household_number"], **more)


def deed_tax(stage: Stage) -> Prepared:
    return stage.prepare(stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}}))


@pytest.mark.invariant("I-27")
async def test_a_revoked_right_is_released_on_no_more(stage: Stage) -> None:
    right = await stage.register_right(right_document(stage))
    token = await stage.session.token("registrar")
    traveller = Traveller(stage, lambda: stage.prepare(wanted_household(stage)), both(stage.session.gateways))
    await stops(traveller, right, lambda: stage.registry().revoke_right(token, right, "test"), "right-missing")


@pytest.mark.invariant("I-27")
async def test_a_suspended_right_is_released_on_no_more_until_every_side_has_lifted(stage: Stage) -> None:
    right, registry = await stage.register_right(right_document(stage)), stage.registry()
    registrar, integrator = await stage.session.token("registrar"), await stage.session.token("integrator")
    traveller = Traveller(stage, lambda: stage.prepare(wanted_household(stage)), both(stage.session.gateways))
    await registry.suspend_right(integrator, right, "our system is being rebuilt")
    await registry.lift_right(integrator, right)
    await stops(traveller, right, lambda: registry.suspend_right(registrar, right, "an inspection"), "right-missing")
    await registry.suspend_right(integrator, right, "our system is being rebuilt")
    await registry.lift_right(registrar, right)
    assert set(await asyncio.gather(*(traveller.ask(gateway) for gateway in traveller.gateways))) == {"right-missing"}
    await registry.lift_right(integrator, right)
    await traveller.served()
    await registry.revoke_right(registrar, right, "the test is over")


async def test_a_key_is_rotated_without_downtime_and_rights_stay(stage: Stage) -> None:
    token, identity, registry = await stage.session.token("registrar"), stage.session.identity, stage.registry()
    old, following = SigningKey.generate(), SigningKey.generate()
    await identity.enrol_key(token, old, CONSUMER, KeyUse.SUBSYSTEM)
    before = await registry.list(token, "rights", consumer=CONSUMER, limit=200)
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})
    with_old = Traveller(stage, lambda: stage.prepare(wanted, key=old), both(stage.session.gateways))
    with_new = Traveller(stage, lambda: stage.prepare(wanted, key=following), both(stage.session.gateways))
    await with_old.served()
    async with with_old.travelling():
        await identity.rotate_key(old, following, CONSUMER)
        await with_new.served()
    assert {code for _, code in with_old.asked} == {""}, "the old key counted all the while"
    async with with_new.travelling():
        await identity.revoke_key(token, old.kid, "rotated")
    assert {code for _, code in with_new.asked} == {""}, "and so did the new one when the old one went"
    assert set(await asyncio.gather(*(with_old.ask(gateway) for gateway in with_old.gateways))) == {"key-revoked"}
    assert await registry.list(token, "rights", consumer=CONSUMER, limit=200) == before
    await identity.revoke_key(token, following.kid, "the test is over")


@pytest.mark.invariant("I-27")
@pytest.mark.parametrize(
    ("collection", "identifier", "ground", "codes"),
    [
        ("members", "CN-YA/GOV/real-estate", "CN-YA/GOV/real-estate", ("member-suspended",)),
        ("members", "CN-YA/GOV/tax", "CN-YA/GOV/tax", ("member-suspended",)),
        ("subsystems", "CN-YA/GOV/real-estate/transfer", "CN-YA/GOV/real-estate/transfer", ("member-suspended",)),
        ("services", f"CN-YA/GOV/{DEED_TAX}", f"CN-YA/GOV/{DEED_TAX}@1", ("unknown-service",)),
        ("purposes", "real-estate-transfer", "real-estate-transfer", ("purpose-not-covered",)),
    ],
)
async def test_what_is_suspended_is_released_on_no_more_until_it_is_lifted(
    stage: Stage, collection: str, identifier: str, ground: str, codes: tuple[str, ...]
) -> None:
    token, registry = await stage.session.token("registrar"), stage.registry()
    traveller = Traveller(stage, lambda: deed_tax(stage), both(stage.session.gateways))
    try:
        await stops(traveller, ground, lambda: registry.suspend(token, collection, identifier, "test"), *codes)
        assert set(codes) & set(await stage.entry_codes()), "and the refusals stand in the log"
    finally:
        await registry.lift(token, collection, identifier)
    await traveller.served()


@pytest.mark.invariant("I-27")
async def test_a_suspended_gateway_releases_no_more_and_the_other_goes_on(stage: Stage) -> None:
    token, registry = await stage.session.token("registrar"), stage.registry()
    (first, second), name = both(stage.session.gateways), GATEWAYS[1]
    traveller = Traveller(stage, lambda: deed_tax(stage), (second,))
    try:
        await stops(
            traveller, name, lambda: registry.suspend(token, "gateways", name, "test"), "member-suspended", "provider-failed"
        )
        prepared = deed_tax(stage)
        stage.read(await stage.send(prepared, first), prepared)
    finally:
        await registry.lift(token, "gateways", name)
    await traveller.served()


@pytest.mark.invariant("I-27")
async def test_a_revoked_key_signs_no_more(stage: Stage) -> None:
    token, identity = await stage.session.token("registrar"), stage.session.identity
    key = SigningKey.generate()
    await identity.enrol_key(token, key, CONSUMER, KeyUse.SUBSYSTEM)
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})
    traveller = Traveller(stage, lambda: stage.prepare(wanted, key=key), both(stage.session.gateways))
    await stops(traveller, key.kid, lambda: identity.revoke_key(token, key.kid, "test"), "key-revoked")
    assert "key-revoked" in await stage.entry_codes()


@pytest.mark.invariant("I-27")
async def test_who_begins_with_a_snapshot_from_before_is_told_so_and_may_try_again(stage: Stage) -> None:
    """What narrows without an id of its own raises the floor: no gateway releases on how it was before."""
    token, registry = await stage.session.token("registrar"), stage.registry()
    right = await stage.register_right(right_document(stage))
    members = (await registry.list(token, "members", limit=100))["entries"]
    entry = next(each["entry"] for each in members if each["entry"]["id"] == CONSUMER.rpartition("/")[0])
    member = {name: value for name, value in entry.items() if name != "status"}
    traveller = Traveller(stage, lambda: stage.prepare(wanted_household(stage)), both(stage.session.gateways))
    await traveller.served()
    async with traveller.travelling():
        await stage.published("member", {**member, "restricted": True})  # who may ask for facts only
        acknowledged = time.monotonic()
        at_once = await asyncio.gather(*(traveller.ask(gateway) for gateway in traveller.gateways * 4))
    assert set(at_once) <= {"right-missing", "registry-stale"}, at_once
    assert all(code for began, code in traveller.asked if began > acknowledged)
    await stage.published("member", member)
    await traveller.served()
    await registry.revoke_right(token, right, "the test is over")
