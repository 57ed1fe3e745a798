"""docs/registrar.md as it is written: an application from the draft to the data, beside a running exchange."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.journeys.stage import Stage
from tests.support.page import ROOT, Shell, told_commands

PAGE = ROOT / "docs" / "registrar.md"


@pytest.mark.timeout(300)
async def test_an_application_goes_the_way_that_the_page_tells(stage: Stage, tmp_path: Path) -> None:
    shell = Shell(tmp_path, stage.exchange.home.root)
    said: dict[str, str] = {}
    numbers: dict[str, str] = {}
    for line in told_commands(PAGE):
        # The page begins with the exchange's first application, and its first correction.
        what = line.split()[1]
        typed = re.sub(r"^(yitong (?:application|correction) [a-z]+) 1\b", rf"\1 {numbers.get(what, '1')}", line)
        if line.startswith("yitong fetch"):
            # What was released is held by whom it was released to: the journeys' last test counts.
            typed += f" --save {tmp_path / 'receipt.json'}"
        subject, words = f"{stage.exchange.cast.buyer.id}\n", "the street was renumbered in 2019\n"
        asks = line.startswith(("yitong fetch", "yitong correction ask"))
        said[line] = shell.type(typed, said=subject + words if asks else words)
        if line.startswith(("yitong application draft", "yitong correction ask")):
            numbers[what] = said[line].split("#")[1].split(":")[0].strip()
    shown = json.loads(next(text for line, text in said.items() if line.startswith("yitong application show")))
    assert shown["state"] == "provisioned"
    assert [move["after"] for move in shown["moves"]] == [
        *("draft", "submitted", "provider-review", "granted", "disputed", "mediated", "granted", "accepted", "provisioned"),
    ]
    [fetched] = [text for line, text in said.items() if line.startswith("yitong fetch")]
    assert "record and receipt verified" in fetched
    stage.traffic.presentations.append(json.loads((tmp_path / "receipt.json").read_text(encoding="utf-8"))["presentation"])
    [asked] = [text for line, text in said.items() if line.startswith("yitong correction show")]
    assert json.loads(asked)["subject"] == stage.exchange.cast.buyer.id
    assert "corrected" in next(text for line, text in said.items() if line.startswith("yitong correction list"))
    [policy] = [text for line, text in said.items() if line.startswith("yitong deadline policy")]
    assert "conditional-reply ?" in policy
    await stage.registry().revoke_right(await stage.session.token("registrar"), shown["right"], "the test is over")
