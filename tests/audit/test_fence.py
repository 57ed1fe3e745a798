"""Withdrawals: what is acknowledged stops every later release, and only who owns a ground can withdraw it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from audit import store
from audit.client import Answer, FenceDesk, FenceReceipt, GroundKind, Heading, ReleaseDesk, ReleaseRow
from deploy.postgres.roles import Database
from exchange.problem import Problem
from tests.support.audit_rows import connected, content, fence_row, opened, release_row, unique
from tests.support.sealing import SEALER
from tests.support.waiting import until_async

FENCE = "SELECT * FROM audit.fence($1::text[], $2::text[], $3::text[], $4::audit.heading[], $5::audit.content[])"
LIFT = "SELECT audit.lift($1, $2, $3, $4, $5::audit.heading, $6::audit.content)"

# Each ground of a claim: its kind, and what a claim looks like that stands on `name`.
GROUNDS: dict[str, tuple[GroundKind, Any]] = {
    "consumer_member": (GroundKind.MEMBER, lambda name: {"consumer_member": name, "consumer_subsystem": f"{name}/system"}),
    "consumer_subsystem": (GroundKind.SUBSYSTEM, lambda name: {"consumer_member": "m", "consumer_subsystem": name}),
    "consumer_key": (GroundKind.KEY, lambda name: {"consumer_key": name}),
    "provider_member": (GroundKind.MEMBER, lambda name: {"provider_member": name, "provider_subsystem": f"{name}/system"}),
    "provider_subsystem": (GroundKind.SUBSYSTEM, lambda name: {"provider_member": "m", "provider_subsystem": name}),
    "provider_key": (GroundKind.KEY, lambda name: {"provider_key": name}),
    "service_version": (GroundKind.SERVICE_VERSION, lambda name: {"service_version": name}),
    "right_id": (GroundKind.RIGHT, lambda name: {"right_id": name}),
    "purpose": (GroundKind.PURPOSE, lambda name: {"purpose": name}),
    "gateway": (GroundKind.GATEWAY, lambda name: {"gateway": name}),
    "consent": (GroundKind.CONSENT, lambda name: {"consent": name}),
}
LIFTABLE = [name for name, (kind, _) in GROUNDS.items() if kind.can_be_lifted]


@pytest.fixture
def database(module_database: Database) -> Database:
    """One database for all: each test names its own grounds."""
    return module_database


@dataclass(slots=True)
class Desks:
    """Everybody's way in."""

    gateway: ReleaseDesk
    identity: FenceDesk
    registry: FenceDesk

    def owner(self, kind: GroundKind) -> FenceDesk:
        """Who may withdraw grounds of this kind."""
        return self.identity if kind in {GroundKind.CONSENT, GroundKind.KEY} else self.registry


@pytest.fixture
async def desks(database: Database) -> AsyncIterator[Desks]:
    every = Desks(
        ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=1),
        FenceDesk(database.url("yitong_identity"), SEALER),
        FenceDesk(database.url("yitong_registry"), SEALER),
    )
    async with opened(every.gateway, every.identity, every.registry):
        yield every


# --- Every ground -----------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-27")
@pytest.mark.parametrize("ground", GROUNDS)
async def test_a_release_on_a_withdrawn_ground_is_refused_and_the_ground_named(desks: Desks, ground: str) -> None:
    kind, stands_on = GROUNDS[ground]
    name, other = unique("m/"), unique("m/")
    assert (await desks.gateway.place(release_row(**stands_on(name)))).answer is Answer.RELEASED
    await desks.owner(kind).fence(fence_row(kind, name, "for a reason"))
    verdict, beside = await asyncio.gather(
        desks.gateway.place(release_row(**stands_on(name))), desks.gateway.place(release_row(**stands_on(other)))
    )
    assert (verdict.answer, verdict.ground_kind, verdict.ground, verdict.cause) == (
        Answer.WITHDRAWN, kind, name, "for a reason",
    )  # fmt: skip
    assert beside.answer is Answer.RELEASED


async def test_a_ground_of_another_kind_with_the_same_name_is_not_withdrawn(desks: Desks) -> None:
    name = unique("same")
    await desks.registry.fence(fence_row(GroundKind.PURPOSE, name))
    assert (await desks.gateway.place(release_row(gateway=name))).answer is Answer.RELEASED


async def test_of_several_withdrawn_grounds_the_first_in_order_is_named(desks: Desks) -> None:
    purpose, consent = unique("purpose"), unique("consent")
    await desks.identity.fence(fence_row(GroundKind.CONSENT, consent))
    await desks.registry.fence(fence_row(GroundKind.PURPOSE, purpose, "later, and yet first"))
    verdict = await desks.gateway.place(release_row(purpose=purpose, consent=consent))
    assert (verdict.ground_kind, verdict.cause) == (GroundKind.PURPOSE, "later, and yet first")


# --- Under load -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Storm:
    """Gateways that release without pause on many grounds of one kind, while some of these are withdrawn."""

    desks: list[ReleaseDesk]
    owner: FenceDesk
    ground: str
    names: list[str]
    acknowledged: dict[str, FenceReceipt] = field(default_factory=dict)
    answers: Counter[tuple[bool, Answer]] = field(default_factory=Counter)
    is_over: bool = False

    async def blow(self, withdrawn: list[str], placements_between: int) -> None:
        """Withdraw one after the other, each after so many further placements."""
        placing = [asyncio.create_task(self._place(desk, random.Random(n))) for desk in self.desks for n in range(12)]
        kind = GROUNDS[self.ground][0]
        for name in withdrawn:
            await self._placed(placements_between)
            self.acknowledged[name] = await self.owner.fence(fence_row(kind, name))
        await self._placed(4 * placements_between)
        self.is_over = True
        await asyncio.gather(*placing)

    async def _place(self, desk: ReleaseDesk, dice: random.Random) -> None:
        while not self.is_over:
            name = dice.choice(self.names)
            row = self._row(name)
            was_acknowledged = name in self.acknowledged
            verdict = await desk.place(row)
            self.answers[was_acknowledged, verdict.answer] += 1

    def _row(self, name: str) -> ReleaseRow:
        row = release_row(**GROUNDS[self.ground][1](name))
        return ReleaseRow(row.grounds, row.service, row.rid, row.req, row.at_ms, content(stands_on=name), row.quota)

    async def _placed(self, count: int) -> None:
        goal = self.answers.total() + count
        await until_async(lambda: self.answers.total() >= goal)


async def releases_in_order(database: Database, names: list[str]) -> list[tuple[int, str]]:
    """(serial, ground) of every release in the log that stands on one of these grounds."""
    async with connected(database) as connection:
        records = await connection.fetch(
            "SELECT serial, convert_from(leaf, 'UTF8')::json->>'stands_on' AS name FROM audit.entry"
            " WHERE kind = 'release' AND convert_from(leaf, 'UTF8')::json->>'stands_on' = ANY($1) ORDER BY serial",
            names,
        )
    return [(record["serial"], record["name"]) for record in records]


async def storm_over(database: Database, desks: Desks, ground: str, *, names: int, between: int) -> Storm:
    """Let gateways release on so many grounds while half of them are withdrawn, and return what happened."""
    gateways = [ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=2) for _ in range(2)]
    grounds = [unique("m/") for _ in range(names)]
    storm = Storm(gateways, desks.owner(GROUNDS[ground][0]), ground, grounds)
    async with opened(*gateways):
        await storm.blow(grounds[: names // 2], between)
    return storm


def require_nothing_released_after_acknowledgement(storm: Storm, placed: list[tuple[int, str]]) -> None:
    """The promise, once by what the callers saw and once by the order of the log."""
    assert storm.answers[True, Answer.RELEASED] == 0
    assert storm.answers[True, Answer.WITHDRAWN] > 0
    late = [(serial, name) for serial, name in placed if name in storm.acknowledged and serial > storm.acknowledged[name].serial]
    assert late == []
    assert len(placed) == storm.answers[False, Answer.RELEASED]


@pytest.mark.invariant("I-25")
async def test_after_an_acknowledged_withdrawal_of_consent_no_gateway_places_a_release_on_it(
    database: Database, desks: Desks
) -> None:
    storm = await storm_over(database, desks, "consent", names=120, between=60)
    placed = await releases_in_order(database, storm.names)
    require_nothing_released_after_acknowledgement(storm, placed)
    # The withdrawals fell among the releases: each consent was used until it was gone, the others to the end.
    last = max(receipt.serial for receipt in storm.acknowledged.values())
    assert len(storm.acknowledged) == 60
    assert sum(serial < last for serial, _ in placed) > 1000
    assert {name for serial, name in placed if serial > last} <= set(storm.names[60:])


@pytest.mark.invariant("I-27")
@pytest.mark.parametrize("ground", [name for name in GROUNDS if name != "consent"])
async def test_the_same_holds_for_every_other_ground(database: Database, desks: Desks, ground: str) -> None:
    storm = await storm_over(database, desks, ground, names=10, between=40)
    require_nothing_released_after_acknowledgement(storm, await releases_in_order(database, storm.names))


# --- Repeating, lifting -----------------------------------------------------------------------------------------------------


async def test_repeating_a_withdrawal_gives_the_first_receipt(desks: Desks, database: Database) -> None:
    name = unique("consent")
    first = await desks.identity.fence(fence_row(GroundKind.CONSENT, name))
    again = await desks.identity.fence(fence_row(GroundKind.CONSENT, name))
    assert first.is_new
    assert again == FenceReceipt(first.serial, first.since_ms, is_new=False)
    async with connected(database) as connection:
        assert await connection.fetchval("SELECT count(*) FROM audit.fence WHERE ground = $1", name) == 1
        kinds = await connection.fetch("SELECT kind FROM audit.entry WHERE serial >= $1", first.serial)
    assert [record["kind"] for record in kinds] == ["withdraw"]


async def test_withdrawals_that_arrive_together_share_a_transaction_and_twins_a_receipt(desks: Desks, database: Database) -> None:
    names = [unique("consent") for _ in range(20)]
    receipts = await asyncio.gather(*(desks.identity.fence(fence_row(GroundKind.CONSENT, name)) for name in [*names, names[0]]))
    assert receipts[-1].serial == receipts[0].serial
    assert [receipt.is_new for receipt in receipts] == [True] * 20 + [False]
    async with connected(database) as connection:
        transactions = await connection.fetchval(
            "SELECT count(DISTINCT xmin::text) FROM audit.fence WHERE ground = ANY($1)", names
        )
    assert transactions == 1


@pytest.mark.parametrize("ground", LIFTABLE)
async def test_a_ground_is_free_again_when_its_last_cause_is_lifted(desks: Desks, ground: str) -> None:
    kind, stands_on = GROUNDS[ground]
    name = unique("m/")
    for cause in ("first", "second"):
        await desks.registry.fence(fence_row(kind, name, cause))
    assert await desks.registry.lift(fence_row(kind, name, "first"), floor=1) is not None
    verdict = await desks.gateway.place(release_row(**stands_on(name)))
    assert (verdict.answer, verdict.cause) == (Answer.WITHDRAWN, "second")
    assert await desks.registry.lift(fence_row(kind, name, "second"), floor=1) is not None
    assert (await desks.gateway.place(release_row(**stands_on(name)))).answer is Answer.RELEASED
    assert await desks.registry.lift(fence_row(kind, name, "second"), floor=1) is None
    again = await desks.registry.fence(fence_row(kind, name, "second"))
    assert again.is_new


async def test_lifting_raises_the_floor(desks: Desks, database: Database) -> None:
    name = unique("purpose")
    await desks.registry.fence(fence_row(GroundKind.PURPOSE, name))
    await desks.registry.lift(fence_row(GroundKind.PURPOSE, name), floor=700)
    stale, fresh = await asyncio.gather(
        desks.gateway.place(release_row(snapshot_version=699)), desks.gateway.place(release_row(snapshot_version=700))
    )
    assert (stale.answer, fresh.answer) == (Answer.STALE, Answer.RELEASED)


@pytest.mark.parametrize("kind", [GroundKind.CONSENT, GroundKind.KEY])
async def test_consents_and_keys_are_never_lifted(desks: Desks, database: Database, kind: GroundKind) -> None:
    name = unique("gone")
    receipt = await desks.identity.fence(fence_row(kind, name))
    with pytest.raises(ValueError, match="does not come back"):
        await desks.registry.lift(fence_row(kind, name), floor=1)
    async with connected(database, "yitong_registry") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(LIFT, kind.value, name, "test", 1, ("lift", 1, *[None] * 6), store.content_columns(content()))
    async with connected(database) as connection:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "UPDATE audit.fence SET lifted_serial = 1, lifted_at = now() WHERE serial = $1", receipt.serial
            )


async def test_owners_find_what_stands_withdrawn_of_theirs(desks: Desks) -> None:
    names = [unique("consent") for _ in range(3)]
    receipts = [await desks.identity.fence(fence_row(GroundKind.CONSENT, name, "w")) for name in names[:2]]
    found = await desks.identity.find_fences(GroundKind.CONSENT, names)
    assert [(fence.ground, fence.cause, fence.serial) for fence in found] == [
        (name, "w", receipt.serial) for name, receipt in zip(names, receipts, strict=False)
    ]


# --- Who may ----------------------------------------------------------------------------------------------------------------

MAY_FENCE = {
    "yitong_identity": {GroundKind.CONSENT, GroundKind.KEY},
    "yitong_registry": set(GroundKind) - {GroundKind.CONSENT},
    "yitong_gateway": set(),
    "yitong_auditor": set(),
    "yitong_integrator": set(),
    "yitong_tax": set(),
}


@pytest.mark.parametrize("kind", GroundKind)
@pytest.mark.parametrize("role", MAY_FENCE)
async def test_each_ground_is_withdrawn_by_its_owner_only(database: Database, role: str, kind: GroundKind) -> None:
    name = unique("ground")
    row = fence_row(kind, name)
    heading = store.heading_columns(Heading(kind.entry_kind, row.at_ms))
    async with connected(database, role) as connection:
        call = connection.fetch(FENCE, [kind.value], [name], ["test"], [heading], [store.content_columns(row.content)])
        if kind in MAY_FENCE[role]:
            assert len(await call) == 1
        else:
            with pytest.raises(
                (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedObjectError)
            ):
                await call
    async with connected(database) as connection:
        stands = await connection.fetchval("SELECT count(*) FROM audit.fence WHERE ground = $1", name)
    assert stands == (1 if kind in MAY_FENCE[role] else 0)


async def test_a_refused_withdrawal_does_not_take_others_with_it(desks: Desks) -> None:
    consent, member = unique("consent"), unique("m/")
    allowed, refused = await asyncio.gather(
        desks.identity.fence(fence_row(GroundKind.CONSENT, consent)),
        desks.identity.fence(fence_row(GroundKind.MEMBER, member)),
        return_exceptions=True,
    )
    assert isinstance(allowed, FenceReceipt)
    assert isinstance(refused, Problem)
    assert refused.code == "audit-unavailable"


async def test_taking_on_another_role_does_not_help(database: Database) -> None:
    """The functions ask for the role that logged in, which SET ROLE leaves as it is."""
    async with connected(database) as owner:
        if owner.get_server_version().major < 16:
            pytest.skip("before 16 a member of a role always inherits it")
        await owner.execute("GRANT yitong_registry TO yitong_tax WITH INHERIT FALSE")
    try:
        row = fence_row(GroundKind.PURPOSE, unique("purpose"))
        async with connected(database, "yitong_tax") as connection:
            await connection.execute("SET ROLE yitong_registry")
            heading = store.heading_columns(Heading(row.kind.entry_kind, row.at_ms))
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="yitong_tax"):
                await connection.fetch(
                    FENCE, [row.kind.value], [row.ground], ["test"], [heading], [store.content_columns(row.content)]
                )
    finally:
        async with connected(database) as owner:
            await owner.execute("REVOKE yitong_registry FROM yitong_tax")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit.fence SET cause = 'another'",
        "UPDATE audit.fence SET lifted_serial = NULL, lifted_at = NULL",
        "DELETE FROM audit.fence",
        "TRUNCATE audit.fence",
        "UPDATE audit.snapshot_floor SET version = version - 1",
        "DELETE FROM audit.snapshot_floor",
    ],
)
async def test_nobody_takes_a_withdrawal_back_behind_the_functions(desks: Desks, database: Database, statement: str) -> None:
    await desks.registry.fence(fence_row(GroundKind.PURPOSE, unique("purpose")))
    async with connected(database) as owner:
        await owner.execute("UPDATE audit.snapshot_floor SET version = greatest(version, 1)")
        with pytest.raises((asyncpg.RestrictViolationError, asyncpg.CheckViolationError)):
            await owner.execute(statement)
