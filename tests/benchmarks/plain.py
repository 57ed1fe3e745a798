"""What the exchange is measured against: plain servers, as somebody competent writes them who promises nothing.

    python -m tests.benchmarks.plain provider --port P --database-url U --password-file F
    python -m tests.benchmarks.plain proxy --port P --upstream URL

The provider reads the same row of the same table with the same role as the real one; its second path writes an access
record as well, committed before it answers. The proxy hands requests on with one shared HTTP client.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Annotated

import asyncpg
import httpx2
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel, Field

from exchange.database import with_password

HOST = "127.0.0.1"
READ_PATH, RECORDED_PATH = "/resident-identity", "/resident-identity/recorded"
CONNECTIONS = 16
PROXY_CONNECTIONS = 256

_READ = "SELECT name, id_number, birth_date, address, ethnicity FROM resident_identity WHERE subject = $1"
_RECORD = (
    "INSERT INTO access_record (req, consumer, service, right_id, subject_token, names, outcome, record_id)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)

provider_routes = APIRouter()
proxy_routes = APIRouter()


class Question(BaseModel):
    """Whose identity is asked for."""

    subject: str = Field(pattern=r"^[0-9]{17}[0-9X]$")


class Resident(BaseModel):
    """The five items that the exchange's consumer asks for."""

    name: str
    id_number: str
    birth_date: date
    address: str
    ethnicity: str


def _pool(request: Request) -> asyncpg.Pool:
    pool: asyncpg.Pool = request.app.state.pool
    return pool


Pool = Annotated[asyncpg.Pool, Depends(_pool)]


@provider_routes.post(READ_PATH)
async def read_resident(question: Question, pool: Pool) -> Resident:
    """One row by its key."""
    row = await pool.fetchrow(_READ, question.subject)
    if row is None:
        raise HTTPException(404)
    return Resident(**row)


@provider_routes.post(RECORDED_PATH)
async def read_resident_recorded(question: Question, pool: Pool) -> Resident:
    """The same, and a record of it that is committed before the answer leaves."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(_READ, question.subject)
        if row is None:
            raise HTTPException(404)
        request = uuid.uuid4()
        await connection.execute(
            _RECORD,
            hashlib.sha256(request.bytes).digest(),
            "CN-YA/GOV/real-estate/transfer",
            "CN-YA/GOV/public-security/population/resident-identity",
            "plain",
            hashlib.sha256(question.subject.encode("ascii")).digest(),
            list(Resident.model_fields),
            "answered",
            request.hex,
        )
    return Resident(**row)


@provider_routes.get("/health")
@proxy_routes.get("/health")
async def say_healthy() -> dict[str, str]:
    """Ready as soon as it listens."""
    return {"status": "ok"}


@proxy_routes.post("/{path:path}")
async def forward(path: str, request: Request) -> Response:
    """Hand a request on, and its answer back."""
    client: httpx2.AsyncClient = request.app.state.client
    headers = {"content-type": request.headers.get("content-type", "application/json")}
    answer = await client.post(f"/{path}", content=await request.body(), headers=headers)
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


async def _leave_as_it_is(_connection: object) -> None:
    """The exchange's own pools do not reset their connections either; the usual reset would cost a round trip more."""


def build_provider(url: str) -> FastAPI:
    """The plain provider on a database."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, reset=_leave_as_it_is) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(provider_routes)
    return app


def build_proxy(upstream: str) -> FastAPI:
    """The plain proxy before a server."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = httpx2.Limits(max_connections=PROXY_CONNECTIONS, max_keepalive_connections=PROXY_CONNECTIONS)
        async with httpx2.AsyncClient(base_url=upstream, limits=limits, trust_env=False, timeout=30) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(proxy_routes)
    return app


def main() -> None:
    """Serve one of the two until it is told to stop."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=("provider", "proxy"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url", default="")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--upstream", default="")
    chosen = parser.parse_args()
    if chosen.server == "provider":
        app = build_provider(with_password(chosen.database_url, chosen.password_file))
    else:
        app = build_proxy(chosen.upstream)
    uvicorn.run(
        app,
        host=HOST,
        port=chosen.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
