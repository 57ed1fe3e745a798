"""Bodies as readers see them: whatever form a body is stored in, it is opened here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.entries import PLAIN_BODY, commit_body
from audit.sealing import SEALED_BODY, BodyKeys, Unsealer
from exchange.canonical import parse_json
from exchange.problem import Problem


@dataclass(frozen=True, slots=True)
class OpenedBody:
    """已打开正文. What a body says, its bytes in plain format, and the blind under which its leaf commits to these.

    One that was altered says nothing: no members, no bytes.
    """

    members: Mapping[str, Any]
    plain: bytes
    blind: bytes | None

    def is_committed_to(self, leaf: Mapping[str, Any]) -> bool:
        """Whether the leaf commits to this body."""
        if self.blind is None or not self.plain.startswith(PLAIN_BODY):
            return False
        return commit_body(self.plain, self.blind) == leaf.get("body_commit")


class BodyReader:
    """正文阅读器. Opens stored bodies, sealed ones too as far as it has the keys of their months."""

    def __init__(self, keys: BodyKeys | None = None) -> None:
        """Without keys, sealed bodies stay so."""
        self._unsealer = None if keys is None else Unsealer(keys)

    def open(self, stored: bytes | None, blind: bytes | None) -> OpenedBody | None:
        """What a stored body says; None if there is none or nobody here can read it. `blind` is what stands beside it."""
        if stored is None:
            return None
        if stored.startswith(SEALED_BODY):
            if self._unsealer is None or not self._unsealer.has_key_of(stored):
                return None
            try:
                stored, blind = self._unsealer.unseal(stored)
            except ValueError:
                return OpenedBody({}, b"", None)
        if not stored.startswith(PLAIN_BODY):
            return None
        try:
            members = parse_json(stored.removeprefix(PLAIN_BODY))
        except Problem:
            members = {}
        return OpenedBody(members if isinstance(members, dict) else {}, stored, blind)
