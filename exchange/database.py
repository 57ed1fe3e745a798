"""How a component reaches PostgreSQL: URLs without passwords, passwords in files, pools with limits."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def with_password(url: str, password_file: Path | None) -> str:
    """`postgresql://role@host/db` with the password of a file put in; the URL as it is when there is no file."""
    if password_file is None:
        return url
    parts = urlsplit(url)
    secret = quote(password_file.read_text(encoding="utf-8").strip(), safe="")
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{secret}@{parts.netloc.rpartition('@')[2]}"))


def sqlalchemy_url(url: str) -> str:
    """The same URL for SQLAlchemy's asyncpg driver."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


def create_engine(url: str, *, size: int = 5) -> AsyncEngine:
    """An engine for the services that are not on the hot path; connections are tried before use."""
    return create_async_engine(sqlalchemy_url(url), pool_size=size, max_overflow=size, pool_pre_ping=True, pool_timeout=5)


async def create_pool(url: str, *, size: int = 5) -> asyncpg.Pool:
    """A pool of plain asyncpg connections for the hot path."""
    return await asyncpg.create_pool(url, min_size=1, max_size=size, timeout=5)
