"""A subscriber's process: pulls, verifies, and puts into its inbox, durably, until it has what it was told to wait for.

Started by `events.py` with one JSON object on standard input; says `ready`, and when all is there a JSON line with the moment.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg

from deploy.home import Home
from deploy.session import Session, open_session
from exchange.delivery import Delivery
from gateway.client import Inbox

PAGE = 256


async def read_all(session: Session, pool: asyncpg.Pool[Any], system: str, identifier: str, count: int) -> int:
    """The effect of each delivery of one subscription, up to a number of them; how many effects there were."""
    subscriber, inbox, effects = session.subscriber(system), Inbox(pool, identifier), 0

    async def count_it(_connection: object, _delivery: Delivery) -> None:
        nonlocal effects
        effects += 1

    async for page in subscriber.follow(identifier, limit=PAGE):
        if (await inbox.handle(page, count_it)).sequence >= count:
            break
    return effects


async def run(order: dict[str, Any]) -> None:
    """Follow one order."""
    async with (
        open_session(Home(Path(order["root"]))) as session,
        asyncpg.create_pool(order["inboxes"], min_size=1, max_size=4) as pool,
    ):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        works = [read_all(session, pool, order["system"], identifier, order["count"]) for identifier in order["subscriptions"]]
        effects = await asyncio.gather(*works)
        sys.stdout.write(json.dumps({"done_at": time.monotonic(), "effects": sum(effects)}) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)  # its processor time is read before it ends


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.stdin.readline())))
