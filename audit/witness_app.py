"""A witness as a process of its own: at the audit authority, at each large department, at whoever wants to watch the log."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from audit.witness_api import OpenWitness
from audit.witness_config import WitnessSettings
from exchange.clock import Clock, SystemClock
from exchange.log import configure_logging, get_logger
from exchange.web import create_app, serve

TITLE = "Yitong witness"

log = get_logger(__name__)


def build(settings: WitnessSettings, clock: Clock) -> FastAPI:
    """Compose the process. Raises WitnessDamaged while another one has its directory, PolicyError, NoteError."""
    opened = OpenWitness.open(
        settings.witness_name, settings.witness_key_file, settings.witness_policy_file, settings.witness_directory, clock
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        log.info("witnessing", key=str(opened.witness.vkey))
        yield
        opened.close()

    app = create_app(TITLE, lifespan=lifespan)
    app.include_router(opened.router)
    return app


def main() -> None:
    """`python -m audit.witness_app`, configured by YITONG_… variables."""
    settings = WitnessSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("witness", settings.log_level)
    serve(build(settings, SystemClock()), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
