"""Writes that may be repeated: under one `Idempotency-Key` a caller's change happens once, and is answered alike.

After draft-ietf-httpapi-idempotency-key-header: the key is the caller's, lasts a day, and belongs to one method, path and body.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from fastapi import Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, insert
from sqlalchemy.ext.asyncio import AsyncEngine

from exchange.canonical import parse_json, sha256
from exchange.problem import Problem
from registry.callers import acting
from registry.desk import desk_of

KEPT_SECONDS = 86_400
# Longer than a request may take: what is still open then was broken off, and its key may be used again.
OPEN_SECONDS = 60
MAX_KEPT_BYTES = 1_048_576
_HEADER = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]{8,128}")
_KEPT_HEADERS = ("content-type", "etag", "location")

_call = sa.Table(
    "repeatable_call",
    sa.MetaData(schema="registry"),
    sa.Column("actor", sa.Text),
    sa.Column("key", sa.Text),
    sa.Column("digest", BYTEA),
    sa.Column("at", sa.BigInteger),
    sa.Column("status", sa.Integer),
    sa.Column("headers", JSONB),
    sa.Column("body", BYTEA),
)


class RepeatableRoute(APIRoute):
    """可重复调用路由. A strict JSON body, and with an Idempotency-Key at most one change."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def once(request: Request) -> Response:
            if body := await request.body():
                parse_json(body)
            key = request.headers.get(_HEADER)
            if key is None or request.method in ("GET", "HEAD"):
                return await handle(request)
            if not _KEY.fullmatch(key):
                raise Problem("malformed-request", "Idempotency-Key has 8 to 128 printable ASCII characters without spaces")
            actor = await acting(request)
            held = desk_of(request)
            call = _Call(held.engine, actor.name, key, _digest(request, body), int(held.clock.now()))
            return await call.answer(lambda: handle(request))

        return once


def _digest(request: Request, body: bytes) -> bytes:
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return sha256(b"\n".join((request.method.encode(), raw, request.headers.get("if-match", "").encode(), body)))


@dataclass(frozen=True, slots=True)
class _Call:
    """One call under a key."""

    engine: AsyncEngine
    actor: str
    key: str
    digest: bytes
    now: int

    async def answer(self, handle: Callable[[], Coroutine[Any, Any, Response]]) -> Response:
        """What was answered before, or the answer of `handle`. Only what succeeded is kept: what failed may be tried again."""
        if (known := await self._begin()) is not None:
            return known
        try:
            response = await handle()
        except BaseException:
            await self._forget()
            raise
        body = bytes(response.body)
        if 200 <= response.status_code < 300 and len(body) <= MAX_KEPT_BYTES:
            await self._keep(response, body)
        else:
            await self._forget()
        return response

    async def _begin(self) -> Response | None:
        """Take the key. Raises `conflict` for another request under it, or the same that is still under way."""
        mine = {"actor": self.actor, "key": self.key, "digest": self.digest, "at": self.now}
        async with self.engine.begin() as connection:
            if (await connection.execute(insert(_call).values(**mine).on_conflict_do_nothing())).rowcount:
                return None
            row = (await connection.execute(sa.select(_call).where(self._place()).with_for_update())).one_or_none()
            if row is None:
                raise Problem("conflict", "a request under this Idempotency-Key has just ended: try again")
            if bytes(row.digest) != self.digest:
                raise Problem("conflict", "this Idempotency-Key was used for another request")
            if row.status is not None:
                headers = {**row.headers, "idempotency-replayed": "true"}
                return Response(bytes(row.body), row.status, headers=headers)
            if row.at > self.now - OPEN_SECONDS:
                raise Problem("conflict", "the request under this Idempotency-Key is still under way")
            await connection.execute(sa.update(_call).where(self._place()).values(at=self.now))
            return None

    async def _keep(self, response: Response, body: bytes) -> None:
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        async with self.engine.begin() as connection:
            values = {"status": response.status_code, "headers": headers, "body": body}
            await connection.execute(sa.update(_call).where(self._place()).values(**values))

    async def _forget(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(sa.delete(_call).where(self._place(), _call.c.status.is_(None)))

    def _place(self) -> sa.ColumnElement[bool]:
        return sa.and_(_call.c.actor == self.actor, _call.c.key == self.key)


async def remove_old_calls(engine: AsyncEngine, now: float) -> None:
    """Forget the keys of yesterday."""
    async with engine.begin() as connection:
        await connection.execute(sa.delete(_call).where(_call.c.at < int(now) - KEPT_SECONDS))
