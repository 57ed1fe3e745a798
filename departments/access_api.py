"""A department's access records over its own door: for its own systems, which hold them against what the log says."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, model_validator

from departments.doorkeeper import OwnSystem
from departments.registers import MAX_ACCESS_ROWS, PostgresRegisters
from exchange.web import problem_responses, require_strict_json

router = APIRouter(tags=["access records"])


class AccessWindow(BaseModel):
    """访问记录查询. From `since` to before `until`, the oldest first; `after` is the `next` of the page before."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    since: Annotated[AwareDatetime, Strict(strict=False)]
    until: Annotated[AwareDatetime, Strict(strict=False)]
    after: int | None = Field(default=None, ge=0, le=2**53 - 1)
    limit: int = Field(default=MAX_ACCESS_ROWS, ge=1, le=MAX_ACCESS_ROWS)

    @model_validator(mode="after")
    def _in_order(self) -> AccessWindow:
        if self.since >= self.until:
            raise ValueError("since is not before until")
        return self


class AccessRecordView(BaseModel):
    """访问记录. What this department answered: `req` is SHA-256 of the request's signature base (base64url), `at` RFC 3339."""

    req: str
    position: int
    at: datetime
    consumer: str
    service: str
    right: str
    names: list[str]


class AccessRecordPage(BaseModel):
    """访问记录页. `next` is null on the last one."""

    records: list[AccessRecordView]
    next: int | None


def access_records(request: Request) -> PostgresRegisters:
    """FastAPI dependency: where this department keeps them."""
    registers: PostgresRegisters = request.app.state.access_records
    return registers


@router.post(
    "/access-records",
    response_model=AccessRecordPage,
    dependencies=[Depends(require_strict_json)],
    responses=problem_responses(
        "malformed-request", "signature-invalid", "signature-stale", "forbidden", "registry-stale", "provider-failed"
    ),
)
async def list_access_records(
    window: AccessWindow, registers: Annotated[PostgresRegisters, Depends(access_records)], _system: OwnSystem
) -> dict[str, Any]:
    """The records of a window. They name nobody: a person is a token under a key that stays in this process."""
    rows = await registers.access_records(window.since, window.until, window.after, window.limit + 1)
    page = rows[: window.limit]
    return {"records": page, "next": page[-1]["id"] if len(rows) > len(page) else None}
