"""What publishes a department's events: changes with their events on one side, the relay to the bus on the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from prometheus_client import CollectorRegistry, Gauge

from departments.life_event import LifeEvent, apply_event
from departments.model import DataSet
from departments.outbox import Kept, Lag, read_lag, remove_old
from departments.record_key import RecordKey
from departments.relay import BATCH, Relay
from exchange.clock import Clock
from exchange.log import get_logger
from exchange.problem import Problem
from registry.client import SnapshotSource

POLL_SECONDS: Final = 0.5
PROBE_EVERY_MS: Final = 3_000
CLEAN_EVERY_MS: Final = 3_600_000

log = get_logger(__name__)


class Health:
    """发布健康度. What an operator sees of publishing: how far it has come, and how long the oldest event has waited."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        """Registers its gauges."""
        self._said = Gauge("outbox_said", "Sequence of the last event that was said", registry=metrics)
        self._published = Gauge("outbox_published", "Sequence of the last event that the bus has", registry=metrics)
        self._waiting = Gauge("outbox_waiting_seconds", "Age of the oldest event that the bus does not have", registry=metrics)

    def show(self, lag: Lag, now_ms: int) -> None:
        """Take over what was read."""
        self._said.set(lag.said)
        self._published.set(lag.published)
        self._waiting.set(0 if lag.waiting_since_ms is None else max(0, now_ms - lag.waiting_since_ms) / 1000)


@dataclass(slots=True)
class Publisher:
    """事件发布方. One department's."""

    data_sets: Sequence[DataSet]
    instance: str
    pool: asyncpg.Pool[Any]
    key: RecordKey
    snapshots: SnapshotSource
    relay: Relay
    health: Health
    clock: Clock
    _woken: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _probed_at: int = field(default=0, init=False)
    _cleaned_at: int = field(default=0, init=False)

    async def publish(self, event: LifeEvent) -> Kept:
        """Change the register and say so. When this returns both are durable; the bus hears of it next.

        Raises what `apply_event` raises, `registry-stale`, and `provider-failed` when the database does not answer.
        """
        data_set = next((each for each in self.data_sets if event.type in each.events), None)
        if data_set is None:
            raise Problem("malformed-request", "this department has no such event")
        snapshot = self.snapshots.current()
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                kept = await apply_event(
                    connection,
                    event,
                    data_set,
                    instance=self.instance,
                    snapshot=snapshot,
                    key=self.key.current(),
                    now_ms=self.clock.now_ms(),
                )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise Problem("provider-failed", reason=f"register: {type(error).__name__}") from None
        self._woken.set()
        return kept

    async def lag(self) -> Lag:
        """How far publishing has come."""
        async with self.pool.acquire() as connection:
            return await read_lag(connection)

    async def run(self) -> None:
        """Bring events to the bus until cancelled; what fails is tried again."""
        while True:
            self._woken.clear()
            try:
                busy = await self._round()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("outbox-not-read", error=type(error).__name__)
                busy = False
            if not busy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), POLL_SECONDS)

    async def _round(self) -> bool:
        """One step of the relay; whether there is more to do at once."""
        step = await self.relay.run_once()
        now = self.clock.now_ms()
        if not step.published and now - self._probed_at >= PROBE_EVERY_MS:
            self._probed_at = now
            step = await self.relay.probe()
        if now - self._cleaned_at >= CLEAN_EVERY_MS:
            self._cleaned_at = now
            async with self.pool.acquire() as connection:
                await remove_old(connection, now_ms=now)
        self.health.show(await self.lag(), now)
        return step.went_back or step.published >= BATCH
