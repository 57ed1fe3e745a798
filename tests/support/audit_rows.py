"""Rows for the log, and a look at what it holds, for tests of everything that writes there."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg

from audit.client import (
    Content,
    DailyQuota,
    EntryDesk,
    EntryKind,
    EntryRow,
    FenceDesk,
    FenceRow,
    GroundKind,
    Grounds,
    Heading,
    OutcomeRow,
    ReleaseDesk,
    ReleaseRow,
    SearchTokens,
    plain_body,
)
from deploy.postgres.roles import Database
from exchange.canonical import canonical, sha256
from exchange.clock import SystemClock

SERVICE = "CN-YA/GOV/public-security/population/resident-identity"
FAR_MS = 3_600_000


def now_ms() -> int:
    """The time by the machine's clock, which is the database's too."""
    return SystemClock().now_ms()


GROUNDS = Grounds(
    consumer_member="CN-YA/GOV/real-estate",
    consumer_subsystem="CN-YA/GOV/real-estate/transfer",
    consumer_key="consumer-kid",
    provider_member="CN-YA/GOV/public-security",
    provider_subsystem="CN-YA/GOV/public-security/population",
    provider_key="provider-kid",
    service_version=f"{SERVICE}@1",
    right_id="sha256:right",
    purpose="real-estate-transfer",
    gateway="gateway-1",
    consent="consent-1",
    basis_is_consent=True,
    consent_max_uses=None,
    snapshot_version=1000,
    not_after_ms=0,
)


def unique(word: str) -> str:
    """A name that no other test uses, so that tests can share a database."""
    return f"{word}-{secrets.token_hex(6)}"


def counted(uses: int) -> dict[str, Any]:
    """Grounds with a consent of its own that serves so many releases."""
    return {"consent": unique("counted"), "consent_max_uses": uses}


def content(**leaf: object) -> Content:
    """Content with a leaf that says what the test wants to read in the log later."""
    return Content(
        canonical({"salt": secrets.token_hex(8), **leaf}), plain_body({"secret": secrets.token_hex(4)}), secrets.token_bytes(32)
    )


def quota(requests: int = 1_000_000, subjects: int = 1_000_000, subject: str | None = None) -> DailyQuota:
    """What a right allows a day; without `subject` the release is about somebody who was never asked about."""
    token = secrets.token_bytes(16) if subject is None else sha256(subject.encode())[:16]
    return DailyQuota(requests, subjects, token)


def release_row(
    *,
    rid: bytes | None = None,
    req: bytes | None = None,
    position: int = 0,
    lasts_ms: int = FAR_MS,
    allowed: DailyQuota | None = None,
    **grounds: Any,
) -> ReleaseRow:
    """A release that nothing speaks against; `grounds` replaces some of them, `allowed` is what its right allows a day."""
    at_ms = now_ms()
    stands_on = replace(GROUNDS, not_after_ms=at_ms + lasts_ms, **grounds)
    leaf = {name: getattr(stands_on, name) for name in ("consent", "gateway")}
    row_content = replace(content(**leaf), tokens=SearchTokens(1, secrets.token_bytes(32), secrets.token_bytes(32), None))
    return ReleaseRow(
        stands_on,
        SERVICE,
        rid or secrets.token_bytes(32),
        req or secrets.token_bytes(32),
        at_ms,
        row_content,
        allowed or quota(),
        position=position,
    )


def entry_row(kind: EntryKind, *, rid: bytes | None = None, code: str | None = None, at_ms: int | None = None) -> EntryRow:
    """An entry that stands on no ground."""
    heading = Heading(
        kind, now_ms() if at_ms is None else at_ms, gateway="gateway-1", consumer=GROUNDS.consumer_subsystem, code=code
    )
    return EntryRow(heading, content(kind=kind.value), rid)


def fence_row(kind: GroundKind, ground: str, cause: str = "test") -> FenceRow:
    """A withdrawal."""
    return FenceRow(kind, ground, cause, now_ms(), content(ground=ground))


def outcome_row(
    *, sent: tuple[tuple[int, int], ...] = (), aborted: tuple[int, ...] = (), gateway: str = "gateway-1"
) -> OutcomeRow:
    """What became of releases."""
    return OutcomeRow(gateway, now_ms(), sent, aborted, content())


@asynccontextmanager
async def connected(database: Database, role: str = "") -> AsyncIterator[asyncpg.Connection]:
    """A plain connection: as a role, or as the server's owner."""
    connection = await asyncpg.connect(database.url(role) if role else database.owner_url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def opened(*desks: ReleaseDesk | FenceDesk | EntryDesk) -> AsyncIterator[None]:
    """Desks, open within the block."""
    async with AsyncExitStack() as stack:
        for desk in desks:
            await desk.open()
            stack.push_async_callback(desk.close)
        yield
