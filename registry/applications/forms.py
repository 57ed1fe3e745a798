"""What the endpoints of applications take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from exchange.clock import rfc3339
from registry.applications.model import Application, ApplicationMove
from registry.applications.office import ApplicationFile
from registry.deadlines.forms import DeadlineView, deadline_view
from registry.deadlines.model import Deadline

MAX_SIGNATURE = 65_536

Reason = Annotated[str, Field(min_length=1, max_length=2000, description="Why; the other side reads it, and it names nobody")]
Signature = Annotated[
    str, Field(min_length=1, max_length=MAX_SIGNATURE, description="Compact JWS over the right's canonical document")
]
Fault = Annotated[str, Field(min_length=1, max_length=500)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PapersForm(_Strict):
    """申请材料. May be empty in a draft; a submission needs all of it. `office` is an office, no person."""

    matter: Annotated[str, Field(max_length=200, description="办理事项: for which matter")] = ""
    necessity: Annotated[str, Field(max_length=2000, description="必要性: why it cannot be done without")] = ""
    office: Annotated[str, Field(max_length=200, description="责任单位: which office answers for it; no person")] = ""
    protection: Annotated[str, Field(max_length=2000, description="安全措施: how it is kept")] = ""


class ApplicationForm(_Strict):
    """共享申请. `document` is the right as it is asked for (wire format of rights), as far as it is known.

    `consumer` and `service` must be there; `application` is filled in with this application's reference.
    """

    document: dict[str, Any]
    papers: PapersForm = PapersForm()


class SubmissionForm(_Strict):
    """提交. With the consumer's signature over the document, a whole grant is a right at once."""

    acceptance: Signature | None = None


class ReturnForm(_Strict):
    """一次性告知. Everything that is missing; there is no second list from the same reviewer."""

    missing: Annotated[list[Fault], Field(min_length=1, max_length=50)]


class NoteForm(_Strict):
    """说明. Words that go with a step, if there are any."""

    reason: Reason | None = None


class ReasonForm(_Strict):
    """理由. Why."""

    reason: Reason


class AnswerForm(_Strict):
    """答复. Yes or no to what was asked, and why."""

    allowed: bool
    reason: Reason


class GrantForm(_Strict):
    """授予. The provider's signature over what was asked, or over the narrower `document`."""

    grant: Signature
    document: dict[str, Any] | None = None


class AcceptanceForm(_Strict):
    """接受. The consumer's signature over what was granted."""

    acceptance: Signature


class ApplicationMoveView(BaseModel):
    """申请流转. One move; `at` is RFC 3339."""

    before: str | None
    after: str
    side: str
    actor: str
    reason: str | None
    missing: list[str]
    at: str


class ApplicationView(BaseModel):
    """共享申请. Times are RFC 3339; `deadline` is the one that runs, `moves` and `deadlines` the history of one application."""

    number: int
    reference: str
    state: str
    must_act: str | None
    consumer: str
    service: str
    sharing_class: str
    document: dict[str, Any]
    papers: dict[str, str]
    missing: list[str]
    extension: str | None
    offered: dict[str, Any] | None
    narrowed: bool
    grant: str | None
    acceptance: str | None
    right: str | None
    submitter: str | None
    granter: str | None
    refuser: str | None
    reason: str | None
    submitted_at: str | None
    decided_at: str | None
    revision: int
    changed_at: str
    steps: list[str]
    deadline: DeadlineView | None
    moves: list[ApplicationMoveView] | None = None
    deadlines: list[DeadlineView] | None = None


class ApplicationPage(BaseModel):
    """共享申请列表. `next` is the `after` of the following page, null on the last."""

    applications: list[ApplicationView]
    next: int | None


_AS_THEY_ARE = ("number", "reference", "consumer", "service", "extension", "grant", "acceptance", "right", "submitter", "granter")


def view(application: Application, steps: Sequence[str], running: Deadline | None) -> dict[str, Any]:
    """The JSON of an ApplicationView without its history; `steps` are those that may be taken now."""
    return {name: getattr(application, name) for name in (*_AS_THEY_ARE, "refuser", "reason", "revision", "must_act")} | {
        "state": application.state.value,
        "sharing_class": application.sharing_class.value,
        "document": dict(application.document),
        "papers": asdict(application.papers),
        "missing": list(application.missing),
        "offered": None if application.offered is None else dict(application.offered),
        "narrowed": application.is_narrowed,
        "submitted_at": _instant(application.submitted_at),
        "decided_at": _instant(application.decided_at),
        "changed_at": rfc3339(application.changed_at),
        "steps": list(steps),
        "deadline": None if running is None else deadline_view(running),
    }


def file_view(file: ApplicationFile, steps: Sequence[str]) -> dict[str, Any]:
    """The same with its history."""
    return view(file.application, steps, file.running) | {
        "moves": [_move_view(move) for move in file.moves],
        "deadlines": [deadline_view(deadline) for deadline in file.deadlines],
    }


def _instant(seconds: int | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _move_view(move: ApplicationMove) -> dict[str, Any]:
    return {
        "before": None if move.before is None else move.before.value,
        "after": move.after.value,
        "side": move.side.value,
        "actor": move.actor,
        "reason": move.reason,
        "missing": list(move.missing),
        "at": rfc3339(move.at_ms // 1000),
    }
