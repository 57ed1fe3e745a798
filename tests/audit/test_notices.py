"""People are told of each access at least once, with one id, whatever breaks; hidden ones not before their day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI, Request, Response

from audit.notices import FIRST_PAUSE_S, LONGEST_PAUSE_S, Channel, Notifier
from audit.titles import Titles
from deploy.postgres.roles import Database
from exchange.clock import ManualClock
from tests.audit.reference import ORIGIN
from tests.audit.scene import ALICE, BOB, CASE, CONSUMER, PURPOSE, Scene, open_scene
from tests.support.audit_rows import SERVICE, connected, now_ms
from tests.support.sealing import READER


@dataclass(slots=True)
class Receiver:
    """A channel of somebody's: keeps what it takes, and answers as it is told."""

    taken: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    breaks_after_taking: bool = False

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/notices")
        async def take(request: Request) -> Response:
            assert request.headers["authorization"] == "Bearer secret-of-the-channel"
            status = self.answers.pop(0) if self.answers else 202
            if status < 300:
                self.taken.append(await request.json())
                self.keys.append(request.headers["idempotency-key"])
            if self.breaks_after_taking:
                raise ConnectionResetError
            return Response(status_code=status)

        return app


@dataclass(slots=True)
class Told:
    scene: Scene
    notifier: Notifier
    receiver: Receiver
    clock: ManualClock

    async def all(self) -> int:
        taken = 0
        while (more := await self.notifier.step()) > 0:
            taken += more
        return taken


@asynccontextmanager
async def telling(scene: Scene, receiver: Receiver, clock: ManualClock) -> AsyncIterator[Notifier]:
    transport = httpx2.ASGITransport(app=receiver.app())
    async with httpx2.AsyncClient(transport=transport) as http, connected(scene.database, "yitong_notifier") as connection:
        channel = Channel(http, "http://channel.test/notices", "secret-of-the-channel")
        yield Notifier(connection, ORIGIN, READER, Titles(http, None, clock), channel, clock)


@pytest.fixture
async def told(database: Database, tmp_path: Path) -> AsyncIterator[Told]:
    clock, receiver = ManualClock(now_ms() / 1000), Receiver()
    async with open_scene(database, tmp_path) as scene, telling(scene, receiver, clock) as notifier:
        yield Told(scene, notifier, receiver, clock)


async def test_each_access_is_told_once_with_what_a_person_wants_to_know(told: Told) -> None:
    await told.scene.release(ALICE)
    await told.scene.deny(subject=ALICE)
    await told.scene.release(BOB)
    await told.scene.number()
    assert await told.all() == 2
    assert await told.all() == 0
    assert [notice["subject"] for notice in told.receiver.taken] == [ALICE, BOB]
    [first, _] = told.receiver.taken
    assert (first["id"], first["kind"], first["n"]) == (f"{ORIGIN}#0", "access", 1)
    assert (first["consumer"], first["service"], first["purpose"], first["case"]) == (CONSUMER, SERVICE, PURPOSE, CASE)
    assert (first["full"], first["masked"], first["facts"]) == (["name"], ["address"], [])
    assert first["legal_basis"]
    assert told.receiver.keys == [notice["id"] for notice in told.receiver.taken]
    await told.scene.release(ALICE)
    await told.scene.number()
    assert await told.all() == 1
    assert told.notifier.behind >= 0


async def test_what_is_hidden_is_told_on_its_day_and_not_before(told: Told) -> None:
    await told.scene.release(ALICE, hidden_until_ms=now_ms() + 86_400_000)
    await told.scene.number()
    assert await told.all() == 0
    await told.scene.number(ManualClock(now_ms() / 1000 + 90_000))
    assert await told.all() == 1
    [notice] = told.receiver.taken
    assert (notice["kind"], notice["subject"], notice["tree_index"]) == ("revealed-access", ALICE, 0)
    assert notice["hidden_until"]


async def test_a_channel_that_is_away_is_tried_again_ever_more_slowly_and_nothing_is_lost(told: Told) -> None:
    for _ in range(3):
        await told.scene.release(ALICE)
    await told.scene.number()
    told.receiver.answers = [202, 503, 429]
    assert await told.notifier.step() == 1
    assert await told.notifier.step() == 0  # not yet
    told.clock.advance(FIRST_PAUSE_S)
    assert await told.notifier.step() == 0
    told.clock.advance(FIRST_PAUSE_S)
    assert await told.notifier.step() == 0  # it waits for twice as long now
    told.clock.advance(FIRST_PAUSE_S)
    assert await told.all() == 2
    assert [notice["n"] for notice in told.receiver.taken] == [1, 2, 3]
    told.receiver.answers = [500] * 20
    await told.scene.release(ALICE)
    await told.scene.number()
    for _ in range(20):
        await told.notifier.step()
        told.clock.advance(LONGEST_PAUSE_S)
    assert await told.all() == 1


async def test_one_notice_that_is_refused_for_good_holds_up_no_other(told: Told) -> None:
    for _ in range(3):
        await told.scene.release(ALICE)
    await told.scene.number()
    told.receiver.answers = [202, 422]
    assert await told.all() == 2
    async with connected(told.scene.database) as connection:
        refused = await connection.fetch("SELECT tree_index, status FROM audit.notice_refused")
    assert [tuple(record) for record in refused] == [(1, 422)]


async def test_a_crash_between_telling_and_noting_tells_the_same_id_again(told: Told) -> None:
    await told.scene.release(ALICE)
    await told.scene.release(ALICE)
    await told.scene.number()
    told.receiver.breaks_after_taking = True
    with pytest.raises(ConnectionResetError):
        await told.notifier.step()
    told.receiver.breaks_after_taking = False
    # Another process takes over where the cursor stands.
    async with telling(told.scene, told.receiver, told.clock) as successor:
        while await successor.step():
            pass
    assert told.receiver.keys == [f"{ORIGIN}#0", f"{ORIGIN}#0", f"{ORIGIN}#1"]
    assert len({notice["id"] for notice in told.receiver.taken}) == 2


async def test_of_two_notifiers_one_goes_on(told: Told) -> None:
    for _ in range(4):
        await told.scene.release(ALICE)
    await told.scene.number()
    async with telling(told.scene, told.receiver, told.clock) as other:
        await told.notifier.step()
        assert await other.step() == 0
    assert len(told.receiver.taken) == 4


async def test_the_notifier_changes_nothing_and_sees_no_more_than_it_needs(told: Told) -> None:
    async with connected(told.scene.database, "yitong_notifier") as connection:
        for statement in (
            "SELECT subject_token FROM audit.body",
            "SELECT consumer FROM audit.entry",
            "SELECT * FROM audit.fence",
            "DELETE FROM audit.notice_refused",
            "INSERT INTO audit.subject_entry VALUES (9, '', 1, '')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
