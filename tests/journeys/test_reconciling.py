"""Access records of real departments against the log of the whole run: only what somebody put there differs."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from audit.client import ReconciliationRequest
from deploy.home import CONSUMER, provider_subsystems
from deploy.reconcile_commands import windows
from tests.journeys.figures import FIGURES
from tests.journeys.stage import Stage
from tests.support.audit_rows import now_ms

MEMBER = "public-security"


async def differences(stage: Stage, member: str) -> list[Any]:
    until = datetime.fromtimestamp(now_ms() / 1000, UTC) + timedelta(seconds=1)
    audit = stage.session.audit(await stage.session.token("auditor"))
    found: list[Any] = []
    async for begins, ends, page in windows(stage.session, member, until - timedelta(hours=2), until):
        request = ReconciliationRequest(
            provider=provider_subsystems()[member], since=begins, until=ends, records=page, reason="运行对账"
        )
        found += (await audit.reconcile(request)).findings
    return found


@pytest.mark.invariant("I-21")
async def test_what_a_rogue_gateway_would_leave_behind_is_found_and_nothing_else_is(stage: Stage) -> None:
    kinds = {each.difference.value for member in provider_subsystems() for each in await differences(stage, member)}
    assert not kinds & {"unknown-to-log", "unknown-to-provider", "other-names", "other-parties"}
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
        found = [each for each in await differences(stage, MEMBER) if each.difference.value == "unknown-to-log"]
        assert len(found) == 1
        assert "rogue gateway" in found[0].en
    finally:
        await connection.execute("DELETE FROM access_record WHERE req = $1", req)
        await connection.close()
    FIGURES["I-21 reconciliation of the run"] = f"one planted record found; other differences: {sorted(kinds) or 'none'}"
