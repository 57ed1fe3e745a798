"""Bodies as readers see them: whatever form a body is stored in, it is opened here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from audit.entries import PLAIN_BODY, commit_body
from exchange.canonical import parse_json
from exchange.problem import Problem

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class OpenedBody:
    """已打开正文. What a body says, its bytes in plain format, and the blind under which its leaf commits to these."""

    members: Mapping[str, Any]
    plain: bytes
    blind: bytes | None

    def is_committed_to(self, leaf: Mapping[str, Any]) -> bool | None:
        """Whether the leaf commits to this body; None if its blind is not known."""
        return None if self.blind is None else commit_body(self.plain, self.blind) == leaf.get("body_commit")


class BodyReader:
    """正文阅读器. Opens stored bodies."""

    async def prepare(self, connection: Session, stored: Iterable[bytes | None]) -> None:
        """Fetch what is needed to open these bodies; `open` itself asks nobody."""

    def open(self, stored: bytes | None, blind: bytes | None) -> OpenedBody | None:
        """What a stored body says; None if there is none or it cannot be read here. `blind` is what stands beside it.

        A body that is no JSON object says nothing: its members are empty.
        """
        if stored is None or not stored.startswith(PLAIN_BODY):
            return None
        try:
            members = parse_json(stored.removeprefix(PLAIN_BODY))
        except Problem:
            members = {}
        return OpenedBody(members if isinstance(members, dict) else {}, stored, blind)
