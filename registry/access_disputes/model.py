"""A dispute of an access (查阅异议): its states, and who may move it from where to where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from registry.deadlines.model import AUTHORITY
from registry.deadlines.policy import Rule


class DisputeState(StrEnum):
    """异议状态. Where a dispute stands."""

    SUBMITTED = "submitted"
    JUSTIFIED = "justified"
    REMEDIED = "remedied"
    ESCALATED = "escalated"
    UPHELD = "upheld"
    DISMISSED = "dismissed"
    WITHDRAWN = "withdrawn"


class Step(StrEnum):
    """异议动作. What is done with a dispute."""

    JUSTIFY = "justify"
    REMEDY = "remedy"
    ESCALATE = "escalate"
    UPHOLD = "uphold"
    DISMISS = "dismiss"
    WITHDRAW = "withdraw"


class Side(StrEnum):
    """异议各方. Whom the entry is about, the department whose data was read, and the authority."""

    PERSON = "person"
    PROVIDER = "provider"
    AUTHORITY = "authority"


_S = DisputeState

MOVES: Mapping[tuple[DisputeState, Step], tuple[Side, DisputeState]] = MappingProxyType(
    {
        (_S.SUBMITTED, Step.JUSTIFY): (Side.PROVIDER, _S.JUSTIFIED),
        (_S.SUBMITTED, Step.REMEDY): (Side.PROVIDER, _S.REMEDIED),
        **{(state, Step.ESCALATE): (Side.PERSON, _S.ESCALATED) for state in (_S.SUBMITTED, _S.JUSTIFIED, _S.REMEDIED)},
        (_S.ESCALATED, Step.UPHOLD): (Side.AUTHORITY, _S.UPHELD),
        (_S.ESCALATED, Step.DISMISS): (Side.AUTHORITY, _S.DISMISSED),
        (_S.UPHELD, Step.REMEDY): (Side.PROVIDER, _S.REMEDIED),
        **{(state, Step.WITHDRAW): (Side.PERSON, _S.WITHDRAWN) for state in (_S.SUBMITTED, _S.ESCALATED, _S.UPHELD)},
    }
)
"""From a state by a step: whose step it is, and where it leads. What nobody has answered is escalated once it is overdue."""

MUST_ACT: Mapping[DisputeState, Side] = MappingProxyType(
    {_S.SUBMITTED: Side.PROVIDER, _S.ESCALATED: Side.AUTHORITY, _S.UPHELD: Side.PROVIDER}
)
TERMS: Mapping[DisputeState, Rule] = MappingProxyType(
    {_S.SUBMITTED: Rule.ACCESS_DISPUTE_REPLY, _S.ESCALATED: Rule.DISPUTE, _S.UPHELD: Rule.ACCESS_DISPUTE_REPLY}
)
BROUGHT_UP = frozenset({_S.ESCALATED, _S.UPHELD, _S.DISMISSED})
"""States in which the authority has the matter before it, and reads what was said."""


@dataclass(frozen=True, slots=True)
class AccessDispute:
    """查阅异议. That a person questions an entry about them: its place in the log, and what the log says of it in the open.

    An entry that no department answered (a look into the audit) has no provider, and goes to the authority at once. Whom it
    is about, and what is said, are not here. Instants are unix seconds.
    """

    number: int
    state: DisputeState
    place: int
    kind: str
    entry_at: int
    consumer: str | None
    provider: str | None
    service: str | None
    purpose: str | None
    names: tuple[str, ...]
    revision: int
    asked_at: int
    changed_at: int

    @property
    def name(self) -> str:
        """How the log and deadlines call it."""
        return f"access-dispute {self.number}"

    @property
    def must_act(self) -> str | None:
        """The member that must act now, or `authority`; None where nobody must."""
        side = MUST_ACT.get(self.state)
        if side is Side.PROVIDER and self.provider is not None:
            return self.provider.rpartition("/")[0]
        return None if side is None else AUTHORITY

    def rail(self, step: Step) -> tuple[Side, DisputeState] | None:
        """Whose step it is now and where it leads, None if it may not be taken."""
        found = MOVES.get((self.state, step))
        if found is not None and found[0] is Side.PROVIDER and self.provider is None:
            return Side.AUTHORITY, found[1]
        return found
