"""The notifier's process: tells people of each access through a channel outside. Runs where a channel is; nothing needs it."""

from __future__ import annotations

import asyncio

import asyncpg
import httpx2
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge

from audit.bodies import BodyReader
from audit.notice_config import NoticeSettings
from audit.notices import Channel, Notifier
from audit.sealing import BodyKeys
from audit.titles import Titles
from exchange.clock import Clock, SystemClock
from exchange.database import with_password
from exchange.log import configure_logging, get_logger
from exchange.web import create_app, serve, work_beside

TITLE = "Yitong notifier"

log = get_logger(__name__)


async def notify_for_ever(settings: NoticeSettings, clock: Clock, metrics: CollectorRegistry) -> None:
    """Step after step; after a failure it connects again. Until cancelled."""
    behind = Gauge("audit_notices_behind", "Places that are numbered and not yet told", registry=metrics)
    failures = Counter("audit_notice_failures", "Steps that failed", ["error"], registry=metrics)
    url = with_password(settings.database_url, settings.database_password_file)
    bodies = BodyReader(BodyKeys.load(settings.body_keys_file))
    token = settings.notice_token_file.read_text(encoding="utf-8").strip()
    async with httpx2.AsyncClient(trust_env=False) as http:
        while True:
            try:
                connection = await asyncpg.connect(url, timeout=5, server_settings={"application_name": "notifier", "jit": "off"})
                try:
                    channel = Channel(http, settings.notice_url, token)
                    titles = Titles(http, settings.identity_url, clock)
                    notifier = Notifier(connection, settings.log_origin, bodies, titles, channel, clock)
                    while True:
                        taken = await notifier.step()
                        behind.set(notifier.behind)
                        await asyncio.sleep(0 if taken else settings.round_seconds)
                finally:
                    connection.terminate()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again, and nothing waits for it
                failures.labels(type(error).__name__).inc()
                log.warning("notifier-held-up", error=type(error).__name__)
            await asyncio.sleep(settings.round_seconds)


def build(settings: NoticeSettings, clock: Clock) -> FastAPI:
    """Compose the process."""
    return create_app(TITLE, lifespan=work_beside(lambda app: notify_for_ever(settings, clock, app.state.metrics)))


def main() -> None:
    """`python -m audit.notice_app`, configured by YITONG_… variables."""
    settings = NoticeSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("notifier", settings.log_level)
    serve(build(settings, SystemClock()), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
