"""The citizen's list: every entry about oneself, numbered 1…n without a gap, each with its place in the log and the proof.

Who reads their own list is recorded, but not in the list: it would grow by being read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
from pydantic import BaseModel, ConfigDict, Field

from audit import integration, subject_store
from audit.bodies import OpenedBody
from audit.heads import HeadStatement
from audit.model import EntryKind
from audit.recount import Recounter
from audit.search import Look, ReadingRoom
from audit.subject_store import ListedEntry
from audit.subjects import ChainHead
from audit.titles import Titles
from audit.tree import inclusion_proofs, inclusion_tiles
from exchange.canonical import b64url, parse_json
from exchange.clock import rfc3339
from exchange.keys import SigningKey
from exchange.problem import Problem

MAX_LISTED: Final = 1000


class AccessesRequest(BaseModel):
    """查阅记录请求. Rows behind number `after` of the chain of an epoch; without `epoch` that of the newest."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    epoch: int | None = Field(default=None, ge=1, le=32_767)
    after: int = Field(default=0, ge=0, le=2**53 - 1)
    limit: int = Field(default=200, ge=1, le=MAX_LISTED)


class Access(BaseModel):
    """一次查阅. What one entry says, in the form in which the person it is about may see it. Times are RFC 3339."""

    model_config = ConfigDict(frozen=True)

    tree_index: int
    at: str
    kind: str
    consumer: str | None
    consumer_title: dict[str, str] | None
    provider: str | None
    service: str | None
    service_title: dict[str, str] | None
    purpose: str | None
    purpose_title: dict[str, str] | None
    legal_basis: str | None
    case: str | None
    """Null where the body with it is erased, or where there is none."""
    code: str | None
    full: list[str]
    masked: list[str]
    facts: list[str]
    withheld: dict[str, str]
    hidden_until: str | None
    """Until when a right hid it, for an entry that is revealed."""
    entry: str
    """The leaf, base64url: what is at that place of the log."""
    path: list[str]
    """RFC 6962 inclusion path in the tree of the checkpoint, base64url, from the leaf up."""


class ListedAccess(Access):
    """列出的查阅. Row n of the chain with its link; `revealed` is the entry that a `reveal` brings to light."""

    n: int
    link: str
    revealed: Access | None


class Chain(BaseModel):
    """查阅链. One of the person's chains: an epoch (a year) and how many rows it has."""

    epoch: int
    count: int


class PostponedCount(BaseModel):
    """暂缓公开数. How many entries, whoever they are about, an authority has hidden now."""

    consumer: str
    count: int


class AccessesPage(BaseModel):
    """查阅记录页. In the order of the chain; `next` is the number to go on behind, null on the last page.

    `statement` is the head statement (see `heads`), countersigned if `countersigned`; `checkpoint` the signed note that the
    paths lead to. `postponed` says how many entries are hidden by whom, over all persons.
    """

    model_config = ConfigDict(frozen=True)

    chains: list[Chain]
    epoch: int
    count: int
    entries: list[ListedAccess]
    next: int | None
    statement: str
    countersigned: bool
    checkpoint: str
    postponed: list[PostponedCount]


@dataclass(frozen=True, slots=True)
class Speaking:
    """声明签署. As whom the audit signs head statements: the log's origin, the name of its key, the key."""

    origin: str
    name: str
    key: SigningKey


@dataclass(frozen=True, slots=True)
class AccessList:
    """查阅记录. What the audit tells a person about themselves."""

    room: ReadingRoom
    speaking: Speaking
    recounter: Recounter
    titles: Titles

    async def page(self, look: Look, subject: str, request: AccessesRequest) -> AccessesPage:
        """One page of what is recorded about `subject`.

        Raises Problem `not-found` for an epoch that is not kept or while there is no checkpoint, `audit-unavailable`.
        """
        tokens = {each.epoch: each.subject for each in self.room.search_for(subject)}
        epoch = max(tokens) if request.epoch is None else request.epoch
        token = tokens.get(epoch)
        if token is None:
            raise Problem("not-found", "no entries of that epoch are kept")
        async with self.room.connection() as connection:
            view = await _View.load(connection, token, [each for each in tokens.values() if each], request)
        head = view.heads.get(token, ChainHead())
        statement = HeadStatement(self.speaking.origin, token, head, view.reach)
        note = statement.sign(self.speaking.name, self.speaking.key)
        countersigned = await self.recounter.countersign(note)
        page, more = view.rows[: request.limit], len(view.rows) > request.limit
        entries = [await self._listed(row, view) for row in page]
        question = request.model_dump(mode="json", exclude_none=True)
        await self.room.record_look(look, "own-list", len(entries), {"criteria": question})
        return AccessesPage(
            chains=[Chain(epoch=number, count=_count(view.heads, each)) for number, each in sorted(tokens.items())],
            epoch=epoch,
            count=head.n,
            entries=entries,
            next=page[-1].n if more else None,
            statement=(countersigned or note).decode(),
            countersigned=countersigned is not None,
            checkpoint=view.checkpoint.note.decode(),
            postponed=[PostponedCount(consumer=consumer, count=count) for consumer, count in view.postponed],
        )

    async def span(self, look: Look, subject: str) -> tuple[str, str] | None:
        """When the first and the last entry about `subject` were written (RFC 3339). Raises Problem `audit-unavailable`."""
        async with self.room.connection() as connection:
            span = await subject_store.load_span(connection, self._tokens(subject))
        await self.room.record_look(look, "own-span", int(span is not None), {})
        return None if span is None else (rfc3339(span[0].timestamp()), rfc3339(span[1].timestamp()))

    async def usages(
        self, look: Look, subject: str, *, since: datetime | None, until: datetime | None, offset: int, limit: int
    ) -> list[Access]:
        """Releases about `subject` over all epochs, newest first, without proofs. Raises Problem `audit-unavailable`."""
        async with self.room.connection() as connection:
            rows = await subject_store.load_releases(connection, self._tokens(subject), since, until, offset, limit)
        question = {"offset": offset, "limit": limit}
        await self.room.record_look(look, "own-list", len(rows), {"criteria": question})
        return [await self._access(index, at, leaf, self.room.bodies.open(body, blind)) for index, at, leaf, body, blind in rows]

    def _tokens(self, subject: str) -> list[bytes]:
        return [each.subject for each in self.room.search_for(subject) if each.subject is not None]

    async def _listed(self, row: ListedEntry, view: _View) -> ListedAccess:
        shown = await self._access(row.tree_index, row.at, row.leaf, self.room.bodies.open(row.body, row.blind), view)
        of = view.revealed.get(row.tree_index)
        revealed = None
        if of is not None:
            leaf, body, blind = view.behind[of]
            revealed = await self._access(of, None, leaf, self.room.bodies.open(body, blind), view)
        return ListedAccess(**shown.model_dump(), n=row.n, link=b64url(row.link), revealed=revealed)

    async def _access(
        self, index: int, at: datetime | None, raw: bytes, body: OpenedBody | None, view: _View | None = None
    ) -> Access:
        return await describe_access(self.titles, index, at, raw, body, [] if view is None else view.paths[index])


async def describe_access(
    titles: Titles, index: int, at: datetime | None, raw: bytes, body: OpenedBody | None, path: Sequence[str] = ()
) -> Access:
    """What an entry says to the person it is about; `at` None: as the leaf says."""
    leaf = parse_json(raw)
    seconds = leaf["at"] / 1000 if at is None else at.timestamp()
    case = None if body is None else body.members.get("case")
    until = leaf.get("hidden_until")
    return Access(
        tree_index=index,
        at=rfc3339(seconds),
        kind=leaf["kind"],
        consumer=leaf.get("consumer"),
        consumer_title=await titles.of("consumers", leaf.get("consumer")),
        provider=leaf.get("provider"),
        service=leaf.get("service"),
        service_title=await titles.of("services", leaf.get("service")),
        purpose=leaf.get("purpose"),
        purpose_title=await titles.of("purposes", leaf.get("purpose") if leaf["kind"] != EntryKind.READ else None),
        legal_basis=leaf.get("legal_basis"),
        case=case if isinstance(case, str) else None,
        code=leaf.get("code"),
        full=leaf.get("full") or [],
        masked=leaf.get("masked") or [],
        facts=leaf.get("facts") or [],
        withheld=leaf.get("withheld") or {},
        hidden_until=None if until is None else rfc3339(until / 1000),
        entry=b64url(raw),
        path=list(path),
    )


@dataclass(frozen=True, slots=True)
class _View:
    """What was read for one page, with the path of every entry on it."""

    checkpoint: integration.StoredCheckpoint
    reach: int
    heads: Mapping[bytes, ChainHead]
    rows: Sequence[ListedEntry]
    revealed: Mapping[int, int]
    behind: Mapping[int, tuple[bytes, bytes | None, bytes | None]]
    paths: Mapping[int, list[str]]
    """The inclusion path of each place, base64url."""
    postponed: Sequence[tuple[str, int]]

    @classmethod
    async def load(cls, connection: asyncpg.Connection, token: bytes, tokens: Sequence[bytes], request: AccessesRequest) -> _View:
        # One snapshot of everything, or a row could come between its head and the page.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            reach = await subject_store.load_reach(connection)
            heads = await subject_store.load_heads(connection, tokens)
            rows = await subject_store.load_chain(connection, token, request.after, request.limit + 1)
            revealed = {
                row.tree_index: of for row in rows if row.kind == EntryKind.REVEAL and (of := _revealed(row.leaf)) is not None
            }
            behind = await subject_store.load_places(connection, list(revealed.values()))
            checkpoint = await integration.load_last_checkpoint(connection)
            if checkpoint is None:
                raise Problem("not-found", "the log has no checkpoint yet", pending=True)
            places = sorted({*(row.tree_index for row in rows), *behind})
            held = await integration.load_tiles(connection, inclusion_tiles(places, checkpoint.size))
            postponed = await subject_store.count_hidden(connection)
        proofs = inclusion_proofs(places, checkpoint.size, held)
        paths = {index: [b64url(each) for each in proof] for index, proof in zip(places, proofs, strict=True)}
        return cls(checkpoint, reach, heads, rows, revealed, behind, paths, postponed)


def _revealed(leaf: bytes) -> int | None:
    of: Any = parse_json(leaf).get("of")
    return of if type(of) is int else None


def _count(heads: Mapping[bytes, ChainHead], token: bytes | None) -> int:
    return 0 if token is None else heads.get(token, ChainHead()).n
