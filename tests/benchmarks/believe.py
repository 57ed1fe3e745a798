"""A consumer that believes nothing unseen: each answer is verified against its question, record and receipt."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx2

from exchange.clock import SystemClock
from exchange.keys import VerifyKey
from exchange.problem import Problem
from gateway.client import Prepared, read_answer
from registry.client import SnapshotSource
from tests.benchmarks.frames import read_frames


@contextlib.asynccontextmanager
async def open_check(trust: Mapping[str, Any], asked: Path) -> AsyncIterator[Callable[[int, bytes], str | None]]:
    """A check of the answer to the request of that index, with keys of a snapshot that was verified with the anchor."""
    questions = [_read_prepared(frame) for frame in read_frames(asked)]
    clock = SystemClock()
    async with httpx2.AsyncClient(trust_env=False) as http:
        source = SnapshotSource(trust["registry"], VerifyKey.from_jwk(trust["anchor"]), http, clock)
        await source.start()

        def check(index: int, body: bytes) -> str | None:
            try:
                read_answer(200, body, questions[index], source.current(), now=clock.now())
            except Problem as problem:
                return f"not believed: {problem.code} {problem.reason}"
            return None

        try:
            yield check
        finally:
            await source.stop()


def encode_prepared(prepared: Prepared) -> bytes:
    """A question with what must be remembered of it, as a frame."""
    return pickle.dumps(prepared)


def _read_prepared(frame: bytes) -> Prepared:
    prepared: Prepared = pickle.loads(frame)  # noqa: S301 - written a moment ago by the process that started this one
    return prepared
