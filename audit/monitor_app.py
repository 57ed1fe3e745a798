"""A monitor as a process of its own: follows a log, tells alarms over HTTP, as a metric and in its own log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge
from pydantic import BaseModel, ConfigDict, Field

from audit.auditor_client import AuditClient
from audit.model import MAX_LEAF_BYTES
from audit.monitor import Monitor, MonitorMemory, describe
from audit.monitor_config import MonitorSettings
from audit.note import parse_vkey
from exchange.canonical import b64url_decode
from exchange.clock import Clock, SystemClock
from exchange.log import configure_logging, get_logger
from exchange.machine_login import MachineLogin
from exchange.problem import Problem
from exchange.web import create_app, problem_responses, serve, work_beside

TITLE = "Yitong monitor"

log = get_logger(__name__)


class WatchRequest(BaseModel):
    """盯守请求. The bytes of an entry, base64url without padding: the receipt's `entry`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    entry: str = Field(min_length=2, max_length=4 * MAX_LEAF_BYTES // 3 + 4)


class SeenTo(BaseModel):
    """告警确认. That an alarm was seen to, by whom and why; the monitor's log keeps it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=128)
    by: str = Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")
    reason: str = Field(min_length=4, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")


async def follow(monitor: Monitor, entry: WayIn, settings: MonitorSettings, metrics: CollectorRegistry) -> None:
    """One round after the other, until cancelled."""
    raised = Gauge("audit_monitor_alarms", "Alarms that nobody has seen to", registry=metrics)
    size = Gauge("audit_monitor_size", "Entries of the head that was believed last", registry=metrics)
    while True:
        try:
            await entry.renew()
            await monitor.round()
        except Problem as problem:
            log.warning("log-not-read", code=problem.code, reason=problem.reason)
        except OSError as error:
            # A password or token that is being renewed: whoever stops watching for that is no watch.
            log.warning("log-not-read", code="unauthenticated", reason=type(error).__name__)
        raised.set(len(monitor.alarms))
        size.set(monitor.believed.size)
        await asyncio.sleep(settings.round_seconds)


class WayIn(Protocol):
    """登录方式. How the monitor comes by an auditor's access token."""

    async def renew(self) -> None:
        """See to it that there is one. Raises Problem."""
        ...

    def token(self) -> str:
        """The token."""
        ...


@dataclass(frozen=True, slots=True)
class TokenFile:
    """令牌文件. Somebody else renews the token and writes it there."""

    path: Path

    async def renew(self) -> None:
        """Nothing to do."""

    def token(self) -> str:
        """What stands there now. Raises OSError."""
        return self.path.read_text(encoding="utf-8").strip()


def _way_in(settings: MonitorSettings, http: httpx2.AsyncClient, clock: Clock) -> WayIn:
    if settings.token_url is not None and settings.account is not None and settings.account_password_file is not None:
        return MachineLogin(http, settings.token_url, settings.account, settings.account_password_file, clock)
    if settings.access_token_file is None:
        raise ValueError("either an account or a file with a token")
    return TokenFile(settings.access_token_file)


def build(settings: MonitorSettings, clock: Clock) -> FastAPI:
    """Compose the process. Raises ValueError for a memory that is damaged or of another log."""
    vkey = parse_vkey(settings.log_vkey_file.read_text(encoding="utf-8").strip())
    http = httpx2.AsyncClient(trust_env=False)
    entry = _way_in(settings, http, clock)
    reader = AuditClient(settings.audit_url, http, entry.token)
    memory = MonitorMemory.load(settings.monitor_memory_file, vkey.name)
    monitor = Monitor(reader, vkey, memory, clock, pieces=settings.pieces_a_round)

    async def ready() -> bool:
        return monitor.rounds > 0

    async def work(app: FastAPI) -> None:
        async with http:
            await follow(monitor, entry, settings, app.state.metrics)

    app = create_app(TITLE, lifespan=work_beside(work), ready=ready)

    @app.get("/alarms")
    async def get_alarms() -> dict[str, Any]:
        """Everything that is wrong and that nobody has seen to, and how far the log was believed."""
        return {"alarms": describe(monitor.alarms), "size": monitor.believed.size}

    @app.post("/watched", status_code=204, responses=problem_responses("malformed-request", "overloaded"))
    async def post_watched(body: WatchRequest) -> None:
        """See to it that the entry of a receipt comes into the tree."""
        try:
            monitor.watch(b64url_decode(body.entry))
        except ValueError:
            raise Problem("malformed-request", "entry is not unpadded base64url") from None

    @app.post("/alarms/seen", status_code=204, responses=problem_responses("malformed-request", "not-found"))
    async def post_seen(body: SeenTo) -> None:
        """Take an alarm away; it comes back if it is still true."""
        if not monitor.acknowledge(body.name):
            raise Problem("not-found", "there is no such alarm")
        log.warning("alarm-seen-to", name=body.name, by=body.by, reason=body.reason)

    return app


def main() -> None:
    """`python -m audit.monitor_app`, configured by YITONG_… variables."""
    settings = MonitorSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("monitor", settings.log_level)
    serve(build(settings, SystemClock()), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
