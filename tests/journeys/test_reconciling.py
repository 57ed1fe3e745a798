"""Access records of real departments against the log of the whole run: only what somebody put there differs."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from audit.client import Finding, RecordRequest
from deploy.home import CONSUMER, provider_subsystems
from deploy.reconcile_commands import hold_against
from deploy.record_commands import load_beside
from deploy.unused_commands import find_unused
from exchange.canonical import b64url, b64url_decode
from tests.journeys.figures import FIGURES
from tests.journeys.stage import IDENTITY, Stage
from tests.support.audit_rows import now_ms
from tests.support.page import Shell

MEMBER = "public-security"


async def differences(stage: Stage, member: str) -> list[Finding]:
    until = datetime.fromtimestamp(now_ms() / 1000, UTC) + timedelta(seconds=1)
    return (await hold_against(stage.session, member, until - timedelta(hours=2), until, reason="运行对账")).finish()


async def test_one_request_is_shown_from_both_sides(stage: Stage, tmp_path: Path) -> None:
    fetched = await stage.fetch(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, facts={"is_adult": {}}))
    request = RecordRequest(consumer=CONSUMER, request_id=fetched.request_id, reason="核对一次请求")
    [seen] = await load_beside(stage.session, request, "auditor")
    assert (seen.is_known, seen.findings) == (True, ())
    assert seen.record is not None
    assert (seen.record.names, seen.entry.items.facts) == (("is_adult",), ["is_adult"])
    shell = Shell(tmp_path, stage.exchange.home.root)
    assert "log and provider agree" in shell.type(f"yitong audit record {fetched.request_id}")
    [told] = json.loads(shell.type(f"yitong audit record {fetched.request_id} --json"))
    assert (told["agrees"], told["provider"]["req"]) == (True, seen.record.req)
    # A provider that has lost its record, or never had it, differs.
    connection = await asyncpg.connect(stage.exchange.database().url("yitong_public_security"))
    req, another = b64url_decode(seen.record.req), secrets.token_bytes(32)
    renamed = "UPDATE access_record SET req = $2 WHERE req = $1"
    try:
        await connection.execute(renamed, req, another)
        [alone] = await load_beside(stage.session, request, "auditor")
        assert [finding.difference.value for finding in alone.findings] == ["unknown-to-provider"]
    finally:
        await connection.execute(renamed, another, req)
        await connection.close()
    assert [each.findings for each in await load_beside(stage.session, request, "auditor")] == [()]


async def test_rights_of_the_snapshot_that_nobody_uses_are_found(stage: Stage) -> None:
    await stage.fetch(stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, facts={"is_adult": {}}))
    service = f"{provider_subsystems()[MEMBER]}/resident-identity"
    unused = {(right.consumer, right.service) for right in await find_unused(stage.session, 1, "核对授权", "auditor")}
    known = {(right.consumer, right.service) for right in stage.session.trust.current().every_right}
    assert unused < known
    assert (CONSUMER, service) in known - unused


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
