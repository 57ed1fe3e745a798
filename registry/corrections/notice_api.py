"""The endpoints of notices of a correction."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel

from exchange.clock import rfc3339
from exchange.web import problem_responses
from registry.corrections.api import PartyActor, Reader
from registry.corrections.notice_store import CorrectionNotice
from registry.corrections.notices import NoticeOffice
from registry.repeat import RepeatableRoute

MAX_PAGE = 200
_READ = ("malformed-request", "unauthenticated", "signature-invalid", "signature-stale", "forbidden")


class CorrectionNoticeView(BaseModel):
    """更正通知. Times are RFC 3339. `subject` stands in one notice that a party reads, nowhere else."""

    number: int
    correction: int
    consumer: str
    service: str
    names: list[str]
    told_at: str
    acknowledged_at: str | None
    acknowledged_by: str | None
    subject: str | None = None


class CorrectionNoticePage(BaseModel):
    """更正通知列表. `next` is the `after` of the following page, null on the last."""

    notices: list[CorrectionNoticeView]
    next: int | None


def notices_of(request: Request) -> NoticeOffice:
    """FastAPI dependency: who tells the receivers."""
    found: NoticeOffice = request.app.state.correction_notices
    return found


Notices = Annotated[NoticeOffice, Depends(notices_of)]
Number = Annotated[int, Path(ge=1, le=2**53)]

router = APIRouter(prefix="/correction-notices", tags=["corrections"], route_class=RepeatableRoute)


@router.get("", response_model=CorrectionNoticePage, responses=problem_responses(*_READ))
async def list_notices(
    notices: Notices,
    actor: Reader,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    is_open: Annotated[bool | None, Query(alias="open", description="true: nobody has acknowledged it yet")] = None,
) -> dict[str, Any]:
    """Notices in their order: those to one's own systems, those about one's own data, or all for those who supervise."""
    found = await notices.page(actor, after=after, limit=limit, is_open=is_open)
    return {"notices": [view(notice) for notice in found], "next": found[-1].number if len(found) == limit else None}


@router.get("/{number}", response_model=CorrectionNoticeView, responses=problem_responses(*_READ, "not-found"))
async def show(number: Number, notices: Notices, actor: Reader) -> dict[str, Any]:
    """One notice; its parties read whom it is about."""
    notice, subject = await notices.show(actor, number)
    return view(notice) | {"subject": subject}


@router.post(
    "/{number}/acknowledgement",
    response_model=CorrectionNoticeView,
    responses=problem_responses(*_READ, "not-found", "audit-unavailable", "overloaded"),
)
async def acknowledge(number: Number, notices: Notices, actor: PartyActor) -> dict[str, Any]:
    """As the receiver: what one holds was put right or thrown away; the log has it when this answers."""
    return view(await notices.acknowledge(actor, number))


def view(notice: CorrectionNotice) -> dict[str, Any]:
    """The JSON of a CorrectionNoticeView without whom it is about."""
    names = ("number", "correction", "consumer", "service", "acknowledged_by")
    return {name: getattr(notice, name) for name in names} | {
        "names": list(notice.names),
        "told_at": rfc3339(notice.told_at),
        "acknowledged_at": None if notice.acknowledged_at is None else rfc3339(notice.acknowledged_at),
    }
