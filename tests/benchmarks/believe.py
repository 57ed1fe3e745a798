"""A consumer that believes nothing unseen: each answer is verified against its question, record and receipt."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2
import orjson

from exchange.clock import SystemClock
from exchange.keys import VerifyKey
from exchange.problem import Problem
from exchange.receipt import Asked
from gateway.client import read_answer
from registry.client import SnapshotSource
from tests.benchmarks.frames import read_frames


@contextlib.asynccontextmanager
async def open_check(trust: Mapping[str, Any], asked: Path) -> AsyncIterator[Callable[[int, bytes], str | None]]:
    """A check of the answer to the request of that index, with keys of a snapshot that was verified with the anchor."""
    questions = [_read_asked(frame) for frame in read_frames(asked)]
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


def encode_asked(asked: Asked) -> bytes:
    """What must be remembered of a question, as a frame."""
    items = None if asked.items is None else sorted(asked.items)
    return orjson.dumps({**asdict(asked), "items": items, "facts": sorted(asked.facts)})


def _read_asked(frame: bytes) -> Asked:
    document = orjson.loads(frame)
    items = document.pop("items")
    return Asked(items=None if items is None else frozenset(items), facts=frozenset(document.pop("facts")), **document)
