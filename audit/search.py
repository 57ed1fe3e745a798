"""What auditors ask for and get: by when, who, whom, what for, about whom; page by page, and one entry opened.

Every look is itself an entry of the log, durable before its answer leaves. It says who looked and why; it carries the token
of the person who was asked about, so that this person finds the look too.
"""

from __future__ import annotations

import contextlib
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import asyncpg
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, Strict, StringConstraints, model_validator

from audit import search_store
from audit.append import EntryDesk
from audit.bodies import BodyReader, OpenedBody
from audit.entries import commit_body, make_read_leaf, new_blind, plain_body
from audit.epoch import EpochKeys
from audit.model import Content, EntryKind, EntryRow, Heading, SearchTokens
from audit.reach import Reach
from audit.search_store import Found, Opened, ReadingPool, Sought
from exchange.canonical import b64url, canonical, parse_json
from exchange.clock import Clock, rfc3339
from exchange.identifiers import parse_enterprise_id, parse_person_id, parse_service_id, parse_subsystem_id
from exchange.problem import Problem
from exchange.tokens import Person

MAX_ROWS: Final = 200
SITTING: Final = timedelta(minutes=15)
_READER_ROLE: Final = "auditor"

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
FreeText = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,256}$")]
Reason = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{4,500}$")]
Serial = Annotated[int, Field(ge=1, le=2**53 - 1)]


class ReadPurpose(StrEnum):
    """查阅目的. Why the audit is read; the words of the reader stand in the body of the entry, this in its leaf."""

    SUPERVISION = "supervision"
    COMPLAINT = "complaint"
    INCIDENT = "incident"
    INSPECTION = "inspection"
    VERIFICATION = "verification"


class Criteria(BaseModel):
    """检索条件. All that are given must hold; instants are inclusive at the beginning and exclusive at the end."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    since: Annotated[AwareDatetime, Strict(strict=False)] | None = None
    until: Annotated[AwareDatetime, Strict(strict=False)] | None = None
    consumer: Identifier | None = None
    """Subsystem, slash form."""
    provider: Identifier | None = None
    """Subsystem, slash form."""
    service: Identifier | None = None
    """Slash form."""
    purpose: Code | None = None
    subject: FreeText | None = None
    """ID number or unified social credit code."""
    officer: FreeText | None = None
    """As asserted by the consumer; for looks into the audit, the reader's account."""
    case: FreeText | None = None
    kind: Annotated[EntryKind, Strict(strict=False)] | None = None
    code: Code | None = None
    """Code of a refusal."""

    @model_validator(mode="after")
    def _in_order(self) -> Criteria:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since is not before until")
        return self


class SearchRequest(Criteria):
    """检索请求. Criteria, why the reader looks, and which page; `before` is the `next` of the page before it."""

    reason: Reason
    read_purpose: Annotated[ReadPurpose, Strict(strict=False)] = ReadPurpose.SUPERVISION
    before: Serial | None = None
    limit: int = Field(default=50, ge=1, le=MAX_ROWS)


class EntryLine(BaseModel):
    """条目摘要. An entry without its body. `tree_index` is null until the entry is in the tree."""

    model_config = ConfigDict(frozen=True)

    serial: int
    tree_index: int | None
    at: str
    kind: str
    leaf: dict[str, Any]


class SearchPage(BaseModel):
    """检索结果页. Newest first. `next` is null on the last page."""

    model_config = ConfigDict(frozen=True)

    entries: list[EntryLine]
    next: int | None
    settled: int
    """Up to this serial nothing can be added any more: everything there is in the tree."""
    read: int
    """Serial of the entry that records this look."""


class BodyState(StrEnum):
    """正文状态. Whether the body of an entry can be read here."""

    OPEN = "open"
    SEALED = "sealed"
    ERASED = "erased"


class OpenedEntry(EntryLine):
    """条目全文. One entry with its body, and whether the leaf commits to that body (null when that cannot be told)."""

    entry: str
    """The leaf's bytes, base64url: what `POST /log/proof` takes."""
    body_state: BodyState
    body: dict[str, Any] | None
    commitment_holds: bool | None
    read: int


@dataclass(frozen=True, slots=True)
class Look:
    """查阅. Who looks, in which words, for which purpose."""

    reader: Person
    reason: str
    purpose: str = ReadPurpose.SUPERVISION
    role: str = _READER_ROLE

    @property
    def reach(self) -> Reach:
        """How far an auditor sees. Raises Problem `forbidden` as `Reach.of` does."""
        return Reach.of(self.reader)


class ReadingRoom:
    """阅览室. Where auditors search and open entries; nothing is handed out before the look stands in the log."""

    def __init__(self, pool: ReadingPool, desk: EntryDesk, keys: EpochKeys, clock: Clock, bodies: BodyReader) -> None:
        """`pool` and `desk` log in as the auditor; `keys` are those of every epoch that is kept."""
        self._pool, self._desk, self._keys, self._clock = pool, desk, keys, clock
        self.bodies = bodies
        self._sittings: dict[tuple[str, str, str, bytes], datetime] = {}

    async def search(self, look: Look, request: SearchRequest) -> SearchPage:
        """One page. Raises Problem `malformed-request`, `too-large` if the search takes too long, `audit-unavailable`."""
        sought = self.sought(look, request, before=request.before, limit=request.limit + 1)
        async with self._pool.connection() as connection:
            found, settled = await search_store.search(connection, sought)
        page, more = found[: request.limit], len(found) > request.limit
        question = request.model_dump(mode="json", exclude_none=True, exclude={"reason", "read_purpose"})
        body = {"found": [row.serial for row in page], "criteria": question}
        tokens = self._tokens(subject=_subject(request.subject), officer=look.reader.account)
        read = await self._record(look, "search", len(page), body, tokens)
        lines = [_line(row) for row in page]
        return SearchPage(entries=lines, next=page[-1].serial if more else None, settled=settled, read=read)

    async def open_entry(self, look: Look, serial: int) -> OpenedEntry:
        """One entry with its body. Raises Problem `not-found` (recorded too) or `audit-unavailable`."""
        async with self._pool.connection() as connection:
            opened = await search_store.load_entry(connection, serial, look.reach.within)
        body = None if opened is None else self.bodies.open(opened.body, opened.blind)
        tokens = self._tokens(officer=look.reader.account)
        if opened is not None and opened.token_epoch == tokens.epoch:
            tokens = SearchTokens(tokens.epoch, opened.subject_token, tokens.officer)
        elif body is not None and isinstance(subject := body.members.get("subject"), str):
            # The entry is of an earlier epoch: the look belongs to the subject under the key of today.
            tokens = self._tokens(subject=subject, officer=look.reader.account)
        read = await self._record(look, "entry", int(opened is not None), {"serial": serial}, tokens)
        if opened is None:
            raise Problem("not-found", "no entry has that serial")
        return _opened(opened, body, read)

    async def sit_down(
        self, look: Look, what: str, scope: str = "bundles", criteria: dict[str, Any] | None = None, subject: str | None = None
    ) -> None:
        """Record that a reader takes entry bundles or pages of an export: one entry a sitting, and one for other criteria.

        A monitor would otherwise write one for each bundle that it reads. Raises Problem `audit-unavailable`.
        """
        now, asked = datetime.fromtimestamp(self._clock.now(), UTC), criteria or {}
        key = (look.reader.account, look.reason, scope, canonical(asked))
        self._sittings = {held: until for held, until in self._sittings.items() if until > now}
        if key not in self._sittings:
            tokens = self._tokens(subject=_subject(subject), officer=look.reader.account)
            named = {"criteria": asked} if criteria is not None else {}
            await self._record(look, scope, 0, {"from": what, **named}, tokens)
            self._sittings[key] = now + SITTING

    def search_for(self, subject: str) -> list[SearchTokens]:
        """What stands for a person or an enterprise in each epoch that has begun and is kept, newest first."""
        return self._keys.search_for(self._clock.now_ms(), subject=_subject(subject))

    def _tokens(self, *, subject: str | None = None, officer: str | None = None) -> SearchTokens:
        return self._keys.tokens(self._clock.now_ms(), subject=subject, officer=officer)

    def rid(self, consumer: str, request_id: str) -> bytes:
        """The digest under which the log knows a request id of a consumer (its subsystem)."""
        return self._keys.rid(consumer, request_id)

    def connection(self) -> AbstractAsyncContextManager[asyncpg.Connection]:
        """A connection for reading, as `ReadingPool.connection` gives it."""
        return self._pool.connection()

    async def record_look(
        self, look: Look, scope: str, results: int, question: dict[str, Any], *, subject: str | None = None
    ) -> int:
        """Record a look, at one person perhaps; the entry's serial, once it is durable. Raises `audit-unavailable`."""
        tokens = self._tokens(subject=_subject(subject), officer=look.reader.account)
        return await self._record(look, scope, results, question, tokens)

    def sought(self, look: Look, request: Criteria, *, before: int | None = None, limit: int = MAX_ROWS) -> Sought:
        """Criteria as the tables know them, within the looker's reach. Raises Problem `malformed-request` or `forbidden`."""
        for name, parse in (("consumer", parse_subsystem_id), ("provider", parse_subsystem_id), ("service", parse_service_id)):
            value = getattr(request, name)
            if value is not None:
                parse(value)
        tokens = self._keys.search_for(
            self._clock.now_ms(), subject=_subject(request.subject), officer=request.officer, case=request.case
        )
        return Sought(
            since=request.since,
            until=request.until,
            consumer=request.consumer,
            provider=request.provider,
            service=request.service,
            purpose=request.purpose,
            kind=request.kind.value if request.kind else None,
            code=request.code,
            subjects=_given([each.subject for each in tokens]),
            officers=_given([each.officer for each in tokens]),
            cases=_given([each.case for each in tokens]),
            before=before,
            limit=limit,
            within=look.reach.within,
        )

    async def _record(self, look: Look, scope: str, results: int, question: dict[str, Any], tokens: SearchTokens) -> int:
        """Append the entry of a look and return its serial once it is durable."""
        at_ms, blind = self._clock.now_ms(), new_blind()
        body = plain_body({"by": look.reader.account, "question": {"reason": look.reason, **question}})
        leaf = make_read_leaf(
            at_ms=at_ms,
            reader_role=look.role,
            purpose=str(look.purpose),
            scope=scope,
            results=results,
            body_commit=commit_body(body, blind),
        )
        heading = Heading(EntryKind.READ, at_ms, purpose=str(look.purpose))
        return await self._desk.append(EntryRow(heading, Content(leaf, body, blind, tokens)))


def _subject(text: str | None) -> str | None:
    """The subject as gateways write it: normalised if it is one, else as it stands, as in a refusal of a malformed one."""
    if text is None:
        return None
    for parse in (parse_person_id, parse_enterprise_id):
        with contextlib.suppress(Problem):
            return str(parse(text))
    return text


def _given(tokens: list[bytes | None]) -> list[bytes] | None:
    given = [token for token in tokens if token is not None]
    return given or None


def _line(row: Found) -> EntryLine:
    leaf = parse_json(row.leaf)
    return EntryLine(serial=row.serial, tree_index=row.tree_index, at=rfc3339(row.at.timestamp()), kind=row.kind, leaf=leaf)


def _opened(opened: Opened, body: OpenedBody | None, read: int) -> OpenedEntry:
    line = _line(opened.found)
    state = BodyState.ERASED if opened.body is None else BodyState.SEALED if body is None else BodyState.OPEN
    return OpenedEntry(
        **line.model_dump(),
        entry=b64url(opened.found.leaf),
        body_state=state,
        body=None if body is None else dict(body.members),
        commitment_holds=None if body is None else body.is_committed_to(line.leaf),
        read=read,
    )
