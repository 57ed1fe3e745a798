"""A witness as a process of its own: at the audit authority, at each large department, at whoever wants to watch the log."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from audit.policy import load_policy
from audit.witness import Witness, WitnessState
from audit.witness_api import witness_router
from audit.witness_config import WitnessSettings
from exchange.clock import Clock, SystemClock
from exchange.keys import SigningKey
from exchange.log import configure_logging, get_logger
from exchange.web import create_app, serve

TITLE = "Yitong witness"

log = get_logger(__name__)


def build(settings: WitnessSettings, clock: Clock) -> FastAPI:
    """Compose the process. Raises WitnessDamaged while another one has its directory, PolicyError, NoteError."""
    if not settings.witness_key_file.exists():
        SigningKey.generate("Ed25519").save(settings.witness_key_file)
    logs = [each.key for each in load_policy(settings.witness_policy_file).logs]
    state = WitnessState(settings.witness_directory)
    witness = Witness(settings.witness_name, SigningKey.load(settings.witness_key_file), logs, state, clock)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        log.info("witnessing", key=str(witness.vkey), logs=[each.name for each in logs])
        yield
        state.close()

    app = create_app(TITLE, lifespan=lifespan)
    app.include_router(witness_router(witness))
    return app


def main() -> None:
    """`python -m audit.witness_app`, configured by YITONG_… variables."""
    settings = WitnessSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging("witness", settings.log_level)
    serve(build(settings, SystemClock()), host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
