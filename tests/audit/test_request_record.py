"""The record of one request says all that the log holds of it, proves it, and stays within an auditor's reach."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from audit.auditor_client import AuditClient
from audit.entries import commit_body, make_deny_leaf, new_blind, plain_body
from audit.model import Content, EntryKind, EntryRow, GroundKind, Heading
from audit.proof import TrustPolicy, verify_proof
from audit.request_record import CHECKS, CheckState, RecordedEntry, RecordRequest, checks_of
from audit.search import BodyState
from exchange.canonical import b64url_decode
from exchange.problem import Problem
from gateway.model import CHECKS as GATEWAY_CHECKS
from tests.audit.reference import LOG
from tests.audit.scene import (
    ALICE,
    AUDIT_URL,
    BANK,
    CONSUMER,
    PROVIDER,
    REASON,
    ReadingSide,
    Scene,
)
from tests.support.audit_rows import now_ms, outcome_row

BANK_MEMBER = BANK.rpartition("/")[0]


async def recorded(auditor: AuditClient, serial: int) -> RecordedEntry:
    [entry] = (await auditor.record(RecordRequest(serial=serial, reason=REASON))).entries
    return entry


async def tell(scene: Scene, *, sent: tuple[tuple[int, int], ...] = (), aborted: tuple[int, ...] = ()) -> int:
    """What the gateway says of its releases; the entry's serial."""
    return await scene.denials.record_outcome(outcome_row(sent=sent, aborted=aborted))


async def test_a_release_is_told_with_its_checks_grounds_items_outcome_bytes_and_proof(
    scene: Scene, auditor: AuditClient
) -> None:
    serial = await scene.release(consent="consent-1")
    outcome = await tell(scene, sent=((serial, serial),))
    await scene.integrate()
    entry = await recorded(auditor, serial)
    assert (entry.opened.serial, entry.decision, entry.code) == (serial, "permit", None)
    assert {check.state for check in entry.checks} == {CheckState.PASSED}
    assert (entry.items.full, entry.items.masked, entry.items.facts, entry.items.withheld) == (["name"], ["address"], [], {})
    assert entry.opened.body_state is BodyState.OPEN
    assert entry.opened.body is not None
    assert entry.opened.body["subject"] == ALICE
    assert entry.opened.commitment_holds
    assert entry.outcome is not None
    assert (entry.outcome.serial, entry.outcome.sent) == (outcome, True)
    assert entry.proof is not None
    leaf = b64url_decode(entry.opened.entry)
    assert verify_proof(entry.proof.encode(), leaf, TrustPolicy(LOG)).index == entry.opened.tree_index
    stood_on = {(ground.kind, ground.ground) for ground in entry.grounds}
    assert {(GroundKind.SUBSYSTEM, CONSUMER), (GroundKind.SUBSYSTEM, PROVIDER), (GroundKind.CONSENT, "consent-1")} <= stood_on
    assert not any(ground.withdrawn_then or ground.withdrawn_since for ground in entry.grounds)


async def test_a_withdrawal_after_the_release_is_told_and_one_before_a_refusal_too(scene: Scene, auditor: AuditClient) -> None:
    released = await scene.release(consent="consent-1")
    withdrawal = await scene.withdraw("consent-1")
    fence = await scene.fence(GroundKind.SUBSYSTEM, CONSUMER)
    refused = await scene.deny("member-suspended")
    grounds = {ground.kind: ground for ground in (await recorded(auditor, released)).grounds if ground.ground != PROVIDER}
    consent = grounds[GroundKind.CONSENT]
    assert (consent.withdrawn_then, consent.withdrawal) == (False, withdrawal)
    assert consent.withdrawn_since is not None
    of_refusal = {ground.ground: ground for ground in (await recorded(auditor, refused)).grounds}
    assert (of_refusal[CONSUMER].withdrawn_then, of_refusal[CONSUMER].withdrawal) == (True, fence)
    await scene.lift(GroundKind.SUBSYSTEM, CONSUMER)
    later = await scene.deny()
    assert not any(ground.withdrawn_then for ground in (await recorded(auditor, later)).grounds)


async def test_a_refusal_says_which_check_failed_and_which_were_not_made(scene: Scene, auditor: AuditClient) -> None:
    entry = await recorded(auditor, await scene.deny("right-missing"))
    states = {check.code: check.state for check in entry.checks}
    assert states["member-suspended"] is CheckState.PASSED
    assert states["right-missing"] is CheckState.FAILED
    assert states["consent-withdrawn"] is CheckState.NOT_MADE
    assert (entry.decision, entry.code, entry.outcome) == ("deny", "right-missing", None)


def test_the_checks_are_those_of_the_gateways_in_their_order() -> None:
    assert tuple(check.value for check in GATEWAY_CHECKS) == CHECKS
    assert checks_of("overloaded") == []
    assert [check.code for check in checks_of("consent-used-up")] == list(CHECKS)


async def test_an_aborted_release_is_told_as_such_and_nothing_is_told_before_the_gateway_did(
    scene: Scene, auditor: AuditClient
) -> None:
    serial = await scene.release()
    before = await recorded(auditor, serial)
    assert (before.outcome, before.proof) == (None, None)
    told = await tell(scene, aborted=(serial,))
    after = await recorded(auditor, serial)
    assert after.outcome is not None
    assert (after.outcome.serial, after.outcome.sent) == (told, False)


async def under(scene: Scene, request_id: str) -> list[int]:
    """A refusal and then a release under one request id: as when a request is refused first and sent again."""
    rid, at_ms, blind = scene.keys.rid(CONSUMER, request_id), now_ms(), new_blind()
    body = plain_body({"subject": ALICE})
    leaf = make_deny_leaf(
        at_ms=at_ms, gateway="gateway-1", code="right-missing", body_commit=commit_body(body, blind), consumer=CONSUMER, rid=rid
    )
    heading = Heading(EntryKind.DENY, at_ms, "gateway-1", CONSUMER, code="right-missing")
    refused = await scene.denials.append(EntryRow(heading, Content(leaf, body, blind), rid))
    verdict = await scene.gateway.place(replace(scene.release_row(ALICE, at_ms=at_ms), rid=rid))
    assert verdict.serial is not None
    return [refused, verdict.serial]


async def test_a_request_is_found_by_consumer_and_id_with_all_its_entries(scene: Scene, auditor: AuditClient) -> None:
    serials = await under(scene, "request-1")
    other = await scene.release()
    record = await auditor.record(RecordRequest(consumer=CONSUMER, request_id="request-1", reason=REASON))
    assert [entry.opened.serial for entry in record.entries] == serials
    assert other not in [entry.opened.serial for entry in record.entries]
    with pytest.raises(Problem, match="not-found"):
        await auditor.record(RecordRequest(consumer=BANK, request_id="request-1", reason=REASON))


async def test_a_record_beyond_reach_is_not_found(scene: Scene, side: ReadingSide) -> None:
    office, bank = await scene.release(), await scene.release(consumer=BANK)
    auditor = AuditClient(AUDIT_URL, side.http, lambda: side.token("auditor", member=BANK_MEMBER))
    assert (await recorded(auditor, bank)).opened.serial == bank
    with pytest.raises(Problem, match="not-found"):
        await recorded(auditor, office)


async def test_what_is_no_request_has_no_record(scene: Scene, auditor: AuditClient) -> None:
    with pytest.raises(Problem, match="not-found"):
        await recorded(auditor, await scene.withdraw("consent-1"))


@pytest.mark.invariant("I-18")
async def test_looking_up_a_record_is_recorded_even_when_there_is_none(
    scene: Scene, side: ReadingSide, auditor: AuditClient
) -> None:
    before = await scene.count("read")
    with pytest.raises(Problem, match="not-found"):
        await auditor.record(RecordRequest(consumer=CONSUMER, request_id="nothing", reason=REASON))
    assert await scene.count("read") == before + 1
    for role in ("officer", "operator", "security", "registrar", "supervisor", "citizen"):
        with pytest.raises(Problem, match="forbidden"):
            await side.client(role).record(RecordRequest(serial=1, reason=REASON))


def test_a_request_is_named_in_one_way() -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"consumer": CONSUMER},
        {"request_id": "a"},
        {"consumer": CONSUMER, "request_id": "a", "serial": 1},
    )
    for named in wrong:
        with pytest.raises(ValidationError):
            RecordRequest(**{"reason": REASON, **named})
