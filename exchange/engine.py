"""SQLAlchemy's engine for the services that are not on the hot path; a module of its own, since it takes long to import."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def sqlalchemy_url(url: str) -> str:
    """The same URL for SQLAlchemy's asyncpg driver."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


def create_engine(url: str, *, size: int = 5) -> AsyncEngine:
    """An engine whose connections are tried before use."""
    # Parameters are personal: SQLAlchemy would put them into the text of an error.
    return create_async_engine(
        sqlalchemy_url(url), pool_size=size, max_overflow=size, pool_pre_ping=True, pool_timeout=5, hide_parameters=True
    )
