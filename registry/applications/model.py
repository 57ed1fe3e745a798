"""A sharing application: its states, who may move it from where to where, who must act, and within which term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from registry.deadlines.policy import Rule
from registry.model import SharingClass


class ApplicationState(StrEnum):
    """申请状态. Where an application stands; only `provisioned` has become an access right."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    SUPPLEMENT = "supplement"
    REVIEW = "provider-review"
    EXTENSION_ASKED = "extension-asked"
    EXTENDED = "extended"
    GRANTED = "granted"
    ACCEPTED = "accepted"
    PROVISIONED = "provisioned"
    REFUSED = "refused"
    DISPUTED = "disputed"
    MEDIATED = "mediated"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


class Side(StrEnum):
    """办理方. Who acts; `registry` is the process itself."""

    CONSUMER = "consumer"
    PROVIDER = "provider"
    AUTHORITY = "authority"
    REGISTRY = "registry"


class Step(StrEnum):
    """办理动作. What is done with an application."""

    SUBMIT = "submit"
    RETURN = "return"
    FORWARD = "forward"
    ASK_EXTENSION = "ask-extension"
    ALLOW_EXTENSION = "allow-extension"
    DENY_EXTENSION = "deny-extension"
    GRANT = "grant"
    REFUSE = "refuse"
    ACCEPT = "accept"
    PROVISION = "provision"
    DISPUTE = "dispute"
    UPHOLD = "uphold"
    DISMISS = "dismiss"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Rail:
    """流转规则. Whose step it is, and where it leads: to one state, or to one of several that the application's past decides."""

    side: Side
    ends: tuple[ApplicationState, ...]


_S = ApplicationState
_CONSUMER, _PROVIDER, _AUTHORITY = Side.CONSUMER, Side.PROVIDER, Side.AUTHORITY
_WITHDRAWABLE = (
    _S.DRAFT,
    _S.SUBMITTED,
    _S.SUPPLEMENT,
    _S.REVIEW,
    _S.EXTENSION_ASKED,
    _S.EXTENDED,
    _S.GRANTED,
    _S.ACCEPTED,
    _S.DISPUTED,
    _S.MEDIATED,
)

MOVES: Mapping[tuple[ApplicationState, Step], Rail] = MappingProxyType(
    {
        (_S.DRAFT, Step.SUBMIT): Rail(_CONSUMER, (_S.SUBMITTED, _S.REVIEW)),
        (_S.SUPPLEMENT, Step.SUBMIT): Rail(_CONSUMER, (_S.SUBMITTED, _S.REVIEW)),
        (_S.SUBMITTED, Step.RETURN): Rail(_AUTHORITY, (_S.SUPPLEMENT,)),
        (_S.SUBMITTED, Step.FORWARD): Rail(_AUTHORITY, (_S.REVIEW,)),
        (_S.SUBMITTED, Step.REFUSE): Rail(_AUTHORITY, (_S.REFUSED,)),
        (_S.REVIEW, Step.RETURN): Rail(_PROVIDER, (_S.SUPPLEMENT,)),
        (_S.REVIEW, Step.ASK_EXTENSION): Rail(_PROVIDER, (_S.EXTENSION_ASKED,)),
        (_S.EXTENSION_ASKED, Step.ALLOW_EXTENSION): Rail(_AUTHORITY, (_S.EXTENDED,)),
        (_S.EXTENSION_ASKED, Step.DENY_EXTENSION): Rail(_AUTHORITY, (_S.REVIEW,)),
        **{
            (state, step): Rail(_PROVIDER, (end,))
            for state in (_S.REVIEW, _S.EXTENSION_ASKED, _S.EXTENDED)
            for step, end in ((Step.GRANT, _S.GRANTED), (Step.REFUSE, _S.REFUSED))
        },
        (_S.MEDIATED, Step.GRANT): Rail(_PROVIDER, (_S.GRANTED,)),
        (_S.GRANTED, Step.ACCEPT): Rail(_CONSUMER, (_S.ACCEPTED,)),
        (_S.ACCEPTED, Step.PROVISION): Rail(Side.REGISTRY, (_S.PROVISIONED,)),
        (_S.REFUSED, Step.DISPUTE): Rail(_CONSUMER, (_S.DISPUTED,)),
        (_S.GRANTED, Step.DISPUTE): Rail(_CONSUMER, (_S.DISPUTED,)),
        (_S.DISPUTED, Step.UPHOLD): Rail(_AUTHORITY, (_S.MEDIATED,)),
        (_S.DISPUTED, Step.DISMISS): Rail(_AUTHORITY, (_S.CLOSED, _S.GRANTED)),
        **{(state, Step.WITHDRAW): Rail(_CONSUMER, (_S.WITHDRAWN,)) for state in _WITHDRAWABLE},
    }
)
"""From a state by a step. Whoever returns, refuses or disputes says why; whoever grants signs."""

MUST_ACT: Mapping[ApplicationState, Side] = MappingProxyType(
    {
        _S.DRAFT: _CONSUMER,
        _S.SUBMITTED: _AUTHORITY,
        _S.SUPPLEMENT: _CONSUMER,
        _S.REVIEW: _PROVIDER,
        # The provider's own term runs on meanwhile.
        _S.EXTENSION_ASKED: _AUTHORITY,
        _S.EXTENDED: _PROVIDER,
        _S.GRANTED: _CONSUMER,
        _S.ACCEPTED: _AUTHORITY,
        _S.DISPUTED: _AUTHORITY,
        _S.MEDIATED: _PROVIDER,
    }
)
"""Who must act in each state that waits for somebody; the others have come to an end."""

TERMS: Mapping[ApplicationState, Rule] = MappingProxyType(
    {
        _S.SUBMITTED: Rule.AUTHORITY_REVIEW,
        _S.SUPPLEMENT: Rule.SUPPLEMENT,
        _S.GRANTED: Rule.ACCEPTANCE,
        _S.ACCEPTED: Rule.PROVISION,
        _S.DISPUTED: Rule.DISPUTE,
    }
)
"""The term that begins with a state; that of a provider's reply depends on the sharing class."""

WRITABLE = frozenset({_S.DRAFT, _S.SUPPLEMENT})
"""States in which the consumer still writes the papers."""


@dataclass(frozen=True, slots=True)
class Papers:
    """申请材料. What an application says beside the right: for which matter, why, which office answers for it, how it is kept."""

    matter: str
    necessity: str
    office: str
    protection: str


@dataclass(frozen=True, slots=True)
class Application:
    """共享申请. One application with everything that was said and signed about it.

    `document` is the right as it is asked for, `offered` as the provider grants it; `grant` and `acceptance` are compact JWS
    over `offered`. `consumer` and `service` are identifiers in slash form. Times are unix seconds; `missing` is the one list
    of what a reviewer found missing. `returned_from` is the state to which a supplement leads back.
    """

    number: int
    state: ApplicationState
    consumer: str
    service: str
    sharing_class: SharingClass
    document: Mapping[str, Any]
    papers: Papers
    missing: tuple[str, ...]
    returned_by: tuple[Side, ...]
    returned_from: ApplicationState | None
    extension: str | None
    offered: Mapping[str, Any] | None
    grant: str | None
    acceptance: str | None
    right: str | None
    submitter: str | None
    granter: str | None
    refuser: str | None
    reason: str | None
    submitted_at: int | None
    decided_at: int | None
    revision: int
    changed_at: int

    @property
    def name(self) -> str:
        """How the log, deadlines and people call it."""
        return f"application {self.number}"

    @property
    def reference(self) -> str:
        """What the right that comes of it says in its member `application`."""
        return f"application-{self.number}"

    @property
    def consumer_member(self) -> str:
        """The member that asks."""
        return self.consumer.rpartition("/")[0]

    @property
    def provider(self) -> str:
        """The subsystem that is asked."""
        return self.service.rpartition("/")[0]

    @property
    def provider_member(self) -> str:
        """The member that is asked."""
        return self.provider.rpartition("/")[0]

    @property
    def must_act(self) -> str | None:
        """The member that must act now, or `authority`; None where nobody must."""
        side = MUST_ACT.get(self.state)
        members = {Side.CONSUMER: self.consumer_member, Side.PROVIDER: self.provider_member, Side.AUTHORITY: "authority"}
        return None if side is None else members[side]

    @property
    def term(self) -> Rule | None:
        """The term that begins with the present state, if one does."""
        if self.state in (_S.REVIEW, _S.MEDIATED):
            is_unconditional = self.sharing_class is SharingClass.UNCONDITIONAL
            return Rule.UNCONDITIONAL_REPLY if is_unconditional else Rule.CONDITIONAL_REPLY
        return TERMS.get(self.state)

    @property
    def is_narrowed(self) -> bool:
        """Whether the provider grants less than was asked."""
        return self.offered is not None and dict(self.offered) != dict(self.document)

    def side_of(self, step: Step) -> Side | None:
        """Whose step it would be now, None if it may not be taken."""
        rail = MOVES.get((self.state, step))
        return rail.side if rail is not None and self.after(step) is not None else None

    def after(self, step: Step) -> ApplicationState | None:
        """Where a step leads, None if it may not be taken now."""
        rail = MOVES.get((self.state, step))
        if rail is None or not self._past_allows(step, rail.side):
            return None
        if step is Step.SUBMIT:
            return self.returned_from or self._first_reviewer()
        if step is Step.DISMISS:
            return _S.CLOSED if self.grant is None else _S.GRANTED
        return rail.ends[0]

    def _past_allows(self, step: Step, side: Side) -> bool:
        """One list of what is missing from each reviewer, one extension, and a dispute only about what was not granted."""
        if step is Step.RETURN:
            return side not in self.returned_by
        if step is Step.ASK_EXTENSION:
            return self.extension is None and self.sharing_class is not SharingClass.UNCONDITIONAL
        if step is Step.DISPUTE and self.state is _S.GRANTED:
            return self.is_narrowed
        return True

    def _first_reviewer(self) -> ApplicationState:
        """What is shared without conditions goes to the provider at once: there is nothing for the authority to weigh."""
        return _S.REVIEW if self.sharing_class is SharingClass.UNCONDITIONAL else _S.SUBMITTED


@dataclass(frozen=True, slots=True)
class ApplicationMove:
    """申请流转. One move in an application's history; `side` acted as `actor`."""

    before: ApplicationState | None
    after: ApplicationState
    side: Side
    actor: str
    reason: str | None
    missing: tuple[str, ...]
    at_ms: int
