"""Whatever is killed, whenever: what was acknowledged is there afterwards (I-9), and the log is whole."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import pytest

from audit.client import EpochKeys
from deploy.home import CONSUMER
from deploy.postgres.sql import fetch_value
from deploy.session import Session
from exchange.canonical import canonical
from tests.crash.breakable import BreakableExchange, children_of, wait_until
from tests.crash.load import Load, Promises
from tests.support.left_log import whole_report
from tests.support.sealing import bodies_of, open_members

KILLS, CLIENTS, SEED = 20, 4, 20260417
AT_ONCE = 2
"""How many may be on their way back when the next one is killed."""
BACKEND = "a process of postgres"
"""One of the server's own processes: the server takes that for a crash, and starts over."""
VICTIMS = (
    *("gateway-1", "gateway-2", "public-security", "tax", "social-security", "identity", "registry"),
    *("integrator", "audit", "postgres", "nats", BACKEND),
)


@pytest.mark.invariant("I-1")
@pytest.mark.invariant("I-9")
@pytest.mark.timeout(240)
async def test_twenty_kills_lose_nothing_that_was_acknowledged(
    exchange: BreakableExchange, session: Session, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(SEED)
    victims = [*dice.sample(VICTIMS, len(VICTIMS)), *dice.choices(VICTIMS, k=KILLS - len(VICTIMS))]
    load = Load(session, exchange.cast.buyer.id, SEED)
    load.start(CLIENTS)
    kills: list[asyncio.Task[tuple[str, float]]] = []
    try:
        await load.until_promised(10)
        for victim in victims:
            while len(recovering := [each for each in kills if not each.done()]) >= AT_ONCE:
                await asyncio.wait(recovering, return_when=asyncio.FIRST_COMPLETED)
            kills.append(asyncio.create_task(asyncio.to_thread(kill, exchange, victim, dice.random())))
            await load.until_promised(dice.randint(1, 6))
        recoveries = await asyncio.gather(*kills)
        await asyncio.to_thread(exchange.wait_whole)
        await load.until_promised(10)
    finally:
        await load.stop()
    promises = load.promises
    record_property(
        "promises", {"receipts": len(promises.receipts), "begun": len(promises.begun), "consents": len(promises.withdrawn)}
    )
    record_property("refused", dict(promises.refused))
    record_property("recovery_s", sorted((victim, round(seconds, 2)) for victim, seconds in recoveries))
    assert promises.broken == []
    await require_kept(exchange, promises)
    report = await whole_report(exchange)
    record_property("log", f"{report.size} entries, {report.checkpoints} checkpoints")
    assert report.ok, report.describe()


def kill(exchange: BreakableExchange, victim: str, chance: float) -> tuple[str, float]:
    """Kill a part (SIGKILL) as soon as it runs; its name, and after how many seconds it was up and ready again.

    Others are killed meanwhile, so it may have to wait for what it needs itself.
    """
    part = exchange.parts["postgres" if victim == BACKEND else victim]
    wait_until(part.is_ready)
    pid, began = part.pid, time.monotonic()
    if victim == BACKEND:
        assert pid is not None
        children = children_of(pid)
        with suppress(ProcessLookupError):
            os.kill(children[int(chance * len(children))], signal.SIGKILL)
        wait_until(lambda: takes_queries(exchange))
    else:
        part.signal(signal.SIGKILL)
        wait_until(lambda: part.pid != pid and part.is_ready())
    return victim, time.monotonic() - began


def takes_queries(exchange: BreakableExchange) -> bool:
    """Whether the database answers."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return fetch_value(exchange.postgres.superuser_url, "select 1") == 1
    return False


async def require_kept(exchange: BreakableExchange, promises: Promises) -> None:
    """Every acknowledged release and every change of a consent is in the log, and no request id has released twice."""
    keys = EpochKeys.load(exchange.home.secrets / "epoch-keys.json")
    connection = await asyncpg.connect(exchange.database().owner_url)
    try:
        leaves = [row["leaf"] for row in await connection.fetch("SELECT leaf FROM audit.entry WHERE kind = 'release'")]
        assert {fetched.answer.receipt.entry for fetched in promises.receipts} <= set(leaves)
        rids = [json.loads(leaf)["rid"] for leaf in leaves]
        assert len(rids) == len(set(rids))
        released = {row["rid"] for row in await connection.fetch("SELECT rid FROM audit.release_id")}
        assert {keys.rid(CONSUMER, request_id) for request_id in promises.begun} <= released
        reader = bodies_of(exchange)
        entered = b"".join(
            canonical(open_members(row["body"], row["blind"], reader))
            for row in await connection.fetch(
                "SELECT body, blind FROM audit.body JOIN audit.entry USING (serial) WHERE kind IN ('grant', 'withdraw')"
            )
        )
        assert [consent for consent in promises.granted if entered.count(consent.encode("ascii")) < 1] == []
        fenced = {row["ground"] for row in await connection.fetch("SELECT ground FROM audit.fence WHERE kind = 'consent'")}
        assert set(promises.withdrawn) <= fenced
        states = await connection.fetch("SELECT id, state FROM identity.consent WHERE id = ANY ($1)", promises.withdrawn)
        assert {row["state"] for row in states} == {"withdrawn"}
        assert len(states) == len(promises.withdrawn)
    finally:
        await connection.close()
