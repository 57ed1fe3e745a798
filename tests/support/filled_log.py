"""A large log in little time: the server makes its entries up. For whoever asks how it is searched; nothing in it is proven."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from audit.search_store import Sought

DAYS: Final = 60
CHUNK: Final = 250_000
NOTHING: Final = Sought(
    since=None,
    until=None,
    consumer=None,
    provider=None,
    service=None,
    purpose=None,
    kind=None,
    code=None,
    subjects=None,
    officers=None,
    cases=None,
    before=None,
    limit=51,
    within=None,
)
_PARTITIONS: Final = f"SELECT audit.make_body_partitions((now() - interval '{DAYS + 31} days')::date, 6)"
# Spread by multiplying with primes, so that neighbours have little in common, as in life. Members ask unequally much: the
# square of a fraction makes a few of them large.
_ENTRIES: Final = f"""
INSERT INTO audit.entry (serial, at, kind, gateway, consumer, provider, service, purpose, code, leaf, leaf_hash)
SELECT n, now() - interval '{DAYS} days' + n::float8 / $3 * interval '{DAYS} days',
       CASE WHEN n % 20 = 0 THEN 'read' WHEN n % 7 = 0 THEN 'deny' ELSE 'release' END, 'gateway-1',
       CASE WHEN n % 20 <> 0 THEN c.consumer END,
       CASE WHEN n % 20 <> 0 THEN p.provider END,
       CASE WHEN n % 20 <> 0 THEN p.provider || '/data-' || n % 5 END,
       CASE WHEN n % 20 <> 0 THEN 'purpose-' || floor(40 * ((n * 104729 % 10007) / 10007.0) ^ 2)
            ELSE 'supervision' END,
       CASE WHEN n % 20 <> 0 AND n % 7 = 0 THEN (ARRAY['right-missing', 'consent-withdrawn', 'quota-exceeded'])[1 + n % 3] END,
       l.leaf, sha256(l.leaf)
FROM generate_series($1::bigint, $2::bigint) AS n,
     LATERAL (SELECT 'CN-YA/GOV/member-' || floor(100 * ((n * 7919 % 10007) / 10007.0) ^ 2) || '/system' AS consumer) c,
     LATERAL (SELECT 'CN-YA/GOV/source-' || floor(60 * ((n * 15485863 % 10007) / 10007.0) ^ 2) || '/records' AS provider) p,
     LATERAL (SELECT convert_to('{{"kind":"made-up","n":' || n || ',"padding":"' || repeat('x', 500) || '"}}', 'UTF8') AS leaf) l
"""
_BODIES: Final = """
INSERT INTO audit.body (serial, at, body, token_epoch, subject_token, officer_token, case_token)
SELECT e.serial, e.at, '\\x01'::bytea || sha256(int8send(e.serial)), 1,
       sha256('subject ' || int8send(e.serial * 7919 % 500009)), sha256('officer ' || int8send(e.serial * 104729 % 5003)),
       sha256('case ' || int8send(e.serial / 5))
FROM audit.entry e WHERE e.serial BETWEEN $1 AND $2
"""
_PLACES: Final = "INSERT INTO audit.sequenced (tree_index, serial) SELECT n - 1, n FROM generate_series($1::bigint, $2::bigint) n"


@dataclass(frozen=True, slots=True)
class FilledLog:
    """大规模日志. What is in it to look for: somebody who is there, and the newest time."""

    entries: int
    subject: bytes
    officer: bytes
    case: bytes
    newest: datetime


async def fill_log(owner: asyncpg.Connection, entries: int) -> FilledLog:
    """Make that many entries up over 60 days, as a superuser for whom triggers do not count; then let the server count."""
    await owner.execute("SET session_replication_role = replica; SET synchronous_commit = off; SET statement_timeout = 0")
    await owner.execute(_PARTITIONS)
    for first in range(1, entries + 1, CHUNK):
        last = min(first + CHUNK - 1, entries)
        await owner.execute(_ENTRIES, first, last, float(entries))
        await owner.execute(_BODIES, first, last)
        await owner.execute(_PLACES, first, last)
    await owner.execute("SELECT setval('audit.entry_serial', $1)", entries)
    for table in ("entry", "body", "sequenced"):
        await owner.execute(f"VACUUM ANALYZE audit.{table}")
    await owner.execute("RESET session_replication_role")
    [(subject, officer, case)] = await owner.fetch(
        "SELECT subject_token, officer_token, case_token FROM audit.body WHERE serial = $1", entries // 2 + 1
    )
    newest = await owner.fetchval("SELECT at FROM audit.entry WHERE serial = $1", entries)
    return FilledLog(entries, subject, officer, case, newest)
