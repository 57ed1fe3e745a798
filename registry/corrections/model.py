"""A correction request (校核纠错): its states, and who may move it from where to where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from registry.deadlines.policy import Rule
from registry.model import RightSide


class CorrectionState(StrEnum):
    """校核状态. Where a correction request stands."""

    SUBMITTED = "submitted"
    CORRECTED = "corrected"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    DISPUTED = "disputed"
    UPHELD = "upheld"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


class Step(StrEnum):
    """校核动作. What is done with a correction request."""

    CORRECT = "correct"
    CONFIRM = "confirm"
    REJECT = "reject"
    DISPUTE = "dispute"
    UPHOLD = "uphold"
    CLOSE = "close"
    WITHDRAW = "withdraw"


_S = CorrectionState

MOVES: Mapping[tuple[CorrectionState, Step], tuple[RightSide, CorrectionState]] = MappingProxyType(
    {
        (_S.SUBMITTED, Step.CORRECT): (RightSide.PROVIDER, _S.CORRECTED),
        (_S.SUBMITTED, Step.CONFIRM): (RightSide.PROVIDER, _S.CONFIRMED),
        (_S.SUBMITTED, Step.REJECT): (RightSide.PROVIDER, _S.REJECTED),
        (_S.CONFIRMED, Step.DISPUTE): (RightSide.CONSUMER, _S.DISPUTED),
        (_S.REJECTED, Step.DISPUTE): (RightSide.CONSUMER, _S.DISPUTED),
        (_S.DISPUTED, Step.UPHOLD): (RightSide.AUTHORITY, _S.UPHELD),
        (_S.DISPUTED, Step.CLOSE): (RightSide.AUTHORITY, _S.CLOSED),
        (_S.UPHELD, Step.CORRECT): (RightSide.PROVIDER, _S.CORRECTED),
        **{(state, Step.WITHDRAW): (RightSide.CONSUMER, _S.WITHDRAWN) for state in (_S.SUBMITTED, _S.DISPUTED, _S.UPHELD)},
    }
)
"""From a state by a step: whose step it is, and where it leads. `corrected` is said of the source, not of a copy."""

MUST_ACT: Mapping[CorrectionState, RightSide] = MappingProxyType(
    {_S.SUBMITTED: RightSide.PROVIDER, _S.DISPUTED: RightSide.AUTHORITY, _S.UPHELD: RightSide.PROVIDER}
)
TERMS: Mapping[CorrectionState, Rule] = MappingProxyType(
    {_S.SUBMITTED: Rule.CORRECTION_REPLY, _S.DISPUTED: Rule.DISPUTE, _S.UPHELD: Rule.CORRECTION_REPLY}
)
BROUGHT_UP = frozenset({_S.DISPUTED, _S.UPHELD, _S.CLOSED})
"""States in which the authority has the matter before it, and reads what was said."""


@dataclass(frozen=True, slots=True)
class Correction:
    """校核纠错. That a record of a service is thought to be wrong in some items.

    `request_id` is the request that the record answered. What is thought to be wrong, and about whom, is not here.
    """

    number: int
    state: CorrectionState
    consumer: str
    service: str
    request_id: str
    items: tuple[str, ...]
    asker: str
    revision: int
    asked_at: int
    changed_at: int

    @property
    def name(self) -> str:
        """How the log and deadlines call it."""
        return f"correction {self.number}"

    @property
    def systems(self) -> Mapping[RightSide, str]:
        """The two systems that it is between."""
        return {RightSide.CONSUMER: self.consumer, RightSide.PROVIDER: self.service.rpartition("/")[0]}

    @property
    def members(self) -> Mapping[RightSide, str]:
        """Who must act, by party."""
        provider = self.service.rpartition("/")[0].rpartition("/")[0]
        return {
            RightSide.CONSUMER: self.consumer.rpartition("/")[0],
            RightSide.PROVIDER: provider,
            RightSide.AUTHORITY: "authority",
        }

    @property
    def must_act(self) -> str | None:
        """The member that must act now, or `authority`; None where nobody must."""
        party = MUST_ACT.get(self.state)
        return None if party is None else self.members[party]

    def rail(self, step: Step) -> tuple[RightSide, CorrectionState] | None:
        """Whose step it is now and where it leads, None if it may not be taken."""
        return MOVES.get((self.state, step))
