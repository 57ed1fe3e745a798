"""A registry beside an audit that answers it in cases about people: one database, three processes' apps in this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from deploy.postgres.roles import Database
from registry.client import Credential, Machine
from tests.audit.scene import AUDIT_URL, REGISTRY_KEY, ReadingSide, Scene, open_reading_side, open_scene, save_key
from tests.registry.town import CONSUMER, POPULATION, Town, open_town


@dataclass(slots=True)
class Docket:
    """案件场景. The town, the log and its reader, and who takes part."""

    town: Town
    scene: Scene
    side: ReadingSide
    who: dict[str, Credential]

    async def execute(self, statement: str) -> None:
        """One statement as the registry's role. Raises what PostgreSQL raises."""
        connection = await asyncpg.connect(self.town.office.database.url("yitong_registry"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def told(self, about: str) -> list[str]:
        """What the log says of a matter, oldest first."""
        return [leaf["what"] for leaf in await self.town.leaves("config") if leaf["what"].startswith(about)]


@asynccontextmanager
async def open_docket(database: Database, home: Path, **more: Any) -> AsyncIterator[Docket]:
    """Everything started, with the right of the story registered."""
    save_key(REGISTRY_KEY, home / "registry.pem")
    async with (
        open_scene(database, home) as scene,
        open_reading_side(scene, home) as side,
        open_town(database, home, audit=side.app, audit_url=AUDIT_URL, **more) as town,
    ):
        side.app.state.clock = town.office.clock
        machines = {"consumer": CONSUMER, "provider": POPULATION, "stranger": "CN-YA/GOV/tax/taxation"}
        who: dict[str, Credential] = {
            name: Machine(system, await town.office.enrolled(system)) for name, system in machines.items()
        }
        await town.granted()
        await town.app.state.desk.registrar.refresh_keys()
        accounts = ("citizen", "agent", "registrar", "supervisor", "auditor", "integrator", "officer", "security")
        who |= {account: await town.token(account) for account in accounts}
        who["other-citizen"] = await town.token("stranger")
        yield Docket(town, scene, side, who)
