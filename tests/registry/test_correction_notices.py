"""Whoever received a value that its provider corrects later is told, once, and says that it has acted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.postgres.roles import Database
from exchange.problem import Problem
from registry.client import Machine
from tests.audit.scene import BANK
from tests.identity.office import CITIZEN, STRANGER
from tests.registry.docket import Docket, open_docket
from tests.registry.town import CONSUMER, IDENTITY_SERVICE

NEIGHBOUR = "CN-YA/GOV/real-estate/registration"
BANK_MEMBER = BANK.rpartition("/")[0]
DAY = 86_400


@pytest.fixture
async def docket(database: Database, tmp_path: Path) -> AsyncIterator[Docket]:
    """Give a log in which three systems received the citizen's record, and the bank a stranger's too."""
    async with open_docket(database, tmp_path) as opened:
        for subject, consumer in ((CITIZEN, CONSUMER), (CITIZEN, BANK), (CITIZEN, BANK), (STRANGER, BANK), (CITIZEN, NEIGHBOUR)):
            await opened.scene.release(subject, consumer=consumer, service=IDENTITY_SERVICE)
        await opened.scene.number()
        for system in (BANK, NEIGHBOUR):
            opened.who[system] = Machine(system, await opened.town.office.enrolled(system))
        await opened.town.app.state.desk.registrar.refresh_keys()
        yield opened


async def corrected(docket: Docket, items: list[str] | None = None) -> int:
    """A correction that the consumer asked for and the provider made."""
    calls = docket.town.client.corrections
    request = await calls.ask(
        docket.who["consumer"],
        consumer=CONSUMER,
        service=IDENTITY_SERVICE,
        request_id="window-7",
        subject=CITIZEN,
        items=items or ["name"],
        words="another character",
    )
    return int((await calls.answer(docket.who["provider"], request, "correct"))["number"])


async def carry_on(docket: Docket) -> None:
    await docket.town.app.state.correction_notices.carry_on()


async def notices(docket: Docket, who: str, **wanted: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await docket.town.client.corrections.notices(docket.who[who], **wanted))["notices"]
    return rows


async def test_every_other_receiver_is_told_once_with_a_term_and_an_entry(docket: Docket) -> None:
    number = await corrected(docket)
    for _ in range(2):
        await carry_on(docket)
    told = await notices(docket, "supervisor")
    assert [(row["consumer"], row["correction"], row["names"]) for row in told] == [
        (BANK, number, ["name"]),
        (NEIGHBOUR, number, ["name"]),
    ]
    assert await docket.told("correction-notice") == ["correction-notice told: 1", "correction-notice told: 2"]
    running = (await docket.town.client.deadlines.page(docket.who["supervisor"]))["deadlines"]
    assert [(row["matter"], row["rule"], row["owner"]) for row in running] == [
        ("correction-notice 1", "correction-notice", BANK_MEMBER),
        ("correction-notice 2", "correction-notice", NEIGHBOUR.rpartition("/")[0]),
    ]


async def test_a_receiver_reads_whom_it_is_about_and_acknowledges_it(docket: Docket) -> None:
    calls = docket.town.client.corrections
    await corrected(docket)
    await carry_on(docket)
    [mine] = await notices(docket, BANK, is_open=True)
    assert "subject" not in {name for name, value in mine.items() if value is not None}
    assert (await calls.notice(docket.who[BANK], mine["number"]))["subject"] == CITIZEN
    assert (await calls.notice(docket.who["provider"], mine["number"]))["subject"] == CITIZEN
    assert (await calls.notice(docket.who["auditor"], mine["number"]))["subject"] is None
    for _ in range(2):
        done = await calls.acknowledge(docket.who[BANK], mine["number"])
        assert done["acknowledged_by"] == BANK
    assert await notices(docket, BANK, is_open=True) == []
    assert (await docket.told("correction-notice"))[2:] == [f"correction-notice acknowledged: {mine['number']}"]
    docket.town.office.clock.advance(60 * DAY)
    await docket.town.app.state.clocks.watch()
    overdue = await docket.told("deadline overdue")
    assert overdue == ["deadline overdue: correction-notice 2 (correction-notice)"]


async def test_nobody_else_sees_or_acknowledges_it(docket: Docket) -> None:
    calls = docket.town.client.corrections
    await corrected(docket)
    await carry_on(docket)
    for who in ("stranger", NEIGHBOUR):
        with pytest.raises(Problem, match="not-found"):
            await calls.notice(docket.who[who], 1)
    assert [row["number"] for row in await notices(docket, NEIGHBOUR)] == [2]
    assert await notices(docket, "stranger") == []
    assert len(await notices(docket, "provider")) == 2
    with pytest.raises(Problem, match="forbidden"):
        await calls.acknowledge(docket.who["provider"], 1)
    for who in ("citizen", "officer", "security"):
        with pytest.raises(Problem, match="forbidden"):
            await calls.notice(docket.who[who], 1)


async def test_who_never_received_the_item_is_not_told(docket: Docket) -> None:
    await corrected(docket, ["gender"])
    await carry_on(docket)
    assert await notices(docket, "supervisor") == []
    assert await docket.told("correction-notice") == []


async def test_while_the_audit_is_away_nothing_is_lost_and_it_is_told_later(docket: Docket) -> None:
    await corrected(docket)
    key, docket.side.app.state.registry_key = docket.side.app.state.registry_key, None
    with pytest.raises(Problem, match="forbidden"):
        await carry_on(docket)
    assert await notices(docket, "supervisor") == []
    docket.side.app.state.registry_key = key
    await carry_on(docket)
    assert len(await notices(docket, "supervisor")) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM registry.correction_notice",
        "UPDATE registry.correction_notice SET consumer = 'CN-YA/GOV/tax/taxation'",
        "UPDATE registry.correction_notice SET acknowledged_at = 1",
        "UPDATE registry.correction_told SET at = 1",
        "DELETE FROM registry.correction_told",
        (
            "INSERT INTO registry.correction_notice (correction, consumer, service, names, told_at)"
            " SELECT correction, consumer, service, names, told_at FROM registry.correction_notice"
        ),
    ],
)
async def test_postgresql_keeps_notices_itself(docket: Docket, statement: str) -> None:
    await corrected(docket)
    await carry_on(docket)
    with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
        await docket.execute(statement)


async def test_the_person_sees_that_receivers_were_looked_for(docket: Docket) -> None:
    await corrected(docket)
    await carry_on(docket)
    looks = [leaf for leaf, _ in await docket.town.office.entries() if leaf.get("scope") == "case-receivers"]
    assert [(leaf["reader_role"], leaf["results"]) for leaf in looks] == [("registry", 3)]
