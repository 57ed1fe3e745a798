"""docs/own-list.md as it is written, beside a running exchange: a person questions an access, and the authority decides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from audit.client import AccessesRequest
from tests.journeys.stage import DEED_TAX, Stage
from tests.support.page import ROOT, Shell, told_commands
from tests.support.waiting import until_yes

PAGE = ROOT / "docs" / "own-list.md"
WORDS = "nobody told me of this"


@pytest.mark.timeout(300)
async def test_an_access_is_disputed_the_way_that_the_page_tells(stage: Stage, tmp_path: Path) -> None:
    wanted = stage.wanted(DEED_TAX, str(stage.exchange.home.accounts()["citizen"]["subject"]), facts={"deed_tax_paid": {}})
    await stage.fetch(wanted)
    rows: list[dict[str, Any]] = []

    async def is_listed() -> bool:
        audit = stage.session.audit(await stage.session.token("citizen"))
        pages = await audit.accesses(AccessesRequest())
        rows[:] = [row for page in pages for row in page["entries"] if row["case"] == stage.case]
        return bool(rows)

    await until_yes(is_listed)
    [row] = rows
    shell, said, number = Shell(tmp_path, stage.exchange.home.root), list[tuple[str, str]](), "1"
    for line in (told for told in told_commands(PAGE) if re.match(r"yitong (my )?dispute", told)):
        typed = line.replace("my dispute 1", f"my dispute {row['n']}")
        typed = re.sub(r"^(yitong dispute [a-z]+) 1\b", rf"\1 {number}", typed)
        said.append((line, shell.type(typed, said=f"{WORDS}\n")))
        if line.startswith("yitong my dispute"):
            number = re.findall(r"#(\d+)", said[-1][1])[0]
    department, person = (json.loads(text) for line, text in said if line.startswith("yitong dispute show"))
    assert (department["subject"], department["place"], department["service"]) == (
        *(wanted.subject, row["tree_index"], wanted.service),
    )
    assert (person["state"], [each["after"] for each in person["said"]]) == (
        *("remedied", ["submitted", "justified", "escalated", "upheld", "remedied"]),
    )
