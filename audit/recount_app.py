"""The process that counts again how long somebody's list is, and countersigns. Whoever runs the audit does not run this one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response

from audit.heads import MAX_STATEMENT_BYTES, teller_name
from audit.note import parse_vkey
from audit.recount import Teller
from audit.recount_config import RecountSettings
from audit.search_store import ReadingPool
from exchange.clock import Clock, SystemClock
from exchange.database import with_password
from exchange.keys import SigningKey
from exchange.log import configure_logging
from exchange.problem import Problem
from exchange.web import create_app, problem_responses, serve

TITLE = "Yitong recounter"


def build(settings: RecountSettings, clock: Clock) -> FastAPI:
    """Compose the process."""
    url = with_password(settings.database_url, settings.database_password_file)
    pool = ReadingPool(url, size=settings.database_connections)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await pool.open()
        yield
        await pool.close()

    app = create_app(TITLE, lifespan=lifespan, ready=pool.is_answering)
    vkey = parse_vkey(settings.heads_vkey_file.read_text(encoding="utf-8").strip())
    key = SigningKey.load(settings.recount_key_file)
    teller = Teller(pool, vkey, teller_name(settings.log_origin), key, clock)

    @app.post(
        "/countersignatures",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {}}},
            **problem_responses("malformed-request", "too-large", "conflict", "overloaded", "audit-unavailable"),
        },
    )
    async def countersign(request: Request) -> Response:
        """Takes a head statement, a signed note; gives it back with one signature more."""
        raw = await request.body()
        if len(raw) > MAX_STATEMENT_BYTES:
            raise Problem("too-large", "a head statement is small")
        return Response(await teller.countersign(raw), media_type="text/plain; charset=utf-8")

    return app


def main() -> None:
    """`python -m audit.recount_app`, configured by YITONG_… variables."""
    settings = RecountSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("recounter", settings.log_level)
    serve(build(settings, SystemClock()), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
