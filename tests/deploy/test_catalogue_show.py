"""What `yitong catalogue show` prints of a data set, in both languages."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from deploy.catalogue_commands import events_table, items_table
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


def printed(table: Table, says: Speaker) -> str:
    says.console.print(table)
    assert isinstance(says.console.file, StringIO)
    return says.console.file.getvalue()


def reader(language: str) -> Speaker:
    return Speaker(language, Console(file=StringIO(), width=200))


@pytest.mark.parametrize(
    ("language", "expected"),
    [("zh-CN", ("事件类型", "保留天数", "欠税发生", "欠税结清")), ("en", ("event type", "days kept", "Arrears were entered"))],
)
def test_event_types_are_told_in_the_readers_language(language: str, expected: tuple[str, ...]) -> None:
    says = reader(language)
    text = printed(events_table(shown(), says), says)
    for word in (*expected, "tax.arrears-opened", "arrears_amount", "90", '{"hidden": true}'):
        assert word in text


def test_an_event_type_that_an_old_entry_does_not_describe_is_named() -> None:
    says = reader("en")
    assert "tax.arrears-cleared" in printed(events_table(shown(events={}), says), says)


def test_what_an_entry_says_is_no_markup() -> None:
    says, words = reader("en"), {"zh": "[red]", "en": "[bold]x[/]"}
    note = {"title": words, "items": [], "retention_days": 90, "example": {"a": ["b"]}}
    text = printed(events_table(shown(events={"tax.arrears-opened": note}), says), says)
    assert "[bold]x[/]" in text
    assert '{"a": ["b"]}' in text


def test_items_are_told_with_their_codes() -> None:
    says = reader("zh-CN")
    text = printed(items_table(shown(), says), says)
    assert "A=A 级" in text
    assert "arrears_amount" in text
