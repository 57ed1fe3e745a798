"""What a registry does about changes that stopped halfway, and about a fence that knows more than it does."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from audit.client import FenceDesk, GroundKind, NotDurable
from audit.sealing import Sealer
from deploy.postgres.roles import Database
from exchange.problem import Problem
from registry import store
from registry.app import build
from registry.change import Stage
from registry.client import parse_right
from registry.ledger import Ledger
from tests.registry.town import BOOTSTRAP, CONSUMER, IDENTITY_SERVICE, Town, make_settings, open_registry, open_town, story_right
from tests.support.audit_rows import fence_row, opened
from tests.support.sealing import SEALER
from tests.support.waiting import until_yes

RIGHT = parse_right(story_right())[0].id
CAUSE = "the case has ended"


class Crash(BaseException):
    """The process ends here, without a chance to say anything."""


async def state_of(town: Town) -> dict[str, Any]:
    """What the registry, its changes and the fence say."""
    [right] = await town.office.rows("SELECT status, cause FROM registry.access_right")
    changes = await town.office.rows("SELECT state FROM registry.change ORDER BY number DESC LIMIT 1")
    return {"right": right["status"], "change": changes[0]["state"], "fences": await town.fences()}


class BreakingLedger(Ledger):
    """A way to the log that the process does not survive, at one place."""

    def __init__(self, url: str, sealer: Sealer) -> None:
        super().__init__(url, sealer)
        self.breaks_before = ""
        self.breaks_after = ""
        self.problem: type[BaseException] | None = None

    async def _through(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if self.breaks_before == name:
            work.close()
            raise Problem("audit-unavailable") if self.problem is None else self.problem
        await work
        if self.breaks_after == name:
            raise Problem("audit-unavailable") if self.problem is None else self.problem

    async def fence(self, *arguments: Any, **named: Any) -> None:
        """Break before or after the fence stands."""
        await self._through("fence", super().fence(*arguments, **named))

    async def lift(self, *arguments: Any, **named: Any) -> None:
        """Break before or after it is lifted."""
        await self._through("lift", super().lift(*arguments, **named))

    async def raise_floor(self, *arguments: Any, **named: Any) -> None:
        """Break before or after the floor has risen."""
        await self._through("raise_floor", super().raise_floor(*arguments, **named))

    async def record_change(self, *arguments: Any, **named: Any) -> None:
        """Break before or after the entry stands."""
        await self._through("record_change", super().record_change(*arguments, **named))

    async def record_right(self, *arguments: Any, **named: Any) -> None:
        """Break before or after the entry stands."""
        await self._through("record_right", super().record_right(*arguments, **named))


async def crash(work: Awaitable[object]) -> None:
    """Run into the crash."""
    with pytest.raises(BaseException) as ended:  # noqa: PT011 - a Crash comes out alone or in a group
        await work
    assert ended.group_contains(Crash) if isinstance(ended.value, BaseExceptionGroup) else isinstance(ended.value, Crash)


PLACES = {
    "before the fence": ("fence", "before"),
    "between fence and entry": ("fence", "after"),
    "before the entry": ("record_change", "before"),
    "between entry and state": ("record_change", "after"),
}


@pytest.mark.invariant("I-9")
@pytest.mark.invariant("I-27")
@pytest.mark.parametrize(("step", "when"), PLACES.values(), ids=PLACES)
async def test_a_revocation_that_crashed_is_finished_by_the_next_start(
    database: Database, tmp_path: Path, step: str, when: str
) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    async with open_town(database, tmp_path, ledger=ledger) as town:
        await town.granted()
        setattr(ledger, f"breaks_{when}", step)
        ledger.problem = Crash
        await crash(town.app.state.desk.rights.revoke(RIGHT, CAUSE, "registrar"))
        assert (await state_of(town))["right"] == "active"
        async with open_registry(town.office, tmp_path) as again:
            assert await state_of(again) == {"right": "revoked", "change": "done", "fences": [("right", RIGHT, CAUSE)]}
            assert (await again.source().refresh()).right_count == 0


@pytest.mark.invariant("I-9")
@pytest.mark.parametrize("stage", [Stage.FENCED, Stage.RECORDED, Stage.APPLIED, Stage.DONE])
async def test_a_suspension_that_crashed_at_any_stage_is_finished_by_the_next_start(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    real = store.note_stage

    async def note_stage(connection: AsyncConnection, number: int, noted: Stage) -> None:
        if noted is stage:
            raise Crash
        await real(connection, number, noted)

    with monkeypatch.context() as patch:
        patch.setattr(store, "note_stage", note_stage)
        await crash(town.client.suspend(await town.token(), "members", "CN-YA/GOV/real-estate", CAUSE))
    assert await town.fences() == [("member", "CN-YA/GOV/real-estate", CAUSE)]
    async with open_registry(town.office, tmp_path) as again:
        assert not (await again.source().refresh()).is_active(CONSUMER)
        assert await again.fences() == [("member", "CN-YA/GOV/real-estate", CAUSE)]
        [entry] = await again.office.rows("SELECT status, revision FROM registry.entry WHERE id = 'CN-YA/GOV/real-estate'")
        assert (entry["status"], entry["revision"]) == ("suspended", 2)
        assert not await again.office.rows("SELECT FROM registry.change WHERE state <> 'done'")


async def test_a_lifting_that_crashed_is_finished_by_the_next_start(database: Database, tmp_path: Path) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    async with open_town(database, tmp_path, ledger=ledger) as town:
        await town.client.suspend(await town.token(), "purposes", "real-estate-transfer", CAUSE)
        ledger.breaks_before, ledger.problem = "lift", Crash
        await crash(town.client.lift(await town.token(), "purposes", "real-estate-transfer"))
        assert await town.fences() == [("purpose", "real-estate-transfer", CAUSE)]
        async with open_registry(town.office, tmp_path) as again:
            assert await again.fences() == []
            snapshot = await again.source().refresh()
            assert snapshot.purpose("real-estate-transfer") is not None
            assert await again.floor() == snapshot.version


async def test_a_change_of_a_data_set_that_crashed_after_the_floor_rose_is_published_at_that_floor(
    database: Database, tmp_path: Path
) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    async with open_town(database, tmp_path, ledger=ledger) as town:
        [row] = (await town.client.list(await town.token(), "services", limit=1))["entries"]
        entry = {name: value for name, value in row["entry"].items() if name != "status"}
        before = (await town.source().refresh()).version
        ledger.breaks_after, ledger.problem = "raise_floor", Crash
        await crash(town.published("service", entry | {"title_en": "Other", "schema_version": 2}))
        assert await town.floor() > before
        async with open_registry(town.office, tmp_path) as again:
            snapshot = await again.source().refresh()
            assert snapshot.version >= await again.floor()
            assert snapshot.services[entry["id"]].title_en == "Other"


@pytest.mark.invariant("I-3")
async def test_without_the_log_nothing_is_granted_and_nothing_is_half_granted(database: Database, tmp_path: Path) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    async with open_town(database, tmp_path, ledger=ledger) as town:
        ledger.breaks_before = "record_right"
        with pytest.raises(Problem, match="audit-unavailable"):
            await town.granted()
        ledger.breaks_before = ""
        await town.app.state.desk.registrar.carry_on()
        assert (await town.source().refresh()).right_count == 0
        await town.granted()
        assert (await town.source().refresh()).right_count == 1


async def test_a_revocation_that_the_log_could_not_take_is_not_acknowledged_but_carried_on(
    database: Database, tmp_path: Path
) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    async with open_town(database, tmp_path, ledger=ledger) as town:
        await town.granted()
        ledger.breaks_before = "fence"
        with pytest.raises(Problem, match="audit-unavailable"):
            await town.client.revoke_right(await town.token(), RIGHT, CAUSE)
        assert (await state_of(town))["right"] == "active"
        with pytest.raises(Problem, match="audit-unavailable"):  # whoever comes next waits for it too
            await town.client.suspend(await town.token(), "members", "CN-YA/GOV/tax", CAUSE)
        ledger.breaks_before = ""
        await town.app.state.desk.registrar.carry_on()
        assert await state_of(town) == {"right": "revoked", "change": "done", "fences": [("right", RIGHT, CAUSE)]}


async def test_what_the_fence_holds_and_the_registry_has_forgotten_is_taken_over_at_the_start(town: Town, tmp_path: Path) -> None:
    await town.granted()
    desk = FenceDesk(town.office.database.url("yitong_registry"), SEALER)
    async with opened(desk):
        await desk.fence(fence_row(GroundKind.RIGHT, RIGHT, CAUSE))
        await desk.fence(fence_row(GroundKind.MEMBER, "CN-YA/GOV/tax", CAUSE))
        await desk.fence(fence_row(GroundKind.SERVICE_VERSION, f"{IDENTITY_SERVICE}@1", CAUSE))
    assert (await town.source().refresh()).right_count == 1
    async with open_registry(town.office, tmp_path) as again:
        snapshot = await again.source().refresh()
        assert snapshot.right_count == 0
        assert snapshot.members["CN-YA/GOV/tax"].status.value == "suspended"
        assert snapshot.services[IDENTITY_SERVICE].status.value == "suspended"
        assert len(await again.fences()) == 3


@pytest.mark.invariant("I-12", "I-27")
async def test_a_log_that_was_put_back_gets_every_withdrawal_anew_before_the_registry_confirms(
    town: Town, tmp_path: Path
) -> None:
    await town.granted()
    token = await town.token()
    await town.client.suspend(token, "members", "CN-YA/GOV/tax", CAUSE)
    await town.client.revoke_right(token, RIGHT, CAUSE)
    before = sorted(await town.fences())
    assert len(before) == 2
    await town.office.rows("ALTER TABLE audit.fence DISABLE TRIGGER ALL")
    await town.office.rows("DELETE FROM audit.fence")
    await town.office.rows("UPDATE audit.snapshot_floor SET version = 0")
    await town.office.rows("UPDATE audit.admission SET started = started - interval '1 hour'")
    async with open_registry(town.office, tmp_path) as again:
        snapshot = await again.source().refresh()
        assert sorted(await again.fences()) == before
        assert await again.floor() == snapshot.version
        owners = await town.office.rows("SELECT owner FROM audit.owner_word")
        assert [row["owner"] for row in owners] == ["yitong_registry"]


# --- versions and the first state


async def test_a_restart_goes_on_with_the_same_version_and_never_goes_back(town: Town, tmp_path: Path) -> None:
    await town.granted()
    before = await town.source().refresh()
    async with open_registry(town.office, tmp_path) as again:
        after = await again.source().refresh()
        assert (after.version, after.right_count) == (before.version, 1)
        town.office.clock.advance(-5)  # a clock that goes back does not take the number with it
        await again.client.suspend(await again.token(), "members", "CN-YA/GOV/tax", CAUSE)
        assert again.app.state.desk.publisher.version == before.version + 1


async def test_a_database_restored_from_a_copy_gives_no_number_twice(town: Town, tmp_path: Path) -> None:
    await town.granted()
    before = await town.source().refresh()
    await town.office.rows("DELETE FROM registry.snapshot_version")
    town.office.clock.advance(10)
    async with open_registry(town.office, tmp_path) as again:
        assert (await again.source().refresh()).version > before.version


async def test_the_bootstrap_file_is_loaded_once_and_recorded(town: Town, tmp_path: Path) -> None:
    entries = [(leaf, body) for leaf, body in await town.office.entries() if leaf.get("what") == "bootstrap"]
    assert len(entries) == 1
    assert entries[0][1]["after"]["content"] == BOOTSTRAP.read_text(encoding="utf-8")
    other = tmp_path / "other.json"
    other.write_text(BOOTSTRAP.read_text(encoding="utf-8").replace("安居银行", "别的银行"), encoding="utf-8")
    async with open_registry(town.office, tmp_path, bootstrap_file=other) as again:
        assert (await again.source().refresh()).members["CN-YA/COM/anju-bank"].name_zh == "安居银行"
        assert len([leaf for leaf in await again.leaves("config") if leaf["what"] == "bootstrap"]) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"v": 1', '"v": 2'),
        ('"v": 1,', '"v": 1, "more": 1,'),
        ('"instance": "CN-YA"', '"instance": "CN-XX"'),
        ('"restricted": true', '"restricted": false'),
    ],
)
async def test_a_bootstrap_file_of_another_form_is_refused(town: Town, tmp_path: Path, old: str, new: str) -> None:
    other = tmp_path / "other.json"
    other.write_text(BOOTSTRAP.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match="bootstrap file"):
        async with open_registry(town.office, tmp_path, bootstrap_file=other):
            pass


async def test_a_registry_that_found_no_log_at_its_start_goes_on_starting_by_itself(database: Database, tmp_path: Path) -> None:
    ledger = BreakingLedger(database.url("yitong_registry"), SEALER)
    ledger.breaks_before = "record_change"
    async with open_town(database, tmp_path, ledger=ledger, starts=False, poll_seconds=3600) as town:
        assert not await town.is_ready()
        ledger.breaks_before = ""
        await until_yes(town.is_ready)
        await town.granted()


async def test_a_start_without_identity_knows_the_keys_it_had(town: Town, tmp_path: Path) -> None:
    await town.granted()

    def away(_request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("away")

    settings = make_settings(town.office.database, tmp_path)
    app = build(settings, clock=town.office.clock, http=httpx2.AsyncClient(transport=httpx2.MockTransport(away)))
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://registry.test")
    async with app.router.lifespan_context(app), http:
        again = Town(app, http, town.office, town.anchor, settings)
        assert (await again.source().refresh()).right_count == 1
        assert (await again.call("GET", "/health/ready", account=None)).status_code == 200


@pytest.mark.invariant("I-5")
async def test_a_registry_does_not_start_where_what_is_acknowledged_could_be_lost(town: Town, tmp_path: Path) -> None:
    name = town.office.database.name
    await town.office.rows(f'ALTER ROLE yitong_registry IN DATABASE "{name}" SET synchronous_commit TO off')
    with pytest.raises(NotDurable, match="synchronous_commit"):
        async with open_registry(town.office, tmp_path):
            pass


async def test_a_registry_that_gets_no_turn_says_so(town: Town) -> None:
    async with store.sole_writer(town.app.state.desk.engine):
        with pytest.raises(Problem, match="overloaded"):
            await town.client.suspend(await town.token(), "members", "CN-YA/GOV/tax", CAUSE)
    await town.client.suspend(await town.token(), "members", "CN-YA/GOV/tax", CAUSE)


async def test_two_registries_take_turns(town: Town, tmp_path: Path) -> None:
    async with open_registry(town.office, tmp_path) as second:
        await second.granted()
        await town.client.suspend(await town.token(), "members", "CN-YA/GOV/tax", CAUSE)
        versions = await town.office.rows("SELECT version FROM registry.snapshot_version ORDER BY version")
        snapshot = await town.source().refresh()
        assert snapshot.version == versions[-1]["version"]
        assert snapshot.right_count == 1
        assert (await second.source().refresh()).version < snapshot.version
        await second.app.state.desk.registrar.tick()
        assert (await second.source().refresh()).version == snapshot.version
