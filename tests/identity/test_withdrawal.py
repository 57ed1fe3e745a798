"""A withdrawal counts only when it is fenced, and a fenced one counts whatever dies before it is written down here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from audit.client import FenceRow
from deploy.postgres.roles import Database
from exchange.problem import Problem
from identity.client import KeyUse
from identity.ledger import Ledger
from identity.model import KeyState
from tests.identity.office import CONSUMER, Office, open_office


class PowerCutError(Exception):
    """The process dies here."""


class BreakingLedger(Ledger):
    """The real way to the log, which breaks down at the points that a test names."""

    breaks: frozenset[str] = frozenset()

    async def fence(self, row: FenceRow) -> None:
        if "before the fence" in self.breaks:
            raise PowerCutError
        if "fence away" in self.breaks:
            raise Problem("audit-unavailable")
        await super().fence(row)
        if "after the fence" in self.breaks:
            raise PowerCutError

    async def flush(self, about: str | None = None) -> None:
        if "log away" in self.breaks:
            raise Problem("audit-unavailable")
        await super().flush(about)


def broken(office: Office, *points: str) -> None:
    """From now on the way to the log breaks at these points."""
    ledger = office.desks.consents.ledger
    assert isinstance(ledger, BreakingLedger)
    ledger.breaks = frozenset(points)


async def fences(office: Office) -> list[tuple[str, str]]:
    return [tuple(row) for row in await office.rows("SELECT kind, ground FROM audit.fence ORDER BY serial")]


async def state_of(office: Office, consent_id: str) -> str:
    [row] = await office.rows("SELECT state FROM identity.consent WHERE id = $1", consent_id)
    return str(row["state"])


@pytest.mark.invariant("I-25")
async def test_a_withdrawal_stands_in_the_fence_when_it_is_acknowledged(office: Office) -> None:
    consent_id = await office.granted()
    assert await fences(office) == []
    assert (await office.answer("withdraw", consent_id))["state"] == "withdrawn"
    assert await fences(office) == [("consent", consent_id)]


@pytest.mark.invariant("I-25")
async def test_without_the_fence_nothing_is_acknowledged_and_a_repeat_finishes_it(database: Database, tmp_path: Path) -> None:
    async with open_office(database, tmp_path, ledger=BreakingLedger) as office:
        await office.save_titles()
        consent_id, gateway = await office.granted(), await office.gateway()
        broken(office, "fence away")
        with pytest.raises(Problem, match="audit-unavailable"):
            await office.answer("withdraw", consent_id)
        assert await state_of(office, consent_id) == "granted"
        handed = await gateway.get(consent_id)
        assert handed is not None
        assert handed.state == "withdrawn"  # it has been asked for: nothing new is begun on it
        broken(office)
        assert (await office.answer("withdraw", consent_id))["state"] == "withdrawn"
        assert await fences(office) == [("consent", consent_id)]


@pytest.mark.invariant("I-9")
@pytest.mark.invariant("I-25")
@pytest.mark.parametrize("point", ["before the fence", "after the fence"])
async def test_a_start_up_finishes_the_withdrawal_that_a_crash_interrupted(
    database: Database, tmp_path: Path, point: str
) -> None:
    async with open_office(database, tmp_path, ledger=BreakingLedger) as office:
        await office.save_titles()
        consent_id, other = await office.granted(), await office.granted(items=["base"])
        broken(office, point)
        with pytest.raises(Problem, match="internal"):
            await office.answer("withdraw", consent_id)
        assert await state_of(office, consent_id) == "granted"
        assert await fences(office) == ([("consent", consent_id)] if point == "after the fence" else [])
    async with open_office(database, tmp_path) as office:
        assert await state_of(office, consent_id) == "withdrawn"
        assert await state_of(office, other) == "granted"
        assert await fences(office) == [("consent", consent_id)]
        withdrawals = [leaf for leaf, _ in await office.entries() if leaf["kind"] == "withdraw"]
        assert len(withdrawals) == 1


async def test_a_start_up_believes_the_fence_more_than_its_own_restored_tables(database: Database, tmp_path: Path) -> None:
    async with open_office(database, tmp_path) as office:
        await office.save_titles()
        consent_id, key = await office.granted(), await office.enrolled("CN-YA/GOV/tax/taxation")
        await office.answer("withdraw", consent_id)
        await office.client.revoke_key(await office.token("security"), key.kid, "lost")
        # What a copy from before the withdrawal would say.
        await office.rows("ALTER TABLE identity.consent DISABLE TRIGGER USER")
        await office.rows("ALTER TABLE identity.registered_key DISABLE TRIGGER USER")
        await office.rows("UPDATE identity.consent SET state = 'granted', ended_at = NULL, withdrawal_asked_at = NULL")
        await office.rows("UPDATE identity.registered_key SET state = 'active', revoked_at = NULL, revocation_asked_at = NULL")
    async with open_office(database, tmp_path) as office:
        assert await state_of(office, consent_id) == "withdrawn"
        assert (await office.client.find_key(key.kid)).state is KeyState.REVOKED


@pytest.mark.invariant("I-27")
@pytest.mark.parametrize("point", ["before the fence", "after the fence"])
async def test_a_start_up_finishes_the_revocation_that_a_crash_interrupted(
    database: Database, tmp_path: Path, point: str
) -> None:
    async with open_office(database, tmp_path, ledger=BreakingLedger) as office:
        key, token = await office.enrolled(CONSUMER), await office.token("registrar")
        broken(office, point)
        with pytest.raises(Problem, match="internal"):
            await office.client.revoke_key(token, key.kid, "lost")
        assert (await office.client.find_key(key.kid)).state is KeyState.ACTIVE
    async with open_office(database, tmp_path) as office:
        assert (await office.client.find_key(key.kid)).state is KeyState.REVOKED
        assert await fences(office) == [("key", key.kid)]
        ended = [body for leaf, body in await office.entries() if leaf["kind"] == "key" and leaf["state"] == "ended"]
        assert len(ended) == 1


@pytest.mark.parametrize("verb", ["grant", "decline"])
async def test_an_answer_that_the_log_lacks_is_not_acknowledged_and_does_not_count(
    database: Database, tmp_path: Path, verb: str
) -> None:
    async with open_office(database, tmp_path, ledger=BreakingLedger) as office:
        await office.save_titles()
        asked, gateway = await office.ask(), await office.gateway()
        broken(office, "log away")
        with pytest.raises(Problem, match="audit-unavailable"):
            await office.answer(verb, asked["id"])
        if verb == "grant":
            with pytest.raises(Problem, match="identity-unavailable"):
                await gateway.get(asked["id"])
        moves = [leaf["what"] for leaf, _ in await office.entries() if leaf["kind"] == "grant"]
        assert moves == ["consent-requested"]
        broken(office)
        assert (await office.answer(verb, asked["id"]))["state"] == {"grant": "granted", "decline": "declined"}[verb]
        moves = [leaf["what"] for leaf, _ in await office.entries() if leaf["kind"] == "grant"]
        assert moves == ["consent-requested", {"grant": "consent", "decline": "consent-declined"}[verb]]


async def test_a_start_up_enters_what_the_log_still_lacks(database: Database, tmp_path: Path) -> None:
    async with open_office(database, tmp_path, ledger=BreakingLedger) as office:
        await office.save_titles()
        await office.enrolled(CONSUMER)
        broken(office, "log away")
        with pytest.raises(Problem, match="audit-unavailable"):
            await office.ask()
        with pytest.raises(Problem, match="audit-unavailable"):
            await office.enrolled("gateway-1", KeyUse.GATEWAY)
        assert all(key.owner != "gateway-1" for key in await office.client.list_keys())
    async with open_office(database, tmp_path) as office:
        assert [leaf["what"] for leaf, _ in await office.entries() if leaf["kind"] == "grant"] == ["consent-requested"]
        assert any(key.owner == "gateway-1" for key in await office.client.list_keys())
        assert await office.rows("SELECT FROM identity.pending_entry") == []


async def test_an_enrolment_whose_answer_was_lost_may_be_repeated(database: Database, tmp_path: Path) -> None:
    async with open_office(database, tmp_path, ledger=BreakingLedger) as office:
        token = await office.token("registrar")
        key = (await office.enrolled(CONSUMER), office.keys.pop(CONSUMER))[1]
        broken(office, "log away")
        other = type(key).generate()
        with pytest.raises(Problem, match="audit-unavailable"):
            await office.client.enrol_key(token, other, CONSUMER, KeyUse.SUBSYSTEM)
        broken(office)
        assert (await office.client.enrol_key(token, other, CONSUMER, KeyUse.SUBSYSTEM)).kid == other.kid
        with pytest.raises(Problem, match="conflict"):
            await office.client.enrol_key(token, other, CONSUMER, KeyUse.SUBSYSTEM)


async def test_many_at_once_withdraw_one_consent_once(office: Office) -> None:
    consent_id = await office.granted()
    answers = await asyncio.gather(*(office.answer("withdraw", consent_id) for _ in range(8)))
    assert {answer["state"] for answer in answers} == {"withdrawn"}
    assert await fences(office) == [("consent", consent_id)]


async def test_grant_and_decline_at_once_have_one_winner(office: Office) -> None:
    for _ in range(5):
        asked = await office.ask(purpose="loan", mode="store")
        results: list[Any] = await asyncio.gather(
            office.answer("grant", asked["id"]), office.answer("decline", asked["id"]), return_exceptions=True
        )
        won = [result for result in results if isinstance(result, dict)]
        lost = [result.code for result in results if isinstance(result, Problem)]
        assert (len(won), lost) == (1, ["conflict"])
        assert won[0]["state"] == await state_of(office, asked["id"])
        if won[0]["state"] == "declined":
            break


@pytest.mark.invariant("I-12", "I-25")
async def test_a_log_that_was_put_back_gets_every_withdrawal_anew_before_identity_confirms(
    database: Database, tmp_path: Path
) -> None:
    async with open_office(database, tmp_path) as office:
        await office.save_titles()
        consent_id, other = await office.granted(), await office.granted(items=["base"])
        key = await office.enrolled("CN-YA/GOV/tax/taxation")
        await office.answer("withdraw", consent_id)
        await office.client.revoke_key(await office.token("security"), key.kid, "lost")
        before = sorted(await fences(office))
        await office.rows("ALTER TABLE audit.fence DISABLE TRIGGER ALL")
        await office.rows("DELETE FROM audit.fence")
    # The log is admitted as it is: nobody has reason to doubt it.
    async with open_office(database, tmp_path) as office:
        assert await fences(office) == []
        assert await office.rows("SELECT FROM audit.owner_word") == []
        await office.rows("UPDATE audit.admission SET started = started - interval '1 hour'")
    async with open_office(database, tmp_path) as office:
        assert sorted(await fences(office)) == before == sorted([("consent", consent_id), ("key", key.kid)])
        assert await state_of(office, other) == "granted"
        assert [tuple(row) for row in await office.rows("SELECT owner FROM audit.owner_word")] == [("yitong_identity",)]
