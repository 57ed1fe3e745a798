"""The citizen's list as Estonia's Data Tracker asks for it (Andmejälgija, contract v2): a view of the same rows, without proofs.

The contract names the person in the query string; personal identifiers never stand in a URL here. So the person is whom
`X-Road-UserId` and the log-in name, and a `userCode` is taken from the body of a POST, with the same parameters.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from audit.accesses import AccessList
from audit.accesses_api import OWN, Oneself, access_list, subject_of
from audit.search import Look
from exchange.problem import Problem
from exchange.tokens import Person
from exchange.web import prefers_chinese, problem_responses, require_strict_json

MAX_USAGES: Final = 1000
REASON: Final = "findUsage"

router = APIRouter(prefix="/v2", tags=["tracker"], dependencies=[Depends(require_strict_json)])

_RESPONSES: Final = problem_responses("malformed-request", "unauthenticated", "forbidden", "overloaded", "audit-unavailable")
Accesses = Annotated[AccessList, Depends(access_list)]


class UsageForm(BaseModel):
    """使用查询. The contract's parameters; days are inclusive, in China time."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    user_code: str | None = Field(default=None, validation_alias=AliasChoices("userCode"), max_length=32, repr=False)
    period_start: date | None = Field(default=None, validation_alias=AliasChoices("periodStart"))
    period_end: date | None = Field(default=None, validation_alias=AliasChoices("periodEnd"))
    offset: int = Field(default=0, ge=0, le=2**31)
    limit: int = Field(default=MAX_USAGES, ge=1, le=MAX_USAGES)


class Usage(BaseModel):
    """使用记录. One access as the contract words it."""

    logtime: str
    action: str
    receiverCode: str  # noqa: N815 - the contract's spelling
    receiverName: str  # noqa: N815 - the contract's spelling
    receiverSystem: str  # noqa: N815 - the contract's spelling


class UsagePeriod(BaseModel):
    """记录期间. From when to when there are records about the person; null where there are none."""

    periodStart: str | None  # noqa: N815 - the contract's spelling
    periodEnd: str | None  # noqa: N815 - the contract's spelling


class Heartbeat(BaseModel):
    """心跳. That the view answers."""

    status: str


def the_person(
    person: Oneself, x_road_userid: Annotated[str | None, Header(alias="X-Road-UserId", max_length=64)] = None
) -> Person:
    """Whoever is logged in, if `X-Road-UserId` names the same (with or without a country before it). Raises `forbidden`."""
    require_same(person, x_road_userid)
    return person


def require_same(person: Person, named: str | None) -> None:
    """Raise `forbidden` if somebody else is named than is logged in."""
    if named is not None and named not in {subject_of(person), f"CN{subject_of(person)}"}:
        raise Problem("forbidden", "everybody reads about themselves here")


ThePerson = Annotated[Person, Depends(the_person)]


@router.get("/heartbeat", responses=problem_responses("audit-unavailable"))
async def get_heartbeat() -> Heartbeat:
    """Whether this view is there."""
    return Heartbeat(status="OK")


@router.get("/usagePeriod", responses=_RESPONSES)
async def get_usage_period(person: ThePerson, accesses: Accesses) -> UsagePeriod:
    """From the first record about the person to the last."""
    times = await accesses.span(Look(person, "usagePeriod", OWN), subject_of(person))
    return UsagePeriod(periodStart=times and times[0], periodEnd=times and times[1])


@router.get("/findUsage", responses=_RESPONSES)
async def get_usages(request: Request, person: ThePerson, accesses: Accesses, form: Annotated[UsageForm, Query()]) -> list[Usage]:
    """Newest first. Without `userCode`: whoever is logged in is meant."""
    if form.user_code is not None:
        raise Problem("malformed-request", "a person's code stands in no URL: leave userCode out, or send the parameters by POST")
    return await _find(request, person, accesses, form)


@router.post("/findUsage", responses=_RESPONSES)
async def post_usages(request: Request, person: ThePerson, accesses: Accesses, form: UsageForm) -> list[Usage]:
    """The same with the parameters in the body."""
    require_same(person, form.user_code)
    return await _find(request, person, accesses, form)


async def _find(request: Request, person: Person, accesses: AccessList, form: UsageForm) -> list[Usage]:
    chinese = prefers_chinese(request.headers.get("accept-language", "zh"))
    found = await accesses.usages(
        Look(person, REASON, OWN),
        subject_of(person),
        since=_midnight(form.period_start),
        until=_midnight(form.period_end and form.period_end + timedelta(days=1)),
        offset=form.offset,
        limit=form.limit,
    )
    tongue = "zh-CN" if chinese else "en"
    return [
        Usage(
            logtime=each.at,
            action=(each.purpose_title or {}).get(tongue) or each.purpose or each.kind,
            receiverCode=(each.consumer or "").rpartition("/")[0],
            receiverName=(each.consumer_title or {}).get(tongue) or each.consumer or "",
            receiverSystem=each.consumer or "",
        )
        for each in found
    ]


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=8)
