"""Who writes the log while the power may go at any moment, and what they were told: that is held against what is left."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import asyncpg

from audit.client import Answer, GroundKind, ReleaseRow
from audit.sequence import Integrator, Published
from exchange.clock import SystemClock
from exchange.problem import Problem
from tests.audit.reference import LOG_KEY, ORIGIN
from tests.audit.scene import ALICE, BOB, Scene
from tests.support.audit_rows import connected, now_ms

CALLERS = 6
CONSENTS = 12
"""How many stand at a time."""
INTEGRATE_EVERY_S = 0.02


@dataclass(slots=True)
class Told:
    """告知. Everything that was acknowledged, in all turns together."""

    releases: dict[int, ReleaseRow] = field(default_factory=dict)
    """By serial."""
    denials: set[int] = field(default_factory=set)
    withdrawn: dict[str, int] = field(default_factory=dict)
    """Consents, with the serial of the withdrawal."""
    checkpoints: dict[int, Published] = field(default_factory=dict)
    """By size."""
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How much was acknowledged."""
        return len(self.releases) + len(self.denials) + len(self.withdrawn) + len(self.checkpoints)


class Load:
    """Gateways that release and refuse, a citizen who withdraws, an integrator that signs; until the power goes."""

    def __init__(self, scene: Scene, told: Told, dice: random.Random) -> None:
        self._scene = scene
        self._told = told
        self._dice = dice
        self._consents = [self._consent() for _ in range(CONSENTS)]
        self._goal = 0
        self._reached = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everybody at work within the block; then whatever is under way is left unfinished."""
        work = [self._release] * CALLERS + [self._withdraw, self._deny]
        tasks = [asyncio.create_task(self._go_on(each)) for each in work]
        tasks += [asyncio.create_task(self._integrate()), asyncio.create_task(self._keep_the_disk_busy())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, AssertionError):
                    raise result

    async def until_told(self, more: int) -> None:
        """Return when that much more was acknowledged."""
        self._goal = self._told.count + more
        self._reached.clear()
        await self._reached.wait()

    async def _go_on(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
                if self._told.count >= self._goal:
                    self._reached.set()
            except Problem as problem:
                self._told.refused[problem.code] += 1
                await asyncio.sleep(0.01)

    async def _release(self) -> None:
        consent = self._dice.choice(self._consents)
        row = self._scene.release_row(self._dice.choice((ALICE, BOB)), consent=consent, at_ms=now_ms())
        verdict = await self._scene.gateway.place(row)
        if verdict.answer is Answer.RELEASED:
            assert verdict.serial is not None
            # In one process and without a pause between, so nothing can be acknowledged between the two lines.
            assert consent not in self._told.withdrawn or verdict.serial < self._told.withdrawn[consent]
            self._told.releases[verdict.serial] = row
        else:
            assert verdict.answer is Answer.WITHDRAWN
            self._told.refused[verdict.answer] += 1

    async def _withdraw(self) -> None:
        place = self._dice.randrange(CONSENTS)
        consent = self._consents[place]
        receipt = await self._scene.identity.fence(self._scene.fence_row(GroundKind.CONSENT, consent))
        self._told.withdrawn[consent] = receipt.serial
        await asyncio.sleep(0.01)  # a while, so that some releases meet the withdrawn consent
        self._consents[place] = self._consent()

    async def _deny(self) -> None:
        self._told.denials.add(await self._scene.deny())
        await asyncio.sleep(0.01)

    async def _integrate(self) -> None:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            connection = await asyncpg.connect(self._scene.database.url("yitong_integrator"))
            try:
                integrator = Integrator(connection, LOG_KEY, ORIGIN, self._scene.memory, SystemClock())
                assert await integrator.take_lead()
                while True:
                    published = await integrator.step()
                    if published is not None:
                        self._told.checkpoints[published.size] = published
                    await asyncio.sleep(INTEGRATE_EVERY_S)
            finally:
                connection.terminate()

    async def _keep_the_disk_busy(self) -> None:
        """What the server does by itself on a long day: so that a cut meets tables, names and segments under way too."""
        statements = (
            "CHECKPOINT",
            "SELECT pg_switch_wal()",
            "VACUUM audit.entry",
            "VACUUM audit.consent_use",
            "ANALYZE audit.entry",
        )
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            async with connected(self._scene.database) as owner:
                while True:
                    await owner.execute(self._dice.choice(statements))
                    await asyncio.sleep(self._dice.random() / 5)

    @staticmethod
    def _consent() -> str:
        return f"consent-{secrets.token_hex(8)}"
