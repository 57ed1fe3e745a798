"""One process that places releases in the log, or withdraws consents, as fast as it is told; started by `releases`, `log`.

It prepares its rows, says `ready`, waits for a line, works, and prints one line of JSON. The plan comes in a private file,
because it holds a database login.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from audit.client import (
    Answer,
    Content,
    DailyQuota,
    FenceDesk,
    FenceRow,
    GroundKind,
    Grounds,
    ReleaseDesk,
    ReleaseRow,
    SearchTokens,
    blinded,
    commit_body,
    make_fence_leaf,
    make_release_leaf,
    new_blind,
    plain_body,
)
from exchange.canonical import b64url
from exchange.clock import SystemClock
from exchange.problem import Problem
from tests.benchmarks.stage import ITEMS, PURPOSE, SERVICE
from tests.support.sealing import SEALER

CLOCK = SystemClock()
FAR_MS = 3_600_000
_STALLED_S = 1.0
LIMITED, WITHOUT_LIMITS = 9_999_999, 10_000_000
"""What the one right of a measurement allows a day: the most that is counted, or no limit at all."""
CONSENTS = 20_000
"""How many consents releases draw on, beside those that are withdrawn meanwhile."""
SHARE_TO_BE_WITHDRAWN = 0.05
PROVIDER, CONSUMER = "CN-YA/GOV/public-security", "CN-YA/GOV/real-estate"
KID = "0" * 43


@dataclass(frozen=True, slots=True)
class Task:
    """What one process is to do for how long."""

    act: str
    """place | withdraw | fill | keep-up"""
    url: str
    seconds: float
    rows: int
    callers: int
    counted: bool
    """Whether each release uses a consent that allows only so many."""
    limited: bool
    """Whether the right has daily limits; all releases of a measurement are on one right, each about another person."""
    run: str
    """Names the run, so that its consents are its own."""
    withdrawals: int
    rate: float
    seed: int


def withdrawn_name(run: str, number: int) -> str:
    """The consent that is withdrawn as the n-th of a run."""
    return f"bench-{run}-withdrawn-{number}"


def release_rows(task: Task) -> Iterator[ReleaseRow]:
    """Releases as a gateway places them for five items of one person, of the sizes that they have there."""
    dice = random.Random(task.seed)
    for _ in range(task.rows):
        consent = _draw(task, dice) if task.counted else None
        yield _release_row(consent, LIMITED if task.limited else WITHOUT_LIMITS, gateway=f"gateway-{1 + task.seed % 2}")


def _draw(task: Task, dice: random.Random) -> str:
    if task.withdrawals and dice.random() < SHARE_TO_BE_WITHDRAWN:
        return withdrawn_name(task.run, dice.randrange(task.withdrawals))
    return f"bench-{task.run}-{dice.randrange(CONSENTS)}"


def _release_row(consent: str | None, allowed: int, *, gateway: str) -> ReleaseRow:
    at_ms, rid, req = CLOCK.now_ms(), secrets.token_bytes(32), secrets.token_bytes(32)
    blind, req_blind = new_blind(), new_blind()
    named = {} if consent is None else {"consent": consent, "consent_blind": b64url(req_blind)}
    body = plain_body(
        {
            **named,
            "req_blind": b64url(req_blind),
            "request_id": secrets.token_hex(16),
            "officer": "officer-007",
            "case": "2026-0417",
            "subject": "110101199003070000",
            "signature_base": secrets.token_hex(500),
            "signature": b64url(secrets.token_bytes(64)),
            "parameters": {"items": list(ITEMS), "facts": {}, "range": None, "position": 0},
        }
    )
    leaf = make_release_leaf(
        at_ms=at_ms,
        gateway=gateway,
        consumer=f"{CONSUMER}/transfer",
        consumer_key=KID,
        provider=f"{PROVIDER}/population",
        provider_key=KID,
        service=SERVICE,
        schema=1,
        right=f"sha256:{'0' * 43}",
        purpose=PURPOSE,
        legal_basis="benchmark" if consent is None else "consent",
        snapshot=1_000_000,
        full=ITEMS[:3],
        masked=ITEMS[3:],
        facts=(),
        withheld={},
        sd_hash=b64url(rid),
        not_after_ms=at_ms + FAR_MS,
        rid=rid,
        consent=None if consent is None else blinded(consent.encode("ascii"), req_blind),
        req=blinded(req, req_blind),
        body_commit=commit_body(body, blind),
    )
    quota = DailyQuota(allowed, allowed, secrets.token_bytes(16))
    tokens = SearchTokens(1, secrets.token_bytes(32), secrets.token_bytes(32), secrets.token_bytes(32))
    return ReleaseRow(_grounds(consent, gateway, at_ms), SERVICE, rid, req, at_ms, Content(leaf, body, blind, tokens), quota)


def _grounds(consent: str | None, gateway: str, at_ms: int) -> Grounds:
    return Grounds(
        consumer_member=CONSUMER,
        consumer_subsystem=f"{CONSUMER}/transfer",
        consumer_key=KID,
        provider_member=PROVIDER,
        provider_subsystem=f"{PROVIDER}/population",
        provider_key=KID,
        service_version=f"{SERVICE}@1",
        right_id=f"sha256:{'0' * 43}",
        purpose=PURPOSE,
        gateway=gateway,
        consent=consent,
        basis_is_consent=consent is not None,
        consent_max_uses=None if consent is None else 1_000_000,
        snapshot_version=1_000_000,  # above any floor that the registry may have set
        not_after_ms=at_ms + FAR_MS,
    )


async def place(task: Task) -> Mapping[str, Any]:
    """Callers that each place a release as soon as the one before is answered."""
    rows = iter(list(release_rows(task)))
    desk = ReleaseDesk(task.url, SEALER)
    await desk.open()
    latencies: list[float] = []
    outcomes: dict[str, int] = {}
    latest: dict[str, int] = {}
    start = await _begin()

    async def call() -> None:
        while perf_counter() - start < task.seconds and (row := next(rows, None)) is not None:
            since = perf_counter()
            try:
                verdict = await desk.place(row)
            except Problem as problem:
                outcomes[problem.code] = outcomes.get(problem.code, 0) + 1
                continue
            outcomes[verdict.answer] = outcomes.get(verdict.answer, 0) + 1
            if verdict.answer is Answer.RELEASED:
                latencies.append(perf_counter() - since)
                if (consent := row.grounds.consent) is not None and "-withdrawn-" in consent:
                    latest[consent] = max(latest.get(consent, 0), verdict.serial or 0)

    cpu = _own_cpu()
    await asyncio.gather(*(call() for _ in range(task.callers)))
    seconds, cpu = perf_counter() - start, _own_cpu() - cpu
    await desk.close()
    return {"latencies": latencies, "seconds": seconds, "outcomes": outcomes, "latest": latest, "cpu": cpu}


async def fill(task: Task) -> Mapping[str, Any]:
    """Place `rows` releases, made as they are placed, so that a log of any length can be filled."""
    rows = release_rows(task)
    desk = ReleaseDesk(task.url, SEALER)
    await desk.open()
    start = await _begin()

    async def call() -> None:
        for row in rows:
            await _place_surely(desk, row)

    await asyncio.gather(*(call() for _ in range(task.callers)))
    seconds = perf_counter() - start
    await desk.close()
    return {"seconds": seconds}


async def _place_surely(desk: ReleaseDesk, row: ReleaseRow) -> None:
    """Place it, again where the desk refused because the disk stood still: its request id makes that harmless."""
    wanted = {Answer.RELEASED}
    while True:
        try:
            verdict = await desk.place(row)
        except Problem as problem:
            if problem.code != "audit-unavailable":
                raise
            wanted.add(Answer.REPLAYED)
            await asyncio.sleep(_STALLED_S)
            continue
        if verdict.answer not in wanted:
            raise RuntimeError(f"a release was answered with {verdict.answer}")
        return


async def keep_up(task: Task) -> Mapping[str, Any]:
    """Releases that fall due at a steady rate; of each its serial, and when it was acknowledged (unix milliseconds)."""
    desk = ReleaseDesk(task.url, SEALER)
    await desk.open()
    rows = list(release_rows(task))
    acknowledged: list[tuple[int, int]] = []
    outcomes: dict[str, int] = {}
    start = await _begin()

    async def call(row: ReleaseRow) -> None:
        try:
            verdict = await desk.place(row)
        except Problem as problem:
            outcomes[problem.code] = outcomes.get(problem.code, 0) + 1
        else:
            outcomes[verdict.answer] = outcomes.get(verdict.answer, 0) + 1
            if verdict.serial is not None:
                acknowledged.append((verdict.serial, CLOCK.now_ms()))

    async with asyncio.TaskGroup() as group:
        for number, row in enumerate(rows):
            if (pause := start + number / task.rate - perf_counter()) > 0:
                await asyncio.sleep(pause)
            group.create_task(call(row))
    seconds = perf_counter() - start
    await desk.close()
    return {"acknowledged": acknowledged, "outcomes": outcomes, "seconds": seconds}


async def withdraw(task: Task) -> Mapping[str, Any]:
    """Withdrawals that fall due at a steady rate; each one's time counts from when it was due."""
    desk = FenceDesk(task.url, SEALER)
    await desk.open()
    rows = [_fence_row(withdrawn_name(task.run, number)) for number in range(task.withdrawals)]
    latencies: list[float] = []
    serials: dict[str, int] = {}
    start = await _begin()

    async def call(row: FenceRow, due: float) -> None:
        receipt = await desk.fence(row)
        latencies.append(perf_counter() - due)
        serials[row.ground] = receipt.serial

    async with asyncio.TaskGroup() as group:
        for number, row in enumerate(rows):
            due = start + number / task.rate
            await asyncio.sleep(max(0.0, due - perf_counter()))
            group.create_task(call(row, due))
    await desk.close()
    return {"latencies": latencies, "serials": serials}


def _fence_row(consent: str) -> FenceRow:
    at_ms, blind = CLOCK.now_ms(), new_blind()
    body = plain_body({"consent": consent, "text": secrets.token_hex(60)})
    leaf = make_fence_leaf(
        at_ms=at_ms,
        ground_kind=GroundKind.CONSENT,
        ground=blinded(consent.encode("ascii"), blind),
        cause="citizen",
        body_commit=commit_body(body, blind),
    )
    return FenceRow(GroundKind.CONSENT, consent, "citizen", at_ms, Content(leaf, body, blind))


async def _begin() -> float:
    """Say that all is prepared, wait for the word, and begin."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    return perf_counter()


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Do the task that the first argument names."""
    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    work = {"place": place, "withdraw": withdraw, "fill": fill, "keep-up": keep_up}[task.act]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(work(task))), flush=True)


if __name__ == "__main__":
    main()
