"""A consent to keep data, from the command line: asked for, given, withdrawn, and what the consumer then has to delete."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.home import INSTANCE
from tests.journeys.stage import CONTRIBUTIONS, Stage
from tests.support.page import Shell


async def test_a_consent_to_keep_is_withdrawn_and_its_consumer_confirms_the_deletion(stage: Stage, tmp_path: Path) -> None:
    shell, citizen = Shell(tmp_path, stage.exchange.home.root), str(stage.exchange.home.accounts()["citizen"]["subject"])
    asked = shell.type(f"yitong consent request {INSTANCE}/GOV/{CONTRIBUTIONS} --item months --keep-days 7", said=f"{citizen}\n")
    consent = asked.strip().splitlines()[-1]
    shell.type(f"yitong consent grant {consent}")
    shell.type(f"yitong consent withdraw {consent}")
    open_ones = json.loads(shell.type("yitong consent duties --open --json"))["duties"]
    assert consent in {duty["consent"] for duty in open_ones}
    assert "confirmed: deleted" in shell.type(f"yitong consent confirm-deletion {consent}")
    assert consent not in shell.type("yitong consent duties --open")
    told = await stage.session.identity.show_deletion(await stage.session.token("citizen"), consent)
    assert told["outcome"] == "deleted"
