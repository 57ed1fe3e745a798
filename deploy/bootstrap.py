"""What is done once before a local exchange can work: people into the registers, keys enrolled, rights signed by both sides.

In a real installation each member does its part with its own key; here one launcher holds all keys, and signs for each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from departments.client import DEPARTMENTS, is_loaded, load
from deploy.home import Home, key_owners
from deploy.postgres.roles import Database, department_schema
from deploy.postgres.sql import blocking

RIGHTS_FILE = Path(__file__).resolve().parent / "config" / "rights.json"


def load_people(database: Database, seed: int, count: int) -> None:
    """Fill the registers of every department that has none yet."""

    async def fill() -> None:
        for member in DEPARTMENTS:
            connection = await asyncpg.connect(database.url(f"yitong_{department_schema(member)}"))
            try:
                if not await is_loaded(connection, member):
                    await load(connection, member, seed, count)
            finally:
                await connection.close()

    blocking(fill())
