"""What the endpoints of disputes of an access take and give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from exchange.clock import rfc3339
from registry.access_disputes.model import AccessDispute
from registry.access_disputes.office import DisputeFile
from registry.case_files import SaidView, said_view
from registry.deadlines.forms import DeadlineView, deadline_view
from registry.deadlines.model import Deadline

Words = Annotated[str, Field(min_length=1, max_length=2000, description="For the eyes of the person and the provider")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DisputeForm(_Strict):
    """查阅异议. Row `n` of one's own list; without `epoch` of the newest chain."""

    n: Annotated[int, Field(ge=1, le=2**53 - 1)]
    epoch: Annotated[int, Field(ge=1, le=32_767)] | None = None
    words: Words


class DisputeAnswerForm(_Strict):
    """异议答复. Why the access was in order, or what was done about it."""

    outcome: Literal["justify", "remedy"]
    words: Words


class DisputeEscalationForm(_Strict):
    """提交主管部门. Why the answer cannot be left so, or that there is none."""

    words: Words


class DisputeDecisionForm(_Strict):
    """异议裁定. Whether the person is right, and why."""

    upheld: bool
    words: Words


class DisputeWithdrawalForm(_Strict):
    """撤回. Words, if there are any."""

    words: Words | None = None


class DisputeView(BaseModel):
    """查阅异议. Times are RFC 3339. `subject` and `said` stand in one dispute that a side reads, nowhere else."""

    number: int
    state: str
    must_act: str | None
    place: int
    kind: str
    entry_at: str
    consumer: str | None
    provider: str | None
    service: str | None
    purpose: str | None
    names: list[str]
    asked_at: str
    changed_at: str
    revision: int
    steps: list[str]
    deadline: DeadlineView | None
    subject: str | None = None
    said: list[SaidView] | None = None
    deadlines: list[DeadlineView] | None = None


class DisputePage(BaseModel):
    """异议列表. `next` is the `after` of the following page, null on the last."""

    disputes: list[DisputeView]
    next: int | None


def view(dispute: AccessDispute, steps: Sequence[str], running: Deadline | None) -> dict[str, Any]:
    """The JSON of a DisputeView without what was said."""
    names = ("number", "must_act", "place", "kind", "consumer", "provider", "service", "purpose", "revision")
    instants = ("entry_at", "asked_at", "changed_at")
    return {
        **{name: getattr(dispute, name) for name in names},
        **{name: rfc3339(getattr(dispute, name)) for name in instants},
        "state": dispute.state.value,
        "names": list(dispute.names),
        "steps": list(steps),
        "deadline": None if running is None else deadline_view(running),
    }


def file_view(file: DisputeFile, steps: Sequence[str]) -> dict[str, Any]:
    """The same with what was said, as far as the reader may read it."""
    running = next((deadline for deadline in file.deadlines if deadline.ended_at is None), None)
    said = [said_view(word) for word in file.words]
    deadlines = [deadline_view(deadline) for deadline in file.deadlines]
    return view(file.dispute, steps, running) | {"subject": file.subject, "said": said, "deadlines": deadlines}
