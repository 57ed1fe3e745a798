"""The citizen's list of the whole exchange: nothing that concerns a person is missing, and both parties have signed for it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from audit.client import AccessesRequest, EpochKeys, verify_list
from deploy.my_commands import load_list_trust
from tests.journeys.figures import FIGURES
from tests.journeys.stage import Stage
from tests.support.waiting import until_yes


@pytest.mark.invariant("I-36")
async def test_everybody_of_the_story_finds_all_that_is_recorded_about_them(stage: Stage) -> None:
    keys = EpochKeys.load(stage.exchange.home.secrets / "epoch-keys.json")
    trust = load_list_trust(stage.exchange.home.trust)
    counted: Counter[str] = Counter()
    for account in ("citizen", "guardian", "stranger", "agent"):
        subject = str(stage.exchange.home.accounts()[account]["subject"])
        token = keys.tokens(subject=subject).subject
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
