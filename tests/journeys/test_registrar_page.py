"""docs/registrar.md as it is written: an application from the draft to the data, beside a running exchange."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.journeys.stage import Stage
from tests.support.page import ROOT, Shell, told_commands

PAGE = ROOT / "docs" / "registrar.md"


@pytest.mark.timeout(300)
async def test_an_application_goes_the_way_that_the_page_tells(stage: Stage, tmp_path: Path) -> None:
    shell = Shell(tmp_path, stage.exchange.home.root)
    said, number = {}, ""
    for line in told_commands(PAGE):
        # The page begins with the exchange's first application.
        typed = line.replace("submit 1", f"submit {number}").replace("take 1", f"take {number}")
        typed = (
            typed.replace("grant 1", f"grant {number}")
            .replace("accept 1", f"accept {number}")
            .replace("show 1", f"show {number}")
        )
        said[line] = shell.type(typed, said=f"{stage.exchange.cast.buyer.id}\n")
        if "application draft" in line:
            number = said[line].split("#")[1].split(":")[0]
    shown = json.loads(next(text for line, text in said.items() if line.startswith("yitong application show")))
    assert shown["state"] == "provisioned"
    assert [move["after"] for move in shown["moves"]] == [
        *("draft", "submitted", "provider-review", "granted", "disputed", "mediated", "granted", "accepted", "provisioned"),
    ]
    [fetched] = [text for line, text in said.items() if line.startswith("yitong fetch")]
    assert "record and receipt verified" in fetched
    [policy] = [text for line, text in said.items() if line.startswith("yitong deadline policy")]
    assert "conditional-reply ?" in policy
    await stage.registry().revoke_right(await stage.session.token("registrar"), shown["right"], "the test is over")
