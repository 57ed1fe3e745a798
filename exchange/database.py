"""How a component reaches PostgreSQL: URLs without passwords, passwords in files, pools with limits."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg


def with_password(url: str, password_file: Path | None) -> str:
    """`postgresql://role@host/db` with the password of a file put in; the URL as it is when there is no file."""
    if password_file is None:
        return url
    parts = urlsplit(url)
    secret = quote(password_file.read_text(encoding="utf-8").strip(), safe="")
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{secret}@{parts.netloc.rpartition('@')[2]}"))


async def create_pool(url: str, *, size: int = 5) -> asyncpg.Pool:
    """A pool of plain asyncpg connections for the hot path, for statements that leave nothing behind in their session.

    A returned connection is not reset: the reset is a round trip of its own, and cost a ninth of a provider's time.
    """
    return await asyncpg.create_pool(url, min_size=1, max_size=size, timeout=5, reset=_leave_as_it_is)


async def _leave_as_it_is(_connection: object) -> None:
    """Nothing was set, locked or listened to."""
