"""What the registry does by itself: start until it has started, fetch keys, carry on, sign anew, and the chores."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from exchange.log import get_logger
from exchange.problem import Problem
from registry.registrar import Registrar

_DICE = secrets.SystemRandom()
_JITTER = 0.2
_START_AGAIN_SECONDS = 1.0

log = get_logger(__name__)

Work = Callable[[], Awaitable[None]]


class Keeper:
    """值守. One task; whatever fails is tried again in the next round, and nothing that fails keeps the rest from being done."""

    def __init__(
        self, registrar: Registrar, start: Work, chores: Mapping[str, Work], *, poll_seconds: float, resign_seconds: float
    ) -> None:
        """A round begins every `poll_seconds`, or when somebody calls `wake`; `chores` are what it does besides, in order."""
        self._registrar, self._start, self._chores = registrar, start, chores
        self._poll_seconds, self._resign_seconds = poll_seconds, resign_seconds
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Begin the next round now."""
        self._woken.set()

    async def start(self) -> None:
        """Make the first round, so that a snapshot is out as soon as the process answers, and go on in the background."""
        await self._round()
        self._task = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Stop after nothing, or in the middle: whatever is left is carried on by the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        resign_at = loop.time() + self._until_resigning()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._woken.wait()
            self._woken.clear()
            await self._round()
            if loop.time() >= resign_at:
                await self._try("resign", self._registrar.tick)
                resign_at = loop.time() + self._until_resigning()

    def _pause(self) -> float:
        """Seconds to the next round: a registry that has not started yet has nothing more urgent than to try again."""
        return self._poll_seconds if self._registrar.has_started else min(self._poll_seconds, _START_AGAIN_SECONDS)

    def _until_resigning(self) -> float:
        """Seconds; spread, so that the readers of several instances do not fetch in step."""
        return self._resign_seconds * _DICE.uniform(1 - _JITTER, 1 + _JITTER)

    async def _round(self) -> None:
        if not self._registrar.has_started and not await self._try("start", self._start):
            return
        for name, work in (
            ("carry-on", self._registrar.carry_on),
            ("keys", self._registrar.refresh_keys),
            *self._chores.items(),
        ):
            await self._try(name, work)

    async def _try(self, name: str, work: Work) -> bool:
        try:
            await work()
        except (Problem, SQLAlchemyError, OSError, TimeoutError) as error:
            reason = error.reason or error.detail if isinstance(error, Problem) else type(error).__name__
            log.warning("keeper-failed", work=name, reason=reason)
        except Exception:
            # Whatever it was: a keeper that ends unseen would let the snapshot expire everywhere.
            log.exception("keeper-failed", work=name)
        else:
            return True
        return False
