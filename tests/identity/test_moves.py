"""The table of allowed moves, in the model and a second time in the database."""

from __future__ import annotations

import itertools

import asyncpg
import pytest

from deploy.postgres.roles import Database
from exchange.problem import Problem
from identity.model import ConsentState, is_allowed_move, require_move
from tests.identity.office import CITIZEN

S = ConsentState
ALLOWED = {
    (S.REQUESTED, S.GRANTED),
    (S.REQUESTED, S.DECLINED),
    (S.REQUESTED, S.LAPSED),
    (S.GRANTED, S.WITHDRAWN),
    (S.GRANTED, S.EXPIRED),
    (S.GRANTED, S.USED_UP),
}
PAIRS = list(itertools.product(S, S))
HAS_GRANT = {S.GRANTED, S.WITHDRAWN, S.EXPIRED, S.USED_UP}


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_only_the_moves_of_the_table_are_allowed(before: ConsentState, after: ConsentState) -> None:
    assert is_allowed_move(before, after) == ((before, after) in ALLOWED)
    if (before, after) not in ALLOWED:
        with pytest.raises(Problem, match="conflict"):
            require_move(before, after)


async def insert(connection: asyncpg.Connection, number: int, state: ConsentState) -> str:
    consent_id = f"00000000-0000-4000-8000-{number:012d}"
    has_grant, has_ended = state in HAS_GRANT, state not in (S.REQUESTED, S.GRANTED)
    await connection.execute(
        "INSERT INTO identity.consent (id, subject, subject_kind, consumer, purpose, terms, fingerprint, texts, state,"
        ' requested_at, answer_by, ended_at, withdrawal_asked_at, granted_by, "grant", blind, valid_until)'
        " VALUES ($1, $2, 'person', 'c', 'p', '{}', sha256(''), '[]', $3, 1, 2, $4, $5, $6, $7, $8, $9)",
        consent_id,
        CITIZEN,
        state.value,
        5 if has_ended else None,
        4 if state is S.WITHDRAWN else None,
        *(("self", "jws", bytes(32), 9) if has_grant else (None, None, None, None)),
    )
    return consent_id


async def test_the_database_refuses_every_other_move_by_itself(database: Database) -> None:
    connection = await asyncpg.connect(database.url("yitong_identity"))
    try:
        for number, (before, after) in enumerate(PAIRS):
            consent_id = await insert(connection, number, before)
            grant = ("self", "jws", bytes(32), 9) if after in HAS_GRANT else (None, None, None, None)
            move = connection.execute(
                "UPDATE identity.consent SET state = $2, ended_at = $3, withdrawal_asked_at = $4, granted_by = $5,"
                ' "grant" = $6, blind = $7, valid_until = $8 WHERE id = $1',
                consent_id,
                after.value,
                None if after in (S.REQUESTED, S.GRANTED) else 5,
                4 if after is S.WITHDRAWN else None,
                *grant,
            )
            if (before, after) in ALLOWED or before is after:
                await move
            else:
                with pytest.raises(asyncpg.PostgresError):
                    await move
    finally:
        await connection.close()


async def test_what_was_asked_and_granted_never_changes(database: Database) -> None:
    changes = ["subject = '341503198512310014'", "terms = '[]'", "texts = '[1]'", "\"grant\" = 'other'", "consumer = 'x'"]
    connection = await asyncpg.connect(database.url("yitong_identity"))
    try:
        consent_id = await insert(connection, 1, S.GRANTED)
        for change in changes:
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute(f"UPDATE identity.consent SET {change} WHERE id = $1", consent_id)
    finally:
        await connection.close()
