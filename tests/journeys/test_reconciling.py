"""Access records of real departments against the log of the whole run: only what somebody put there differs."""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg

from audit.client import Finding
from deploy.home import CONSUMER, provider_subsystems
from deploy.reconcile_commands import hold_against
from exchange.canonical import b64url
from tests.journeys.figures import FIGURES
from tests.journeys.stage import Stage
from tests.support.audit_rows import now_ms

MEMBER = "public-security"


async def differences(stage: Stage, member: str) -> list[Finding]:
    until = datetime.fromtimestamp(now_ms() / 1000, UTC) + timedelta(seconds=1)
    return (await hold_against(stage.session, member, until - timedelta(hours=2), until, reason="运行对账")).finish()


async def test_what_a_rogue_gateway_would_leave_behind_is_found_and_nothing_else_is(stage: Stage) -> None:
    before = {member: await differences(stage, member) for member in provider_subsystems()}
    kinds = Counter(each.difference.value for found in before.values() for each in found)
    # Gateways were killed in this run, and answers came too late: these are differences. Nobody answered in another's name.
    assert not kinds.keys() & {"unknown-to-provider", "other-names", "other-parties"}
    req = secrets.token_bytes(32)
    connection = await asyncpg.connect(stage.exchange.database().url("yitong_public_security"))
    try:
        await connection.execute(
            "INSERT INTO access_record (req, consumer, service, right_id, subject_token, names, outcome, record_id)"
            " VALUES ($1, $2, $3, 'sha256:right', $4, '{name}', 'answered', 'rogue')",
            req,
            CONSUMER,
            f"{provider_subsystems()[MEMBER]}/resident-identity",
            secrets.token_bytes(32),
        )
        found = {each.req: each for each in await differences(stage, MEMBER)}
        assert found[b64url(req)].difference.value == "unknown-to-log"
        assert len(found) == len({each.req for each in before[MEMBER]}) + 1
    finally:
        await connection.execute("DELETE FROM access_record WHERE req = $1", req)
        await connection.close()
    FIGURES["reconciliation of the run"] = f"a planted record found; others: {dict(kinds) or 'none'}"
