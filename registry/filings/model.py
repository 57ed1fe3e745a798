"""A filing: one version of a member, subsystem, gateway, purpose or data set, its states, and who may move it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from registry.model import Kind

OWNED = frozenset({Kind.SUBSYSTEM, Kind.SERVICE})
"""Kinds that a member files for itself; the others are the authority's own."""


class FilingState(StrEnum):
    """申报状态. Only what is published, or deprecated and still within its grace period, counts for requests."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    PUBLISHED = "published"
    SUSPENDED = "suspended"
    DEPRECATED = "deprecated"
    ARCHIVED = "archived"


class Step(StrEnum):
    """申报动作. What is done to a filing."""

    SUBMIT = "submit"
    WITHDRAW = "withdraw"
    RETURN = "return"
    APPROVE = "approve"
    PUBLISH = "publish"
    SUSPEND = "suspend"
    LIFT = "lift"
    DEPRECATE = "deprecate"
    REVIVE = "revive"
    ARCHIVE = "archive"


class Side(StrEnum):
    """办理方. Who may take a step: the owner's side, the authority, either of them."""

    OWNER = "owner"
    AUTHORITY = "authority"
    EITHER = "either"


_D, _S, _A = FilingState.DRAFT, FilingState.SUBMITTED, FilingState.APPROVED
_P, _X, _G, _Z = FilingState.PUBLISHED, FilingState.SUSPENDED, FilingState.DEPRECATED, FilingState.ARCHIVED

MOVES: Mapping[tuple[FilingState, Step], tuple[FilingState, ...]] = MappingProxyType(
    {
        (_D, Step.SUBMIT): (_S,),
        (_D, Step.ARCHIVE): (_Z,),
        (_S, Step.WITHDRAW): (_D,),
        (_S, Step.RETURN): (_D,),
        (_S, Step.APPROVE): (_A,),
        (_A, Step.PUBLISH): (_P,),
        (_A, Step.ARCHIVE): (_Z,),
        (_P, Step.SUSPEND): (_X,),
        (_P, Step.DEPRECATE): (_G,),
        (_P, Step.ARCHIVE): (_Z,),
        (_G, Step.SUSPEND): (_X,),
        (_G, Step.REVIVE): (_P,),
        (_G, Step.ARCHIVE): (_Z,),
        (_X, Step.LIFT): (_P, _G),
        (_X, Step.ARCHIVE): (_Z,),
    }
)
"""From a state by a step to a state; a lifted filing goes back to where it was suspended."""

SIDES: Mapping[Step, Side] = MappingProxyType(
    {
        Step.SUBMIT: Side.OWNER,
        Step.WITHDRAW: Side.OWNER,
        Step.RETURN: Side.AUTHORITY,
        Step.APPROVE: Side.AUTHORITY,
        Step.PUBLISH: Side.EITHER,
        Step.SUSPEND: Side.EITHER,
        Step.LIFT: Side.AUTHORITY,
        Step.DEPRECATE: Side.EITHER,
        Step.REVIVE: Side.EITHER,
        Step.ARCHIVE: Side.EITHER,
    }
)

OPEN = frozenset({_D, _S, _A})
"""States of a filing that does not count yet; there is one of them at most for each entry."""
STANDING = frozenset({_P, _G, _X})
"""States of the filing that the entry in force was made of; one of them at most for each entry."""


@dataclass(frozen=True, slots=True)
class Filing:
    """登记申报. One version of what is registered, with its papers.

    `document` is the form of the entry, `catalogue` the catalogue entry of a data set. `owner` is the member that filed it,
    None for the authority itself. `reason` is that of the last move that needed one. Instants are unix seconds;
    `grace_until` is the end of a deprecated version.
    """

    number: int
    kind: Kind
    id: str
    version: int
    state: FilingState
    document: Mapping[str, Any]
    catalogue: Mapping[str, Any] | None
    owner: str | None
    submitter: str | None
    approver: str | None
    reason: str | None
    grace_until: int | None
    successor: str | None
    report: str | None
    revision: int
    changed_at: int

    @property
    def name(self) -> str:
        """How the log and people call it: kind, entry and version."""
        return f"{self.kind} {self.id}@{self.version}"

    def after(self, step: Step) -> FilingState | None:
        """Where a step leads, None if it may not be taken now."""
        ends = MOVES.get((self.state, step), ())
        if step is Step.LIFT and ends:
            return _G if self.grace_until is not None else _P
        return ends[0] if ends else None


@dataclass(frozen=True, slots=True)
class FilingMove:
    """申报流转. One move in a filing's history."""

    before: FilingState | None
    after: FilingState
    actor: str
    reason: str | None
    at_ms: int


def owner_of(kind: Kind, identifier: str) -> str | None:
    """The member whose papers these are; None for what is the authority's own."""
    return "/".join(identifier.split("/")[:3]) if kind in OWNED else None
