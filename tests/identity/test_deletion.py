"""A withdrawn consent to keep data leaves a duty to delete: with a term, confirmed by the consumer, told when overdue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.postgres.roles import Database
from exchange.problem import Problem
from tests.identity.office import CITIZEN, CONSUMER, NOW, OTHER_CONSUMER, Office, open_office
from tests.identity.test_withdrawal import BreakingLedger, broken

DAY = 86_400
LAW = "会计档案管理办法 第十四条"


async def withdrawn(office: Office, **more: Any) -> str:
    consent = await office.granted(**{"mode": "store", "data_life_days": 30} | more)
    await office.answer("withdraw", consent)
    return consent


async def duties(office: Office, consumer: str = CONSUMER, **wanted: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await office.client.deletion_duties(consumer, await office.enrolled(consumer), **wanted))[
        "duties"
    ]
    return rows


async def confirm(office: Office, consent: str, *said: str, consumer: str = CONSUMER) -> dict[str, Any]:
    return await office.client.confirm_deletion(consumer, await office.enrolled(consumer), consent, *said)


async def told(office: Office) -> list[str]:
    """What the log says of duties, oldest first."""
    return [leaf["what"] for leaf, _ in await office.entries() if leaf.get("what", "").startswith("consent-deletion")]


@pytest.mark.parametrize(("life", "days"), [(30, 15), (15, 15), (7, 7)])
async def test_the_term_is_the_policys_or_the_days_that_were_given_for_keeping(office: Office, life: int, days: int) -> None:
    consent = await withdrawn(office, data_life_days=life)
    [duty] = await duties(office)
    assert (duty["consent"], duty["confirmed_at"]) == (consent, None)
    [row] = await office.rows("SELECT begun_at, due_at FROM identity.deletion_duty")
    assert (row["begun_at"], row["due_at"]) == (int(NOW), int(NOW) + days * DAY)
    assert await told(office) == ["consent-deletion-due"]


async def test_a_consent_to_view_leaves_no_duty(office: Office) -> None:
    consent = await withdrawn(office, mode="view", data_life_days=None)
    assert await duties(office) == []
    with pytest.raises(Problem, match="not-found"):
        await office.client.show_deletion(await office.token("citizen"), consent)


async def test_the_consumer_confirms_once_and_the_person_sees_it(office: Office) -> None:
    consent = await withdrawn(office)
    for _ in range(2):
        assert (await confirm(office, consent, "deleted"))["outcome"] == "deleted"
    with pytest.raises(Problem, match="conflict"):
        await confirm(office, consent, "kept-by-law", LAW)
    assert await told(office) == ["consent-deletion-due", "consent-deletion-confirmed"]
    assert await duties(office, is_open=True) == []
    seen = await office.client.show_deletion(await office.token("citizen"), consent)
    assert (seen["outcome"], seen["confirmed_at"] is not None) == ("deleted", True)
    assert CITIZEN not in str(seen) + str(await duties(office))


async def test_what_a_law_keeps_names_the_law(office: Office) -> None:
    consent = await withdrawn(office)
    for said in (("kept-by-law",), ("deleted", LAW), ("lost",)):
        with pytest.raises(Problem, match="malformed-request"):
            await confirm(office, consent, *said)
    assert (await confirm(office, consent, "kept-by-law", LAW))["legal_basis"] == LAW
    [body] = [body for leaf, body in await office.entries() if leaf.get("what") == "consent-deletion-confirmed"]
    assert (body["outcome"], body["legal_basis"]) == ("kept-by-law", LAW)


async def test_nobody_else_confirms_or_sees_it(office: Office) -> None:
    consent = await withdrawn(office)
    assert await duties(office, OTHER_CONSUMER) == []
    with pytest.raises(Problem, match="not-found"):
        await confirm(office, consent, "deleted", consumer=OTHER_CONSUMER)
    with pytest.raises(Problem, match="not-found"):
        await office.client.show_deletion(await office.token("stranger"), consent)
    assert (await office.call("GET", "/deletion-duties", account="citizen")).status_code == 401


async def test_a_term_that_is_over_is_told_once(office: Office) -> None:
    late, done = await withdrawn(office), await withdrawn(office)
    await confirm(office, done, "deleted")
    for days, overdue in ((14, 0), (2, 1), (30, 1)):
        office.clock.advance(days * DAY)
        await office.desks.deletions.tell_overdue()
        assert (await told(office)).count("consent-deletion-overdue") == overdue
    [row] = await office.rows("SELECT overdue_at FROM identity.deletion_duty WHERE consent = $1", late)
    assert row["overdue_at"] == int(NOW) + 16 * DAY
    assert (await confirm(office, late, "deleted"))["outcome"] == "deleted"


async def test_pages_follow_one_another(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("identity.deletion.PAGE", "identity.api_deletion.PAGE"):
        monkeypatch.setattr(name, 1)
    made = [await withdrawn(office) for _ in range(3)]
    key, after, seen = await office.enrolled(CONSUMER), 0, []
    while True:
        page = await office.client.deletion_duties(CONSUMER, key, after=after)
        seen += [duty["consent"] for duty in page["duties"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == made


@pytest.mark.parametrize("point", ["before the fence", "after the fence"])
async def test_a_crash_in_the_middle_leaves_exactly_one_duty(database: Database, tmp_path: Path, point: str) -> None:
    async with open_office(database, tmp_path, ledger=BreakingLedger) as office:
        await office.save_titles()
        consent = await office.granted(mode="store", data_life_days=30)
        broken(office, point)
        with pytest.raises(Problem, match="internal"):
            await office.answer("withdraw", consent)
    async with open_office(database, tmp_path) as office:
        assert [row["consent"] for row in await office.rows("SELECT consent FROM identity.deletion_duty")] == [consent]
        await office.desks.consents.settle()
        assert await told(office) == ["consent-deletion-due"]


async def test_a_log_that_is_away_for_the_duty_keeps_nobody_from_withdrawing(database: Database, tmp_path: Path) -> None:
    async with open_office(database, tmp_path, ledger=BreakingLedger) as office:
        await office.save_titles()
        consent = await office.granted(mode="store", data_life_days=30)
        broken(office, "log away")
        assert (await office.answer("withdraw", consent))["state"] == "withdrawn"
        assert await told(office) == []
        broken(office)
        await office.desks.consents.settle()
        assert await told(office) == ["consent-deletion-due"]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM identity.deletion_duty",
        "UPDATE identity.deletion_duty SET consumer = 'x'",
        "UPDATE identity.deletion_duty SET due_at = due_at + 1",
        "UPDATE identity.deletion_duty SET confirmed_at = 1",
        "UPDATE identity.deletion_duty SET confirmed_at = 1, outcome = 'kept-by-law'",
        "UPDATE identity.deletion_duty SET confirmed_at = 1, outcome = 'forgotten'",
    ],
)
async def test_postgresql_keeps_duties_itself(office: Office, statement: str) -> None:
    await withdrawn(office)
    connection = await asyncpg.connect(office.database.url("yitong_identity"))
    try:
        with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_postgresql_lets_nobody_take_a_confirmation_back(office: Office) -> None:
    await confirm(office, await withdrawn(office), "deleted")
    connection = await asyncpg.connect(office.database.url("yitong_identity"))
    try:
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute("UPDATE identity.deletion_duty SET confirmed_at = NULL, outcome = NULL")
    finally:
        await connection.close()
