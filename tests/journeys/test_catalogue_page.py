"""docs/catalogue.md as it is written: every command, beside a running exchange."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.journeys.stage import Stage
from tests.support.page import ROOT, Shell, told_commands


@pytest.mark.timeout(300)
async def test_the_catalogue_is_found_read_and_begun_as_the_page_tells(stage: Stage, tmp_path: Path) -> None:
    shell = Shell(tmp_path, stage.exchange.home.root)
    said = {line: shell.type(line) for line in told_commands(ROOT / "docs" / "catalogue.md")}

    def told(begin: str) -> str:
        return next(text for line, text in said.items() if line.startswith(f"yitong {begin}"))

    assert "real-estate/registration/ownership" in told("catalogue search 不动产")
    assert "tax-status" in told("catalogue search --events")
    assert "A=A" in told("catalogue show")
    assert "tax.arrears-opened" in told("catalogue show")
    assert "tax.arrears-opened" in json.loads(told("catalogue asyncapi"))["components"]["messages"]
    assert json.loads(told("catalogue openapi"))["openapi"] == "3.1.0"
    assert [row["version"] for row in json.loads(told("catalogue versions"))["versions"]] == [1]
    assert "monthly_amount" in told("catalogue import")
    assert "somebody deceased" in told("sandbox subjects")
