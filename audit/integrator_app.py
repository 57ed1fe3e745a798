"""The integrator's process: one leads and signs, any others stand by; health and metrics over HTTP."""

from __future__ import annotations

import asyncio
from enum import StrEnum

import asyncpg
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge

from audit import integration
from audit.config import IntegratorSettings
from audit.head_memory import HeadMemory
from audit.indexing import SubjectIndex
from audit.sequence import MAX_STEP, Integrator, LogBroken, Published
from audit.store import require_durable
from exchange.clock import Clock, SystemClock
from exchange.database import with_password
from exchange.keys import SigningKey
from exchange.log import configure_logging, get_logger
from exchange.web import create_app, serve, work_beside

PAUSE_AFTER_FAILURE_S = 1.0
PARTITIONS_EVERY_MS = 6 * 3600 * 1000
QUOTAS_EVERY_MS = 3600 * 1000
QUOTA_ROWS_AT_ONCE = 5000

log = get_logger(__name__)


class State(StrEnum):
    """排序进程状态. What the process is doing; `broken` stays until a person has looked."""

    STARTING = "starting"
    LEADING = "leading"
    STANDING_BY = "standing-by"
    HELD_UP = "held-up"
    BROKEN = "broken"


class IntegratorLoop:
    """排序循环. Connects, leads or stands by, integrates; begins again after a failure, unless it is the log that is broken."""

    def __init__(self, settings: IntegratorSettings, clock: Clock, metrics: CollectorRegistry) -> None:
        """Read the log's key; nothing is connected yet."""
        self.state = State.STARTING
        self._settings = settings
        self._clock = clock
        self._url = with_password(settings.database_url, settings.database_password_file)
        self._key = SigningKey.load(settings.log_key_file)
        self._partitions_due_ms = 0
        self._quotas_due_ms = 0
        self._size = Gauge("audit_log_size", "Entries under the last checkpoint", registry=metrics)
        self._published = Gauge("audit_log_published_seconds", "Unix time of the last checkpoint", registry=metrics)
        self._failures = Counter("audit_integration_failures", "Integrations that failed", ["error"], registry=metrics)

    async def run(self) -> None:
        """Integrate until cancelled, or until the log is broken."""
        while True:
            try:
                await self._lead()
            except LogBroken as error:
                self.state = State.BROKEN
                log.critical("log-broken", error=str(error))
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing was signed, and it is tried again
                self.state = State.HELD_UP
                self._failures.labels(type(error).__name__).inc()
                log.warning("integration-held-up", error=type(error).__name__, reason=str(error))
            await asyncio.sleep(PAUSE_AFTER_FAILURE_S)

    async def _lead(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=5, server_settings={"application_name": "integrator", "jit": "off"})
        try:
            await require_durable(connection)
            settings = self._settings
            integrator = Integrator(connection, self._key, settings.log_origin, HeadMemory(settings.memory_path), self._clock)
            await self._make_partitions(connection)
            while not await integrator.take_lead():
                self.state = State.STANDING_BY
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
            self.state = State.LEADING
            log.info("leading")
            await self._admit(connection)
            index = SubjectIndex(connection, self._clock)
            size = 0
            while True:
                published = await integrator.step()
                if published is not None:
                    self._note(published)
                await self._make_partitions(connection)
                await self._clear_quotas(connection)
                # A step holds the fence alone for a moment and commits several times, so small ones do not follow each other
                # at once: they gather for a pause. What fills a step goes on without one, and without numbering.
                grown = 0 if published is None else published.size - size
                size += grown
                if grown < MAX_STEP:
                    await index.step()
                    await index.reveal()
                    await asyncio.sleep(settings.integrate_every_seconds)
        finally:
            # Closing gives the lead back, so it is not left to a pool.
            connection.terminate()

    async def _admit(self, connection: asyncpg.Connection) -> None:
        """Let releases begin again after a start of the database, if what is remembered outside it stands in it."""
        remembered = HeadMemory(self._settings.memory_path).load()
        size, root = (0, b"") if remembered is None else (remembered.size, remembered.root)
        if not await integration.admit_restart(connection, size, root):
            log.critical("not-admitted", remembered=size, advice="docs/restore.md")

    def _note(self, published: Published) -> None:
        self._size.set(published.size)
        self._published.set(self._clock.now())

    async def _make_partitions(self, connection: asyncpg.Connection) -> None:
        now_ms = self._clock.now_ms()
        if now_ms < self._partitions_due_ms:
            return
        made = await integration.make_body_partitions(connection, now_ms, self._settings.body_months_ahead)
        self._partitions_due_ms = now_ms + PARTITIONS_EVERY_MS
        if made:
            log.info("body-partitions-made", count=made)

    async def _clear_quotas(self, connection: asyncpg.Connection) -> None:
        """One piece of what nobody counts any more; the next follows the next step, so that nothing waits for many."""
        now_ms = self._clock.now_ms()
        if now_ms < self._quotas_due_ms:
            return
        if not await integration.clear_quotas(connection, QUOTA_ROWS_AT_ONCE):
            self._quotas_due_ms = now_ms + QUOTAS_EVERY_MS


def build(settings: IntegratorSettings, clock: Clock) -> FastAPI:
    """Compose the process."""

    async def ready() -> bool:
        return loop.state in (State.LEADING, State.STANDING_BY)

    app = create_app("Yitong integrator", lifespan=work_beside(lambda _app: loop.run()), ready=ready)
    loop = IntegratorLoop(settings, clock, app.state.metrics)
    return app


def main() -> None:
    """`python -m audit.integrator_app`, configured by YITONG_… variables."""
    settings = IntegratorSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("integrator", settings.log_level)
    serve(build(settings, SystemClock()), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
