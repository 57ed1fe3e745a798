"""The audit over HTTP: the published log for everybody, searching and entries for auditors.

The log follows C2SP tlog-tiles under the prefix `/log`. Checkpoints and hash tiles are open; they say how much happens, and
nothing of what. Entry bundles say who asks whom and when, so they are for auditors.

A proof is had by showing the entry: whoever holds an entry's bytes, which are in the receipt of the release, may know that
they are in the log. So nobody has to log in for it, and the audit needs no keys of consumers, which live in a layer above.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from audit.affected import AffectedPage, AffectedRequest, find_affected
from audit.model import MAX_LEAF_BYTES
from audit.published_log import PublishedLog
from audit.reach import Reach
from audit.search import Look, OpenedEntry, ReadingRoom, ReadPurpose, SearchPage, SearchRequest
from audit.tiles import ENTRIES, TileError, TileName, parse_tile_path
from exchange.canonical import b64url_decode
from exchange.clock import rfc3339
from exchange.problem import Problem
from exchange.tokens import Person, Role, require_role
from exchange.web import problem_responses, require_strict_json

REASON_HEADER: Final = "Exchange-Reason"
SIZE_HEADER: Final = "Exchange-Log-Size"
MIN_REASON, MAX_REASON = 4, 500

_CHECKPOINT_CACHE: Final = "public, max-age=1"
_TILE_CACHE: Final = "public, max-age=31536000, immutable"
_BUNDLE_CACHE: Final = "private, max-age=31536000, immutable"
_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_TIMESTAMP: Final = "application/timestamp-reply"

router = APIRouter(dependencies=[Depends(require_strict_json)])

require_auditor = require_role(Role.AUDITOR)
AnyAuditor = Annotated[Person, Depends(require_auditor)]
"""An auditor, of one member perhaps: only for what keeps to the auditor's reach (`search_store.within_reach`)."""


async def require_whole_reach(person: AnyAuditor) -> Person:
    """FastAPI dependency: an auditor of the whole log. Raises `forbidden` for one of a member or an instance."""
    if Reach.of(person).within is not None:
        raise Problem("forbidden", "this is for auditors of the whole log")
    return person


Auditor = Annotated[Person, Depends(require_whole_reach)]


class ProofRequest(BaseModel):
    """存证证明请求. The bytes of the entry to be proven, base64url without padding: the receipt's `entry`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    entry: str = Field(min_length=2, max_length=4 * MAX_LEAF_BYTES // 3 + 4)
    witnessed: bool = False
    """Against the newest checkpoint that a quorum of witnesses has cosigned."""
    size: int | None = Field(default=None, ge=1, le=2**53 - 1)
    """Against the checkpoint of exactly this size; not together with `witnessed`."""

    @model_validator(mode="after")
    def _one_checkpoint(self) -> ProofRequest:
        if self.witnessed and self.size is not None:
            raise ValueError("either witnessed or a size")
        return self


class WitnessSays(BaseModel):
    """见证方表态. What a witness said last (cosigned | away | refused) of a tree of `size`, when, and what it cosigned last."""

    model_config = ConfigDict(frozen=True)

    witness: str
    word: str
    size: int
    at: str
    cosigned_size: int | None


class Witnesses(BaseModel):
    """见证方名单. What each witness said last."""

    model_config = ConfigDict(frozen=True)

    witnesses: list[WitnessSays]


def published_log(request: Request) -> PublishedLog:
    """The log that this process serves."""
    log: PublishedLog = request.app.state.log
    return log


def reading_room(request: Request) -> ReadingRoom:
    """Where this process lets auditors read."""
    room: ReadingRoom = request.app.state.room
    return room


def stated_reason(
    exchange_reason: Annotated[str | None, Header(description="Why the reader looks: percent-encoded UTF-8")] = None,
) -> str:
    """The reason in `Exchange-Reason`; a header, since words about a case must not stand in a URL. Raises `malformed-request`."""
    try:
        reason = unquote(exchange_reason or "", errors="strict").strip()
    except UnicodeDecodeError:
        raise Problem("malformed-request", f"the header {REASON_HEADER} has broken percent-encoding") from None
    if not MIN_REASON <= len(reason) <= MAX_REASON or not reason.isprintable():
        raise Problem("malformed-request", f"say in {REASON_HEADER} why you look, in {MIN_REASON} to {MAX_REASON} characters")
    return reason


Log = Annotated[PublishedLog, Depends(published_log)]
Room = Annotated[ReadingRoom, Depends(reading_room)]
StatedReason = Annotated[str, Depends(stated_reason)]


@router.get(
    "/log/checkpoint",
    summary="The newest checkpoint: a signed note (C2SP tlog-checkpoint)",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problem_responses("not-found", "overloaded", "audit-unavailable")},
)
async def get_checkpoint(log: Log) -> Response:
    """Signed by the log, with the cosignatures that have been gathered by now."""
    return Response(await log.checkpoint(), media_type=_TEXT, headers={"cache-control": _CHECKPOINT_CACHE})


@router.get(
    "/log/witnessed-checkpoint",
    summary="The newest checkpoint that a quorum of witnesses has cosigned",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problem_responses("not-found", "overloaded", "audit-unavailable")},
)
async def get_witnessed_checkpoint(log: Log) -> Response:
    """Behind the newest one by as long as the witnesses take."""
    return Response(await log.checkpoint(witnessed=True), media_type=_TEXT, headers={"cache-control": _CHECKPOINT_CACHE})


@router.get(
    "/log/witnesses",
    summary="What each witness said last",
    responses=problem_responses("overloaded", "audit-unavailable"),
)
async def get_witnesses(log: Log, response: Response) -> Witnesses:
    """For everybody: who cosigns, who is away, and who has refused, which means that it has seen another history."""
    response.headers["cache-control"] = _CHECKPOINT_CACHE
    words = await log.witnesses()
    return Witnesses(
        witnesses=[
            WitnessSays(
                witness=each.witness,
                word=each.word,
                size=each.size,
                at=rfc3339(each.at.timestamp()),
                cosigned_size=each.cosigned_size,
            )
            for each in words
        ]
    )


@router.get(
    "/log/timestamp/{size}",
    summary="The time-stamp (RFC 3161) over the smallest stamped checkpoint of at least this size",
    response_class=Response,
    responses={200: {"content": {_TIMESTAMP: {}}}, **problem_responses("not-found", "overloaded", "audit-unavailable")},
)
async def get_timestamp(size: Annotated[int, Path(ge=1, le=2**53 - 1)], log: Log) -> Response:
    """The header `Exchange-Log-Size` says whose text is stamped: ask `/log/proof` for a proof against that size."""
    found = await log.timestamp(size)
    headers = {"cache-control": _CHECKPOINT_CACHE, SIZE_HEADER: str(found.size)}
    return Response(found.response, media_type=_TIMESTAMP, headers=headers)


# Before the hash tiles: the first route that fits is taken.
@router.get(
    "/log/tile/entries/{path:path}",
    summary="A bundle of entries (C2SP tlog-tiles), for auditors",
    response_class=Response,
    responses={
        200: {"content": {_BYTES: {}}},
        **problem_responses("malformed-request", "unauthenticated", "forbidden", "not-found", "overloaded", "audit-unavailable"),
    },
)
async def get_bundle(
    path: Annotated[str, Path(max_length=64)], person: Auditor, reason: StatedReason, log: Log, room: Room
) -> Response:
    """The look is recorded, once for all the bundles that a reader takes within a quarter of an hour."""
    name = _named(f"tile/entries/{path}")
    content = await log.bundle(name)
    await room.sit_down(Look(person, reason, ReadPurpose.VERIFICATION), name.path)
    return Response(content, media_type=_BYTES, headers={"cache-control": _BUNDLE_CACHE})


@router.get(
    "/log/tile/{path:path}",
    summary="A tile of hashes (C2SP tlog-tiles)",
    response_class=Response,
    responses={200: {"content": {_BYTES: {}}}, **problem_responses("not-found", "overloaded", "audit-unavailable")},
)
async def get_tile(path: Annotated[str, Path(max_length=64)], log: Log) -> Response:
    """Its bytes never change."""
    name = _named(f"tile/{path}")
    if name.level == ENTRIES:
        raise Problem("not-found")
    return Response(await log.tile(name), media_type=_BYTES, headers={"cache-control": _TILE_CACHE})


@router.post(
    "/log/proof",
    summary="The .tlog-proof of an entry, for whoever holds its bytes (C2SP tlog-proof)",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}}},
        **problem_responses("malformed-request", "not-found", "overloaded", "audit-unavailable"),
    },
)
async def post_proof(body: ProofRequest, log: Log) -> Response:
    """Against the newest checkpoint unless the request says another. `not-found` with `pending`: the entry waits for the next."""
    try:
        leaf = b64url_decode(body.entry)
    except ValueError:
        raise Problem("malformed-request", "entry is not unpadded base64url") from None
    proof = await log.prove(leaf, witnessed=body.witnessed, size=body.size)
    return Response(proof, media_type=_TEXT, headers={"cache-control": "no-store"})


@router.post(
    "/search",
    summary="Search the log; every look is recorded before its answer leaves",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "too-large", "overloaded", "audit-unavailable"
    ),
)
async def post_search(body: SearchRequest, person: AnyAuditor, room: Room, response: Response) -> SearchPage:
    """The criteria stand in the body, because a subject never stands in a URL. Newest first; `before` is the `next` of a page."""
    response.headers["cache-control"] = "no-store"
    return await room.search(Look(person, body.reason, body.read_purpose), body)


@router.post(
    "/affected",
    summary="Whom something was released about on a ground within a window; the look is recorded before it leaves",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "too-large", "overloaded", "audit-unavailable"
    ),
)
async def post_affected(body: AffectedRequest, person: AnyAuditor, room: Room, response: Response) -> AffectedPage:
    """For whoever follows an incident: by subject, how often and what. Newest first; `before` is the `next` of a page."""
    response.headers["cache-control"] = "no-store"
    return await find_affected(room, Look(person, body.reason, body.read_purpose), body)


@router.get(
    "/entries/{serial}",
    summary="One entry with its body; the look is recorded before it leaves",
    responses=problem_responses(
        "malformed-request", "unauthenticated", "forbidden", "not-found", "overloaded", "audit-unavailable"
    ),
)
async def get_entry(
    serial: Annotated[int, Path(ge=1, le=2**53 - 1)], person: AnyAuditor, reason: StatedReason, room: Room, response: Response
) -> OpenedEntry:
    """`Exchange-Reason` says why; a look at an entry that does not exist is recorded too."""
    response.headers["cache-control"] = "no-store"
    return await room.open_entry(Look(person, reason), serial)


def _named(path: str) -> TileName:
    try:
        return parse_tile_path(path)
    except TileError:
        raise Problem("not-found", "not the path of a tile") from None
