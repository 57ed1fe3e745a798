"""The citizen's list of the whole exchange: nothing that concerns a person is missing, and both parties have signed for it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from audit.client import AccessesRequest, EpochKeys, verify_list
from deploy.my_commands import load_list_trust
from tests.journeys.figures import FIGURES
from tests.journeys.stage import Stage
from tests.journeys.test_grounds import HOUSEHOLD
from tests.journeys.test_quotas import asked, right, wanted_of
from tests.support.audit_rows import now_ms
from tests.support.waiting import until_yes

DAY_MS = 86_400_000


@pytest.mark.invariant("I-36")
async def test_everybody_of_the_story_finds_all_that_is_recorded_about_them(stage: Stage) -> None:
    keys = EpochKeys.load(stage.exchange.home.secrets / "epoch-keys.json")
    trust = load_list_trust(stage.exchange.home.trust)
    counted: Counter[str] = Counter()
    for account in ("citizen", "guardian", "stranger", "agent"):
        subject = str(stage.exchange.home.accounts()[account]["subject"])
        token = keys.tokens(now_ms(), subject=subject).subject
        audit = stage.session.audit(await stage.session.token(account))

        async def is_numbered(token: bytes | None = token) -> bool:
            [row] = await stage.query(
                "SELECT (SELECT count(*) FROM audit.body WHERE subject_token = $1) AS written,"
                " (SELECT count(*) FROM audit.subject_entry WHERE token = $1) AS numbered",
                token,
            )
            return bool(row["written"] == row["numbered"])

        await until_yes(is_numbered)
        pages = await audit.accesses(AccessesRequest())
        assert verify_list(pages, trust).token == token
        rows = [row for page in pages for row in page["entries"]]
        [recorded] = await stage.query("SELECT count(*) AS n FROM audit.body WHERE subject_token = $1", token)
        assert len(rows) == recorded["n"]
        released = [row for row in rows if row["kind"] == "release"]
        assert all(row["purpose_title"] and row["consumer_title"] and row["service_title"] for row in released), "in plain words"
        assert subject not in json.dumps(pages)
        counted[account] = len(rows)
    assert counted["citizen"] > 0
    FIGURES["I-36 lists of the run"] = f"{dict(counted)} entries: each list whole, proven, countersigned"


@pytest.mark.invariant("I-36")
async def test_who_is_investigated_learns_of_a_refusal_no_sooner_than_of_an_answer(stage: Stage) -> None:
    """Whatever a hiding right leads to is hidden: the answer, a refusal under it, and one before it was chosen."""
    buyer, gateway = stage.exchange.cast.buyer.id, stage.session.gateways[0]
    async with right(stage, "hidden", hidden_days=30, requests_a_day=1):
        await stage.served(wanted_of(stage, buyer), gateway)
        over = await asked(stage, buyer, gateway)
        beyond = await stage.send(stage.prepare(stage.wanted(HOUSEHOLD, buyer, items=["members"])), gateway)
        refusals = [over.json()["code"], beyond.json()["code"]]
        assert refusals == ["quota-exceeded", "item-not-covered"]
        lines = [line for line in await stage.entries() if line.leaf.get("code") != "right-missing"]
        assert sorted(line.leaf.get("code") or line.kind for line in lines) == sorted(["release", *refusals])
        for line in lines:
            assert line.leaf["hidden_until"] == line.leaf["at"] + 30 * DAY_MS
        last = max(line.serial for line in lines)

        async def is_numbered() -> bool:
            rows = await stage.query(
                "SELECT s.tree_index < h.indexed FROM audit.sequenced s, audit.subject_head h WHERE s.serial = $1", last
            )
            return bool(rows and rows[0][0])

        await until_yes(is_numbered)
        pages = await stage.session.audit(await stage.session.token("citizen")).accesses(AccessesRequest())
        seen = [row for page in pages for row in page["entries"] if row["case"] == stage.case]
        assert {row["code"] for row in seen} <= {"right-missing"}, "what came before the right was in force"
        assert sum(each["count"] for each in pages[0]["postponed"]) >= len(lines)
