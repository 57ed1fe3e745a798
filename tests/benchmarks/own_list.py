"""How long a person waits for a list of 1,000 entries, each with its path in the log, and a signed statement of its length."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from audit.verify_list import ListTrust, verify_list
from deploy.postgres.roles import Database, prepare_database
from deploy.postgres.sql import blocking
from exchange.migrate import migrate
from exchange.web import settle_collector
from tests.audit.reference import LOG
from tests.audit.scene import ALICE, AUDIT_URL, BOB, HEADS, ReadingSide, Scene, open_reading_side, open_scene
from tests.benchmarks.figures import Latency, latency_of

LISTED = 1000
OTHERS = 9000
ROUNDS = 12
_AT_ONCE = 64


def measure_own_list(beside: Database) -> Latency:
    """Milliseconds of `POST /my/accesses` for the whole list, over ASGI, without a second party."""
    database = prepare_database(beside.superuser_url, beside.secrets, "own_list")
    migrate("audit", database.url("yitong_audit"), "audit")
    with tempfile.TemporaryDirectory(prefix="yitong-list-") as name:
        return latency_of(blocking(_measure(database, Path(name))))


async def _measure(database: Database, directory: Path) -> list[float]:
    async with open_scene(database, directory) as scene:
        await _fill(scene)
        await scene.number()
        async with open_reading_side(scene, directory) as side:
            return await _ask(side)


async def _fill(scene: Scene) -> None:
    about = [ALICE if number % (OTHERS // LISTED + 1) == 0 else BOB for number in range(LISTED + OTHERS)]

    async def release(share: Sequence[str]) -> None:
        for subject in share:
            await scene.release(subject)

    await asyncio.gather(*(release(about[start::_AT_ONCE]) for start in range(_AT_ONCE)))


async def _ask(side: ReadingSide) -> list[float]:
    settle_collector()  # as every process does that serves
    taken: list[float] = []
    headers = {"authorization": f"Bearer {side.token('citizen', subject=ALICE)}", "content-type": "application/json"}
    for number in range(ROUNDS):
        began = perf_counter()
        answer = await side.http.post(f"{AUDIT_URL}/my/accesses", content=b'{"limit": 1000}', headers=headers)
        if number:  # the first one fills caches
            taken.append(perf_counter() - began)
        page = answer.raise_for_status().json()
        assert len(page["entries"]) == LISTED
        verify_list([page], ListTrust(LOG, HEADS))
    return taken
