"""docs/provider.md as it is written: every command, beside a running exchange."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exchange.keys import SigningKey
from tests.journeys.stage import DEED_TAX, Stage
from tests.support.page import ROOT, Shell, told_commands
from tests.support.waiting import until_yes

OWNER = "CN-YA/GOV/tax/taxation"


@pytest.mark.timeout(300)
async def test_a_provider_does_everything_that_the_page_tells(stage: Stage, tmp_path: Path) -> None:
    token, registry, home = await stage.session.token("registrar"), stage.registry(), stage.session.home
    first = home.key("tax")
    page = await registry.list(token, "rights", service=f"CN-YA/GOV/{DEED_TAX}", limit=200)
    right = next(row["id"] for row in page["rights"] if row["status"] == "active")
    shell, said = Shell(tmp_path, home.root), {}
    for line in told_commands(ROOT / "docs" / "provider.md"):
        said[line] = shell.type(line.replace("RIGHT", right))
    assert "suspended (provider)" in said[next(line for line in said if line.startswith("yitong right suspend"))]
    assert "now active" in said[next(line for line in said if line.startswith("yitong right lift"))]
    assert said["yitong key list CN-YA/GOV/tax/taxation"].count("active") >= 2
    assert [row["version"] for row in json.loads(said[f"yitong catalogue versions CN-YA/GOV/{DEED_TAX}"])["versions"]] == [1]
    # Back to the key with which everybody else's journeys began.
    following = SigningKey.load(home.secrets / "tax-next.pem")
    first.save(tmp_path / "first.pem")
    shell.type(f"yitong key use {OWNER} {tmp_path / 'first.pem'}")
    wanted = stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})

    async def is_back() -> bool:
        prepared = stage.prepare(wanted)
        return stage.read(await stage.send(prepared), prepared).answer.record.key.kid == first.kid

    await until_yes(is_back)
    await stage.session.identity.revoke_key(token, following.kid, "the test is over")
