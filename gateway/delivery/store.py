"""All that is asked of the deliverer's own schema."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from exchange.delivery import Place
from exchange.event import Head
from gateway.delivery.model import DeadLetter, Evidence, Item, Match, Subscription, Taken, number
from registry.client import EventForm

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
Pool: TypeAlias = "asyncpg.Pool[Any]"

_COLUMNS: Final = (
    "id, consumer, service, types, purpose, form, everybody, officer, case_number, webhook, kid, base, signature, made_at,"
    " ended_at, sequence, hash, acknowledged, failures, refusals, next_try_at"
)
# Locked in the order of their ids, so that two who number never wait for each other.
_MATCH: Final = """
WITH wanted AS MATERIALIZED (
    SELECT id FROM subscription WHERE ended_at IS NULL AND service = ANY($1::text[]) ORDER BY id FOR UPDATE
)
SELECT s.id, s.sequence, s.hash, p.consent, e.position::int - 1 AS position
FROM unnest($1::text[], $2::text[], $3::bytea[]) WITH ORDINALITY AS e(service, type, token, position)
JOIN subscription s ON s.service = e.service AND e.type = ANY(s.types) AND s.id IN (SELECT id FROM wanted)
LEFT JOIN person p ON p.subscription = s.id AND p.token = e.token
WHERE s.everybody OR p.token IS NOT NULL
ORDER BY position, s.id
"""
_FRESH: Final = "failures = 0, refusals = 0, next_try_at = 0"
"""The next number has not been tried."""
_ITEMS: Final = """
SELECT i.sub_seq, i.sub_prev, i.event_id, i.consent, e.event
FROM item i LEFT JOIN event e ON e.member = i.member AND e.sequence = i.sequence
WHERE i.subscription = $1 AND i.sub_seq > $2 ORDER BY i.sub_seq LIMIT $3
"""


class Moved(Exception):
    """Somebody else has taken events of this publisher in."""


class OverLimit(Exception):
    """More people were to be put on lists than the right allows on one day."""


async def find_head(pool: Pool, member: str) -> Head:
    """Where a member's chain stands; a member that was never heard begins at its beginning."""
    row = await pool.fetchrow("SELECT sequence, hash FROM publisher WHERE member = $1", member)
    return Head() if row is None else Head(row["sequence"], row["hash"])


async def take_in(pool: Pool, member: str, head: Head, taken: Sequence[Taken], *, at_ms: int) -> dict[str, int]:
    """Keep events that follow `head` and give each subscriber its numbers, in one commit; the subscriptions' new last numbers.

    Raises Moved if the chain stands elsewhere.
    """
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO publisher (member) VALUES ($1) ON CONFLICT DO NOTHING", member)
        row = await connection.fetchrow("SELECT sequence, hash FROM publisher WHERE member = $1 FOR UPDATE", member)
        if row is None or (row["sequence"], row["hash"]) != (head.sequence, head.hash):
            raise Moved(member)
        last = taken[-1].event
        await connection.execute(
            "UPDATE publisher SET sequence = $2, hash = $3 WHERE member = $1", member, last.claims.sequence, last.hash
        )
        claims = [each.event.claims for each in taken]
        await connection.copy_records_to_table(
            "event",
            columns=("member", "sequence", "id", "service", "type", "token", "event", "taken_at"),
            records=[
                (member, said.sequence, said.event_id, said.service, said.type, each.token, each.text, at_ms)
                for said, each in zip(claims, taken, strict=True)
            ],
        )
        rows = await connection.fetch(
            _MATCH, [said.service for said in claims], [said.type for said in claims], [each.token for each in taken]
        )
        matches = [Match(row["id"], row["sequence"], row["hash"], row["consent"], row["position"]) for row in rows]
        return await _number(connection, member, matches, taken)


async def _number(connection: Connection, member: str, matches: Sequence[Match], taken: Sequence[Taken]) -> dict[str, int]:
    numbered, heads = number(matches, taken)
    if not numbered:
        return {}
    await connection.copy_records_to_table(
        "item",
        columns=("subscription", "sub_seq", "sub_prev", "event_id", "member", "sequence", "consent"),
        records=[
            (
                *(each.place.subscription, each.place.sequence, each.place.previous, each.place.event_id),
                *(member, taken[each.position].event.claims.sequence, each.consent),
            )
            for each in numbered
        ],
    )
    await connection.execute(
        "UPDATE subscription s SET sequence = h.sequence, hash = h.hash"
        " FROM unnest($1::text[], $2::bigint[], $3::text[]) AS h(id, sequence, hash) WHERE s.id = h.id",
        list(heads),
        [sequence for sequence, _ in heads.values()],
        [hashed for _, hashed in heads.values()],
    )
    return {name: sequence for name, (sequence, _) in heads.items()}


async def add_subscription(pool: Pool, subscription: Subscription) -> None:
    """Keep a new subscription: it is told of what is taken in from now on."""
    evidence = subscription.evidence
    await pool.execute(
        "INSERT INTO subscription (id, consumer, service, types, purpose, form, everybody, officer, case_number, webhook, kid,"
        " base, signature, made_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        *(subscription.id, subscription.consumer, subscription.service, list(subscription.types), subscription.purpose),
        *(subscription.form.value, subscription.everybody, subscription.officer, subscription.case, subscription.webhook),
        *(evidence.kid, evidence.base, evidence.signature, subscription.made_at),
    )


async def find_subscription(pool: Pool, identifier: str) -> Subscription | None:
    """A subscription, whoever's."""
    row = await pool.fetchrow(f"SELECT {_COLUMNS} FROM subscription WHERE id = $1", identifier)  # noqa: S608 - fixed columns
    return None if row is None else _subscription(row)


async def list_subscriptions(pool: Pool, consumer: str, *, after: str = "", limit: int = 100) -> list[Subscription]:
    """A consumer's subscriptions in the order of their ids."""
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM subscription WHERE consumer = $1 AND id > $2 ORDER BY id LIMIT $3",  # noqa: S608 - fixed columns
        *(consumer, after, limit),
    )
    return [_subscription(row) for row in rows]


async def list_due(pool: Pool, *, now_ms: int, limit: int = 1_000) -> list[Subscription]:
    """Subscriptions with a webhook that have something to be sent now."""
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM subscription WHERE webhook IS NOT NULL AND ended_at IS NULL"  # noqa: S608 - fixed columns
        " AND acknowledged < sequence AND next_try_at <= $1 ORDER BY next_try_at LIMIT $2",
        *(now_ms, limit),
    )
    return [_subscription(row) for row in rows]


def _subscription(row: asyncpg.Record) -> Subscription:
    return Subscription(
        *(row["id"], row["consumer"], row["service"], tuple(row["types"]), row["purpose"], EventForm(row["form"])),
        *(row["everybody"], row["officer"], row["case_number"], row["webhook"]),
        evidence=Evidence(row["kid"], row["base"], row["signature"]),
        made_at=row["made_at"],
        ended_at=row["ended_at"],
        sequence=row["sequence"],
        hash=row["hash"],
        acknowledged=row["acknowledged"],
        failures=row["failures"],
        refusals=row["refusals"],
        next_try_at=row["next_try_at"],
    )


async def renew(pool: Pool, identifier: str, evidence: Evidence) -> None:
    """Replace the signature on which a subscription rests."""
    await pool.execute(
        "UPDATE subscription SET kid = $2, base = $3, signature = $4 WHERE id = $1",
        *(identifier, evidence.kid, evidence.base, evidence.signature),
    )


async def end_subscription(pool: Pool, identifier: str, *, at_ms: int) -> None:
    """End it: it is given no more numbers; what it has can be read until it is too old."""
    await pool.execute("UPDATE subscription SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL", identifier, at_ms)


async def list_items(pool: Pool, subscription: str, *, after: int, limit: int) -> list[Item]:
    """Numbers of a subscription after one, with their events as far as they are still kept."""
    rows = await pool.fetch(_ITEMS, subscription, after, limit)
    return [
        Item(Place(subscription, row["sub_seq"], row["sub_prev"], row["event_id"]), row["consent"], row["event"]) for row in rows
    ]


async def count_transmission(pool: Pool, subscription: str) -> int:
    """The number of the transmission that begins now."""
    number: int = await pool.fetchval(
        "UPDATE subscription SET transmissions = transmissions + 1 WHERE id = $1 RETURNING transmissions", subscription
    )
    return number


async def acknowledge(pool: Pool, subscription: str, cursor: int) -> int:
    """The subscriber has everything up to `cursor` for good; the last number that is acknowledged now."""
    found: int | None = await pool.fetchval(
        f"UPDATE subscription SET acknowledged = greatest(acknowledged, least($2, sequence)), {_FRESH}"  # noqa: S608 - fixed
        " WHERE id = $1 RETURNING acknowledged",
        *(subscription, cursor),
    )
    return found or 0


async def postpone(pool: Pool, subscription: str, *, failures: int, refusals: int, next_try_at: int) -> None:
    """The subscriber's address did not take the next number; try again then."""
    await pool.execute(
        "UPDATE subscription SET failures = $2, refusals = $3, next_try_at = $4 WHERE id = $1",
        *(subscription, failures, refusals, next_try_at),
    )


async def bury(pool: Pool, subscription: str, sequence: int, *, tries: int, reason: str, at_ms: int) -> None:
    """Put a number among the dead letters and go on behind it, in one commit."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO dead_letter (subscription, sub_seq, tries, reason, died_at) VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (subscription, sub_seq) DO UPDATE SET tries = dead_letter.tries + excluded.tries,"
            " reason = excluded.reason, died_at = excluded.died_at, outcome = NULL",
            *(subscription, sequence, tries, reason, at_ms),
        )
        await connection.execute(
            f"UPDATE subscription SET acknowledged = greatest(acknowledged, $2), {_FRESH} WHERE id = $1",  # noqa: S608 - fixed
            *(subscription, sequence),
        )


async def list_dead(pool: Pool, subscription: str, *, limit: int = 1_000) -> list[DeadLetter]:
    """The dead letters of a subscription, oldest number first."""
    rows = await pool.fetch(
        "SELECT sub_seq, tries, reason, died_at, run_again_at, run_again_by, outcome FROM dead_letter"
        " WHERE subscription = $1 ORDER BY sub_seq LIMIT $2",
        *(subscription, limit),
    )
    return [DeadLetter(*row.values()) for row in rows]


async def list_all_dead(pool: Pool, *, after: tuple[str, int] = ("", 0), limit: int = 100) -> list[tuple[str, DeadLetter]]:
    """Dead letters of whichever subscription that nobody has taken since, by subscription and number."""
    rows = await pool.fetch(
        "SELECT subscription, sub_seq, tries, reason, died_at, run_again_at, run_again_by, outcome FROM dead_letter"
        " WHERE (subscription, sub_seq) > ($1, $2) AND outcome IS DISTINCT FROM 'taken' ORDER BY subscription, sub_seq LIMIT $3",
        *(*after, limit),
    )
    return [(row["subscription"], DeadLetter(*list(row.values())[1:])) for row in rows]


async def note_run_again(pool: Pool, subscription: str, sequence: int, *, by: str, outcome: str, at_ms: int) -> None:
    """Say who had a dead letter sent again, when, and what came of it."""
    await pool.execute(
        "UPDATE dead_letter SET run_again_at = $3, run_again_by = $4, outcome = $5 WHERE subscription = $1 AND sub_seq = $2",
        *(subscription, sequence, at_ms, by, outcome),
    )


async def add_people(
    pool: Pool, subscription: Subscription, people: Sequence[tuple[bytes, str | None]], *, limit: int, day: date, at_ms: int
) -> None:
    """Put people on a subscriber's list. Raises OverLimit, adding nobody, where its consumer would exceed `limit` on the day.

    Somebody who is on the list already gets the consent that is named now, and counts as well.
    """
    async with pool.acquire() as connection, connection.transaction():
        added: int = await connection.fetchval(
            "INSERT INTO people_added (consumer, service, day, added) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (consumer, service, day) DO UPDATE SET added = people_added.added + excluded.added RETURNING added",
            *(subscription.consumer, subscription.service, day, len(people)),
        )
        if added > limit:
            raise OverLimit(subscription.id)
        await connection.execute(
            "INSERT INTO person (subscription, token, consent, added_at) SELECT $1, p.token, p.consent, $4"
            " FROM unnest($2::bytea[], $3::text[]) AS p(token, consent)"
            " ON CONFLICT (subscription, token) DO UPDATE SET consent = excluded.consent",
            *(subscription.id, [token for token, _ in people], [consent for _, consent in people], at_ms),
        )


async def remove_people(pool: Pool, subscription: str, tokens: Sequence[bytes]) -> None:
    """Take people off a subscriber's list."""
    await pool.execute("DELETE FROM person WHERE subscription = $1 AND token = ANY($2::bytea[])", subscription, list(tokens))


async def count_people(pool: Pool, subscription: str) -> int:
    """How many people are on a list."""
    found: int = await pool.fetchval("SELECT count(*) FROM person WHERE subscription = $1", subscription)
    return found


async def remove_old(pool: Pool, *, before_ms: int, limit: int = 10_000) -> int:
    """Remove events that were taken in before; their numbers stay, so that no chain has a hole. The number removed."""
    done = await pool.execute(
        "DELETE FROM event WHERE (member, sequence) IN (SELECT member, sequence FROM event WHERE taken_at < $1 LIMIT $2)",
        *(before_ms, limit),
    )
    return int(done.rpartition(" ")[2])
