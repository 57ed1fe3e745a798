"""What the log holds of a provider's answers, for whoever holds it against the provider's own records: see `reconciliation`."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, model_validator

from audit import reconciliation_store
from audit.reconciliation_store import StoredAnswer
from audit.search import Identifier, Look, ReadingRoom, ReadPurpose, Reason, Serial
from exchange.canonical import b64url, b64url_decode, parse_json, sha256
from exchange.clock import rfc3339
from exchange.identifiers import parse_subsystem_id
from exchange.problem import Problem

MAX_ANSWERS: Final = 1000
_LONGEST: Final = timedelta(days=32)
_SUBSCRIBED: Final = b'"@path": /subscriptions'


class ProvidedRequest(BaseModel):
    """应答条目查询. A provider (subsystem) and a window; `after` is the `next` of the page before."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    provider: Identifier
    since: Annotated[AwareDatetime, Strict(strict=False)]
    until: Annotated[AwareDatetime, Strict(strict=False)]
    reason: Reason
    read_purpose: Annotated[ReadPurpose, Strict(strict=False)] = ReadPurpose.VERIFICATION
    after: Serial | None = None
    limit: int = Field(default=MAX_ANSWERS, ge=1, le=MAX_ANSWERS)

    @model_validator(mode="after")
    def _a_window(self) -> ProvidedRequest:
        if not timedelta(0) < self.until - self.since <= _LONGEST:
            raise ValueError("a window is longer than nothing and no longer than a month")
        return self


class ProvidedEntry(BaseModel):
    """应答条目. A release, a late answer or a refusal; `req` (base64url) is null where the body cannot be read.

    `unasked`: an event to a subscriber, which the provider said and answered nobody.
    """

    model_config = ConfigDict(frozen=True)

    serial: int
    at: datetime
    kind: str
    code: str | None
    consumer: str
    service: str
    right: str | None
    names: list[str]
    req: str | None
    position: int
    aborted: bool
    unasked: bool


class ProvidedPage(BaseModel):
    """应答条目页. Oldest first; `next` is null on the last page."""

    model_config = ConfigDict(frozen=True)

    entries: list[ProvidedEntry]
    next: int | None


async def list_provided(room: ReadingRoom, look: Look, request: ProvidedRequest) -> ProvidedPage:
    """One page; the sitting is recorded before it leaves.

    Raises Problem `malformed-request`, `forbidden` for a provider beyond the auditor's reach, `audit-unavailable`.
    """
    provider = str(parse_subsystem_id(request.provider))
    within = look.reach.within
    if within is not None and not provider.startswith(f"{within}/"):
        raise Problem("forbidden", "this auditor sees another member")
    named = {"provider": provider, "since": rfc3339(request.since.timestamp()), "until": rfc3339(request.until.timestamp())}
    await room.sit_down(look, provider, "reconciliation", named)
    window = (request.since, request.until)
    async with room.connection() as connection:
        found = await reconciliation_store.load_answers(connection, window, provider, within, request.after, request.limit + 1)
        page = found[: request.limit]
        leaves = {each.serial: parse_json(each.leaf) for each in page}
        released = [each.serial for each in page if each.kind == "release"]
        rids = [b64url_decode(leaves[serial]["rid"]) for serial in released]
        requests = await reconciliation_store.load_requests(connection, rids)
        aborted = await reconciliation_store.find_aborted(connection, released)
    entries = [_entry(room, each, leaves[each.serial], requests, aborted) for each in page]
    return ProvidedPage(entries=entries, next=page[-1].serial if len(found) > len(page) else None)


def _entry(
    room: ReadingRoom,
    stored: StoredAnswer,
    leaf: Mapping[str, Any],
    requests: Mapping[int, tuple[bytes, int]],
    aborted: set[int],
) -> ProvidedEntry:
    opened = room.bodies.open(stored.body, stored.blind)
    base = _base(None if opened is None else opened.members)
    told, position = None if opened is None else opened.members.get("req"), 0
    req = told if isinstance(told, str) else None if base is None else b64url(sha256(base))
    if stored.serial in requests:
        digest, position = requests[stored.serial]
        req = b64url(digest)
    return ProvidedEntry(
        serial=stored.serial,
        at=stored.at,
        kind=stored.kind,
        code=stored.code,
        consumer=str(leaf.get("consumer")),
        service=str(leaf.get("service")),
        right=leaf.get("right"),
        names=[name for form in ("full", "masked", "facts") for name in _names(leaf.get(form))],
        req=req,
        position=position,
        aborted=stored.serial in aborted,
        unasked=stored.kind == "release" and base is not None and _SUBSCRIBED in base,
    )


def _names(value: Any) -> Sequence[str]:
    return value or ()


def _base(members: Mapping[str, Any] | None) -> bytes | None:
    """What the consumer signed, as the body of a release or a refusal holds it."""
    base = None if members is None else members.get("signature_base")
    return base64.b64decode(base) if isinstance(base, str) else None
