"""What the endpoints of filings take and give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from exchange.clock import rfc3339
from exchange.log import redact
from exchange.problem import Problem
from registry import forms
from registry.filings.model import Filing, FilingMove
from registry.model import Kind

MAX_REPORT = 262_144

Reason = Annotated[str, Field(min_length=1, max_length=2000, description="Why; the owner reads it, and it names nobody")]

_FORMS: dict[Kind, type[BaseModel]] = {
    Kind.MEMBER: forms.MemberForm,
    Kind.SUBSYSTEM: forms.SubsystemForm,
    Kind.GATEWAY: forms.GatewayForm,
    Kind.PURPOSE: forms.PurposeForm,
    Kind.SERVICE: forms.ServiceForm,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PapersForm(_Strict):
    """申报材料. The entry in the form of its kind, and for a data set its catalogue entry."""

    document: dict[str, Any]
    catalogue: dict[str, Any] | None = None


class FilingForm(PapersForm):
    """登记申报. A new entry, or the next version of one."""

    kind: Literal["member", "subsystem", "gateway", "service", "purpose"]


class ReasonForm(_Strict):
    """申报意见. Why."""

    reason: Reason


class NoteForm(_Strict):
    """申报说明. Words that go with a move, if there are any."""

    reason: Reason | None = None


class PublicationForm(NoteForm):
    """发布. For a data set the signed report of the conformance check (compact JWS)."""

    report: Annotated[str | None, Field(min_length=1, max_length=MAX_REPORT)] = None


class DeprecationForm(ReasonForm):
    """停用预告. Until when (RFC 3339) it still counts, and what takes its place."""

    until: Annotated[str, Field(min_length=20, max_length=20)]
    successor: Annotated[str | None, Field(min_length=1, max_length=324)] = None


class MoveView(BaseModel):
    """申报流转. One move; `at` is RFC 3339."""

    before: str | None
    after: str
    actor: str
    reason: str | None
    at: str


class FilingView(BaseModel):
    """登记申报. A filing; its times are RFC 3339, `moves` its history where one filing was asked for."""

    number: int
    kind: str
    id: str
    version: int
    state: str
    owner: str | None
    submitter: str | None
    approver: str | None
    reason: str | None
    grace_until: str | None
    successor: str | None
    revision: int
    changed_at: str
    document: dict[str, Any]
    catalogue: dict[str, Any] | None
    steps: list[str]
    moves: list[MoveView] | None = None


class FilingPage(BaseModel):
    """登记申报列表. `next` is the `after` of the following page, null on the last."""

    filings: list[FilingView]
    next: int | None


def read_form(kind: Kind, document: dict[str, Any]) -> BaseModel:
    """The form of a kind. Raises `malformed-request` with all that is wrong with it, by place."""
    try:
        return TypeAdapter(_FORMS[kind]).validate_python(document)
    except ValidationError as error:
        # The places are named, never the values; and a name that the caller made up may be one too.
        found = sorted({redact(f"{'.'.join(map(str, item['loc']))[:120]}: {item['msg'][:120]}") for item in error.errors()})
        raise Problem("malformed-request", f"the document is refused: {'; '.join(found[:10])}", faults=found[:50]) from None


def view(filing: Filing, steps: Sequence[str], moves: Sequence[FilingMove] | None = None) -> dict[str, Any]:
    """The JSON of a FilingView; `steps` are those that may be taken now."""
    return {
        "number": filing.number,
        "kind": filing.kind.value,
        "id": filing.id,
        "version": filing.version,
        "state": filing.state.value,
        "owner": filing.owner,
        "submitter": filing.submitter,
        "approver": filing.approver,
        "reason": filing.reason,
        "grace_until": None if filing.grace_until is None else rfc3339(filing.grace_until),
        "successor": filing.successor,
        "revision": filing.revision,
        "changed_at": rfc3339(filing.changed_at),
        "document": dict(filing.document),
        "catalogue": None if filing.catalogue is None else dict(filing.catalogue),
        "steps": list(steps),
        "moves": None if moves is None else [_move_view(move) for move in moves],
    }


def _move_view(move: FilingMove) -> dict[str, Any]:
    return {
        "before": None if move.before is None else move.before.value,
        "after": move.after.value,
        "actor": move.actor,
        "reason": move.reason,
        "at": rfc3339(move.at_ms // 1000),
    }
