"""What `yitong catalogue show` prints of a data set, in both languages."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console
from typer.testing import CliRunner

from deploy.catalogue_commands import app, event_lines, items_table
from deploy.config.services import BOOTSTRAP_FILE
from deploy.speech import Speaker
from registry.bootstrap import read_bootstrap
from registry.model import ServiceEntry, document

SERVICE = "CN-YA/GOV/tax/taxation/tax-status"


def shown(**entry: Any) -> dict[str, Any]:
    """A data set of the story as the registry shows it, with some members of its entry changed."""
    first = read_bootstrap(BOOTSTRAP_FILE, "CN-YA")
    [service] = [found.entity for found in first.entries if isinstance(found.entity, ServiceEntry) and found.entity.id == SERVICE]
    return {"data_set": document(service), "entry": {**first.catalogue[SERVICE], **entry}}


def reader(language: str) -> Speaker:
    return Speaker(language, Console(file=StringIO(), width=200))


def test_event_types_are_told_in_the_readers_language() -> None:
    opened = shown()["entry"]["events"]["tax.arrears-opened"]
    assert opened["items"] == ["arrears_amount"]
    assert event_lines(shown(), reader("zh-CN")) == [
        "事件 tax.arrears-opened 欠税发生（保留 90 天）",
        "  数据项：arrears_amount",
        '  示例：{"arrears_amount": {"hidden": true}}',
        "事件 tax.arrears-cleared 欠税结清（保留 90 天）",
        "  数据项：无",
        "  示例：{}",
    ]
    assert event_lines(shown(), reader("en"))[:3] == [
        "event tax.arrears-opened: Arrears were entered (kept for 90 days)",
        "  items: arrears_amount",
        '  example: {"arrears_amount": {"hidden": true}}',
    ]


def test_an_event_type_that_an_old_entry_does_not_describe_is_named() -> None:
    assert event_lines(shown(events={}), reader("en")) == ["event tax.arrears-opened", "event tax.arrears-cleared"]
    assert event_lines({**shown(), "entry": None}, reader("zh-CN")) == ["事件 tax.arrears-opened", "事件 tax.arrears-cleared"]


def test_a_data_set_without_events_tells_of_none() -> None:
    without = shown()
    without["data_set"]["events"] = []
    assert event_lines(without, reader("en")) == []


def test_items_are_told_with_their_codes() -> None:
    says = reader("zh-CN")
    says.console.print(items_table(shown(), says))
    assert isinstance(says.console.file, StringIO)
    text = says.console.file.getvalue()
    assert "A=A 级" in text
    assert "arrears_amount" in text


def test_the_commands_are_there() -> None:
    runner = CliRunner()
    for command, option in (("search", "--no-events"), ("show", "--json"), ("asyncapi", "instance/class/member")):
        answered = runner.invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
        assert answered.exit_code == 0
        assert option in answered.output
