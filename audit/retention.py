"""Retention: how long bodies are kept, what goes now, and how it goes.

Bodies go a month at a time. First an entry says that the month goes, then its partition is dropped, then the month's key is
taken out of the key file: from then on no copy and no backup of the bodies can be opened. A crash between two of these leaves
something that the next run finishes. Leaves, tree, chains and proofs stay as they were (I-19). Once no body of an epoch is
left, the key under which its people were named is destroyed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from audit import retention_store
from audit.entries import commit_body, make_config_leaf, new_blind, plain_body
from audit.epoch import EpochKeys
from audit.integration import Session
from audit.model import Content, EntryKind, EntryRow, Heading
from audit.retention_store import StoredMonth
from audit.sealing import BodyKeys, Sealer
from exchange.canonical import b64url, sha256
from exchange.clock import Clock

DEFAULT_POLICY: Final = Path(__file__).with_name("retention_policy.yaml")
MAX_POLICY_BYTES: Final = 65_536
ERASURE: Final = "body-erasure"
HOLD: Final = "legal-hold"
HOLD_ENDED: Final = "legal-hold-ended"
EPOCH_ENDED: Final = "epoch-ended"
ADMITTED: Final = "restored-database-admitted"

Words = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Basis(BaseModel):
    """法律依据. An article, and what it asks for."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    article_zh: Words
    article_en: Words
    why_zh: Words
    why_en: Words


class RetentionPolicy(BaseModel):
    """保存期限. How many whole months bodies are kept after their own, and why."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    body_months: int = Field(ge=6, le=1200)
    basis: list[Basis] = Field(min_length=1, max_length=20)


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """已发布期限. A policy, and the digest (SHA-256, b64url) of the file that entries name it by."""

    policy: RetentionPolicy
    digest: str


def load_retention(path: Path = DEFAULT_POLICY) -> WrittenPolicy:
    """Read a policy file. Raises OSError, or ValueError for what is no policy."""
    raw = path.read_bytes()
    if len(raw) > MAX_POLICY_BYTES:
        raise ValueError(f"{path.name} is too large")
    try:
        return WrittenPolicy(RetentionPolicy.model_validate(yaml.safe_load(raw)), b64url(sha256(raw)))
    except (yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"{path.name} is no retention policy: {error}") from error


class MonthState(StrEnum):
    """月份状态. What becomes of a month of bodies now."""

    KEPT = "kept"
    DUE = "due"
    HELD = "held"
    WAITS = "waits"
    """Due, and something in it is not finished: hidden entries that nobody has revealed, or entries without a number yet."""


@dataclass(frozen=True, slots=True)
class PlannedMonth:
    """月份计划. A month of bodies, when it is due, and what becomes of it now; `because` is the database's word."""

    month: date
    bodies: int
    bytes: int
    due: date
    state: MonthState
    because: str | None

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "month": f"{self.month:%Y-%m}",
            "bodies": self.bodies,
            "bytes": self.bytes,
            "due": self.due.isoformat(),
            "state": self.state.value,
            "because": self.because,
        }


def add_months(month: date, count: int) -> date:
    """The first day of the month that is `count` later."""
    total = month.year * 12 + month.month - 1 + count
    return date(total // 12, total % 12 + 1, 1)


def _planned(stored: StoredMonth, policy: RetentionPolicy, today: date) -> PlannedMonth:
    due = add_months(stored.month, policy.body_months + 1)
    if stored.because == "held":
        state = MonthState.HELD
    elif today < due or stored.because == "least-term":
        state = MonthState.KEPT
    else:
        state = MonthState.DUE if stored.because is None else MonthState.WAITS
    return PlannedMonth(stored.month, stored.bodies, stored.bytes, due, state, stored.because)


@dataclass(frozen=True, slots=True)
class Archivist:
    """档案管理员. Carries a retention policy out, over a connection that logs in as the role of this name.

    `by` is who does it, as the entries' bodies say.
    """

    connection: Session
    written: WrittenPolicy
    sealer: Sealer
    clock: Clock
    by: str

    async def plan(self) -> list[PlannedMonth]:
        """What would go, and what is kept and why. Changes nothing."""
        today = datetime.fromtimestamp(self.clock.now(), UTC).date()
        return [_planned(each, self.written.policy, today) for each in await retention_store.load_months(self.connection)]

    async def erase(self, month: date, key_files: Sequence[Path]) -> int:
        """Say it, drop the bodies, destroy the key; how many bodies went. Called again, it finishes what was begun.

        Raises ObjectNotInPrerequisiteStateError if the month is kept, LockNotAvailableError if it could not have the table.
        """
        row = self._row(ERASURE, month.year * 100 + month.month, {"month": f"{month:%Y-%m}"})
        await retention_store.announce(self.connection, month, row)
        gone = await retention_store.erase(self.connection, month)
        self.destroy_key(month, key_files)
        return gone

    async def finish(self, key_files: Sequence[Path]) -> None:
        """Destroy the keys of all months whose bodies have gone: a run that was cut off may have left some."""
        for month in await retention_store.load_done(self.connection):
            self.destroy_key(month, key_files)

    @staticmethod
    def destroy_key(month: date, key_files: Sequence[Path]) -> None:
        """Take a month's key out of each file. The last month's stays: a file without any key is none."""
        number = month.year * 12 + month.month - 1
        for path in key_files:
            keys = BodyKeys.load(path)
            if number in keys.months and len(keys.months) > 1:
                keys.without(number).save(path)

    async def end_epochs(self, key_file: Path) -> list[int]:
        """Destroy the keys of epochs of which no body is left; which ones went. Recorded before the file changes."""
        oldest = await retention_store.oldest_epoch(self.connection)
        keys = EpochKeys.load(key_file)
        kept = keys if oldest is None else keys.without_before(oldest)
        gone = sorted(set(keys.epochs) - set(kept.epochs))
        for epoch in gone:
            await retention_store.record_epoch_end(self.connection, self._row(EPOCH_ENDED, epoch, {"epoch": epoch}))
        if gone:
            kept.save(key_file)
        return gone

    async def hold(self, first: date, last: date, reason: str) -> int:
        """Keep months whatever their term; the hold's number."""
        body = {"first": f"{first:%Y-%m}", "last": f"{last:%Y-%m}", "reason": reason}
        return await retention_store.place_hold(self.connection, first, last, self._row(HOLD, None, body))

    async def lift(self, number: int, reason: str) -> bool:
        """End a hold; False if no such hold stands."""
        row = self._row(HOLD_ENDED, number, {"hold": number, "reason": reason})
        return await retention_store.lift_hold(self.connection, number, row) is not None

    async def admit(self, head: str, reason: str) -> int:
        """Let releases begin on a restored database; the serial of the entry. `head` is what the witnesses were asked.

        Raises ObjectNotInPrerequisiteStateError while an owner has not confirmed.
        """
        return await retention_store.admit_restored(self.connection, self._row(ADMITTED, None, {"head": head, "reason": reason}))

    def _row(self, what: str, version: int | None, members: dict[str, Any]) -> EntryRow:
        at_ms, blind, body = self.clock.now_ms(), new_blind(), plain_body({"by": self.by, **members})
        leaf = make_config_leaf(
            at_ms=at_ms, what=what, version=version, digest=self.written.digest, body_commit=commit_body(body, blind)
        )
        return EntryRow(Heading(EntryKind.CONFIG, at_ms), self.sealer.seal(Content(leaf, body, blind), at_ms))
