"""The one reader of all departments' registers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from departments.model import DataSet, Row

Reader: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any] | asyncpg.Pool[Any]"


async def read_row(connection: Reader, data_set: DataSet, subject: str, names: Sequence[str]) -> Row | None:
    """The named columns of the subject's row as JSON values, or None if the register has no row.

    PostgreSQL is asked for exactly these columns and for no others; with no names it is asked only whether there is a row.
    Raises KeyError for a name that the data set does not declare.
    """
    if undeclared := set(names) - data_set.columns:
        raise KeyError(f"{data_set.service} does not declare {', '.join(sorted(undeclared))}")
    text = await connection.fetchval(_statement(data_set.table, tuple(names)), subject)
    return None if text is None else orjson.loads(text)


@lru_cache(maxsize=1024)
def _statement(table: str, names: tuple[str, ...]) -> str:
    # PostgreSQL makes the JSON: dates become ISO 8601 and integers stay integers for every column type alike. Names come
    # from declarations only (checked above), so quoting them is enough.
    pairs = ", ".join(f"'{name}', \"{name}\"" for name in names)
    return f'SELECT jsonb_build_object({pairs})::text FROM "{table}" WHERE subject = $1'  # noqa: S608 - declared names only
