"""What the endpoints of correction requests take and give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from exchange.clock import rfc3339
from registry.case_files import SaidView, said_view
from registry.corrections.model import Correction
from registry.corrections.office import CorrectionFile
from registry.deadlines.forms import DeadlineView, deadline_view
from registry.deadlines.model import Deadline

Words = Annotated[str, Field(min_length=1, max_length=2000, description="For the eyes of consumer and provider")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CorrectionForm(_Strict):
    """校核请求. `request_id` is the X-Road-Id of the request that the record answered; items and facts by name."""

    consumer: Annotated[str, Field(max_length=259)]
    service: Annotated[str, Field(max_length=324)]
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:~-]{1,128}$")]
    subject: Annotated[str, Field(min_length=1, max_length=64)]
    items: Annotated[list[Name], Field(min_length=1, max_length=64)]
    words: Words


class CorrectionAnswerForm(_Strict):
    """校核答复. The source was corrected, is confirmed as it is, or the request is rejected; the last two say why."""

    outcome: Literal["correct", "confirm", "reject"]
    words: Words | None = None


class CorrectionDecisionForm(_Strict):
    """校核裁定. Whether the consumer is right, and why."""

    upheld: bool
    words: Words


class CorrectionDisputeForm(_Strict):
    """校核异议. Why the answer cannot be left so."""

    words: Words


class CorrectionWithdrawalForm(_Strict):
    """撤回. Words, if there are any."""

    words: Words | None = None


class CorrectionView(BaseModel):
    """校核纠错. Times are RFC 3339. `subject` and `said` stand in one request that a party reads, nowhere else."""

    number: int
    state: str
    must_act: str | None
    consumer: str
    service: str
    request_id: str
    items: list[str]
    asker: str
    asked_at: str
    changed_at: str
    revision: int
    steps: list[str]
    deadline: DeadlineView | None
    subject: str | None = None
    said: list[SaidView] | None = None
    deadlines: list[DeadlineView] | None = None


class CorrectionPage(BaseModel):
    """校核列表. `next` is the `after` of the following page, null on the last."""

    corrections: list[CorrectionView]
    next: int | None


def view(correction: Correction, steps: Sequence[str], running: Deadline | None) -> dict[str, Any]:
    """The JSON of a CorrectionView without what was said."""
    names = ("number", "must_act", "consumer", "service", "request_id", "asker", "revision")
    return {name: getattr(correction, name) for name in names} | {
        "state": correction.state.value,
        "items": list(correction.items),
        "asked_at": rfc3339(correction.asked_at),
        "changed_at": rfc3339(correction.changed_at),
        "steps": list(steps),
        "deadline": None if running is None else deadline_view(running),
    }


def file_view(file: CorrectionFile, steps: Sequence[str]) -> dict[str, Any]:
    """The same with what was said, as far as the reader may read it."""
    running = next((deadline for deadline in file.deadlines if deadline.ended_at is None), None)
    said = [said_view(word) for word in file.words]
    deadlines = [deadline_view(deadline) for deadline in file.deadlines]
    return view(file.correction, steps, running) | {"subject": file.subject, "said": said, "deadlines": deadlines}
