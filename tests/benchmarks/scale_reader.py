"""A gateway's part of the scale benchmark, in a process of its own: loads a snapshot, takes in a change, decides.

`python -m tests.benchmarks.scale_reader URL ANCHOR FEW` prints a line of JSON when it has loaded, one when it has taken in a
change (after a line on its standard input), and one with the cost of a decision among all rights and among a few.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import httpx2

from exchange.clock import SystemClock
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.keys import VerifyKey
from exchange.question import Headers, Question
from gateway.decide import decide
from gateway.model import Facts, Permit
from registry.client import Snapshot, SnapshotSource
from tests.registry.paper import PURPOSE

ROUNDS, DECISIONS = 9, 3000
SUBJECT = "11010519491231002X"


def tell(**said: Any) -> None:
    """One line for the parent."""
    print(json.dumps(said), flush=True)


def facts_of(snapshot: Snapshot, question: Question, kid: str, now: float) -> Facts:
    """What a gateway looks up in the snapshot for one question (`gateway.facts`), without a consent."""
    headers = question.headers
    key, service = snapshot.key(kid), snapshot.service(headers.service)
    return Facts(
        now=now,
        minute_of_day=600,
        consumer_active=snapshot.is_active(headers.consumer),
        provider_active=snapshot.is_active(headers.service.subsystem),
        key_active=key is not None,
        key_valid_until=0.0 if key is None else key.valid_until,
        service=service,
        purpose=snapshot.purpose(headers.purpose),
        rights=snapshot.rights(headers.consumer, headers.service),
        used_up={},
        consent=None,
    )


def cost_us(snapshot: Snapshot, question: Question, kid: str) -> float:
    """Microseconds of processor time for one look-up of the facts and the decision."""
    now = SystemClock().now()
    began = process_time()
    for _ in range(DECISIONS):
        decision = decide(question, facts_of(snapshot, question, kid, now))
    if not isinstance(decision, Permit):
        raise TypeError(f"the question was refused: {decision}")
    return (process_time() - began) / DECISIONS * 1e6


async def run(url: str, key: VerifyKey, few: int) -> None:
    """Load, take in a change, decide among all rights and among few of them in turn."""
    async with httpx2.AsyncClient() as http:
        source = SnapshotSource(url, key, http, SystemClock())
        began = perf_counter()
        snapshot = await source.refresh()
        (consumer, _), (right, *_) = next((place, found) for place, found in snapshot._rights.items() if "/p000/" in place[1])
        tell(seconds=perf_counter() - began, right=right.id)
        await asyncio.to_thread(sys.stdin.readline)
        version = snapshot.version
        while snapshot.version == version:
            snapshot = await source.refresh()
        tell(memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        await asyncio.to_thread(sys.stdin.readline)
    service = min(place[1] for place in snapshot._rights if place[0] == consumer)
    headers = Headers(
        parse_service_id(service), parse_subsystem_id(consumer), "r1", PURPOSE, None, officer="o-1", case="2026-0417"
    )
    question = Question(headers, SUBJECT, ("months",), {}, None)
    kid = next(kid for kid in snapshot._keys if snapshot._keys[kid].owner == consumer)
    small = fewer(snapshot, consumer, few)
    many_us, few_us = [], []
    for _ in range(ROUNDS):
        few_us.append(cost_us(small, question, kid))
        many_us.append(cost_us(snapshot, question, kid))
    tell(many_us=median(many_us), few_us=median(few_us))


def fewer(snapshot: Snapshot, consumer: str, few: int) -> Snapshot:
    """The same snapshot with a few of its rights only."""
    small = Snapshot.__new__(Snapshot)
    for name in Snapshot.__slots__:
        setattr(small, name, getattr(snapshot, name))
    kept = {place: rights for place, rights in snapshot._rights.items() if place[0] == consumer}
    # The catalogue and the keys stay: what grows with them must not cost anything either.
    small._rights = dict(sorted(kept.items())[:few])
    return small


if __name__ == "__main__":
    anchor = VerifyKey.load(Path(sys.argv[2]))
    asyncio.run(run(sys.argv[1], anchor, int(sys.argv[3])))
