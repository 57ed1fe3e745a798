"""The notary's process: has checkpoints cosigned and time-stamped. Health and metrics over HTTP; nothing else listens."""

from __future__ import annotations

import asyncio

import asyncpg
import httpx2
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge

from audit.cosigning import Gatherer
from audit.notary import Notary, TileShelf
from audit.notary_config import NotarySettings
from audit.policy import load_policy
from audit.proof import TrustPolicy
from audit.timestamping import StampRoots, TimestampAuthority
from exchange.clock import Clock, SystemClock
from exchange.database import with_password
from exchange.log import configure_logging, get_logger
from exchange.web import create_app, serve, work_beside

TITLE = "Yitong notary"

log = get_logger(__name__)


class NotaryLoop:
    """公证循环. Round after round; after a failure it connects again, and nothing waits for it."""

    def __init__(self, settings: NotarySettings, clock: Clock, metrics: CollectorRegistry) -> None:
        """Read the policy; nothing is connected yet. Raises PolicyError, ValueError."""
        self.is_working = False
        self._settings, self._clock = settings, clock
        self._url = with_password(settings.database_url, settings.database_password_file)
        self._policy = load_policy(settings.witness_policy_file)
        self._log = TrustPolicy.of(self._policy).log
        self._size = Gauge("audit_witnessed_size", "Entries under the last checkpoint with a quorum", registry=metrics)
        self._stamped = Gauge("audit_stamped_size", "Entries under the last checkpoint with a time-stamp", registry=metrics)
        self._failures = Counter("audit_notary_failures", "Rounds that failed", ["error"], registry=metrics)

    async def run(self) -> None:
        """Until cancelled."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            while True:
                try:
                    await self._work(http)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and the log goes on
                    self.is_working = False
                    self._failures.labels(type(error).__name__).inc()
                    log.warning("notary-held-up", error=type(error).__name__, reason=str(error))
                await asyncio.sleep(self._settings.round_seconds)

    async def _work(self, http: httpx2.AsyncClient) -> None:
        connection = await asyncpg.connect(self._url, timeout=5, server_settings={"application_name": "notary", "jit": "off"})
        try:
            gatherer = Gatherer(http, self._policy, TileShelf(connection).load)
            notary = Notary(connection, self._log, gatherer, self._authority(http), self._clock)
            while True:
                cosigned = await notary.round()
                if cosigned is not None and cosigned.met:
                    self._size.set(cosigned.size)
                stamped = await notary.stamp()
                if stamped is not None:
                    self._stamped.set(stamped)
                self.is_working = True
                await asyncio.sleep(self._settings.round_seconds)
        finally:
            connection.terminate()

    def _authority(self, http: httpx2.AsyncClient) -> TimestampAuthority | None:
        url, roots = self._settings.timestamp_url, self._settings.timestamp_roots_file
        return None if url is None or roots is None else TimestampAuthority(url, StampRoots.load(roots), http)


def build(settings: NotarySettings, clock: Clock) -> FastAPI:
    """Compose the process. Raises PolicyError, ValueError."""

    async def ready() -> bool:
        return loop.is_working

    app = create_app(TITLE, lifespan=work_beside(lambda _app: loop.run()), ready=ready)
    loop = NotaryLoop(settings, clock, app.state.metrics)
    return app


def main() -> None:
    """`python -m audit.notary_app`, configured by YITONG_… variables."""
    settings = NotarySettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("notary", settings.log_level)
    serve(build(settings, SystemClock()), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
