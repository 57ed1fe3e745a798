"""An integrator in a process of its own that kills itself (SIGKILL) after a step, as a machine would: nothing is tidied up.

python -m tests.support.dying_integrator URL KEY_FILE ORIGIN MEMORY STEP
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import asyncpg

from audit.head_memory import HeadMemory
from audit.sequence import Integrator, Step
from exchange.clock import SystemClock
from exchange.keys import SigningKey
from tests.support.waiting import until_yes


async def lead_and_die(url: str, key_file: Path, origin: str, memory: Path, step: Step) -> None:
    """Lead, integrate, and be gone."""

    def die(done: Step) -> None:
        if done is step:
            os.kill(os.getpid(), signal.SIGKILL)

    connection = await asyncpg.connect(url)
    integrator = Integrator(connection, SigningKey.load(key_file), origin, HeadMemory(memory), SystemClock(), after_step=die)
    await until_yes(integrator.take_lead)
    await integrator.step()


if __name__ == "__main__":
    given = sys.argv[1:]
    asyncio.run(lead_and_die(given[0], Path(given[1]), given[2], Path(given[3]), Step(given[4])))
