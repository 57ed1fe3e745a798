"""An entry as columns and back: for owners who leave it in their own transaction until the log has it (`exchange.pending`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audit.model import Content, EntryKind, EntryRow, Heading


def to_columns(row: EntryRow) -> dict[str, Any]:
    """The columns of an entry that names no gateway, no code and no request."""
    heading, content = row.heading, row.content
    return {
        "kind": heading.kind.value,
        "at_ms": heading.at_ms,
        "consumer": heading.consumer,
        "provider": heading.provider,
        "service": heading.service,
        "purpose": heading.purpose,
        "leaf": content.leaf,
        "body": content.body,
        "blind": content.blind,
    }


def from_columns(columns: Mapping[str, Any]) -> EntryRow:
    """The entry again."""
    named = {name: columns[name] for name in ("consumer", "provider", "service", "purpose")}
    heading = Heading(EntryKind(columns["kind"]), columns["at_ms"], **named)
    return EntryRow(heading, Content(leaf=columns["leaf"], body=columns["body"], blind=columns["blind"]))
