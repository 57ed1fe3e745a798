"""A purpose may demand that witnesses have cosigned the entry before its data leaves; where they are away, nothing leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from audit.client import AuditClient, Policy, TrustPolicy, load_policy, verify_proof
from exchange.problem import Problem
from gateway.disclose import disclose
from gateway.witnesses import Witnesses
from tests.journeys.stage import DEED_TAX, IDENTITY, Stage, eventually, refused, stopped
from tests.journeys.test_answers import gateway_in_this_process
from tests.support.waiting import until_yes

PURPOSE = "enterprise-purchase"
NAMES = {"id": PURPOSE, "name_zh": "企业购置不动产登记", "name_en": "Purchase of real estate by an enterprise"}
ADULT: dict[str, dict[str, int]] = {"is_adult": {}}


@asynccontextmanager
async def demanded(stage: Stage) -> AsyncIterator[None]:
    """The purpose demands witnesses within the block; the gateways that begin with the snapshot of before are told so."""
    await stage.published("purpose", {**NAMES, "witnessed": True})
    try:
        yield
    finally:
        await stage.published("purpose", NAMES)


@pytest.mark.invariant("I-16")
async def test_data_for_such_a_purpose_leaves_only_with_an_entry_that_a_quorum_has_cosigned(stage: Stage) -> None:
    policy = load_policy(stage.session.home.witness_policy)
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, facts=ADULT, purpose=PURPOSE)
    async with demanded(stage):
        for gateway in stage.session.gateways:
            fetched = await eventually(lambda at=gateway: stage.fetch(wanted, at))  # type: ignore[misc]  # bound at once
            # No waiting here: when the data is there, so is the proof.
            leaf = fetched.answer.receipt.entry
            proof = await stage.session.audit().proof(leaf, witnessed=True)
            found = verify_proof(proof, leaf, TrustPolicy.of(policy))
            assert policy.is_met(signature.key for signature in found.checkpoint.cosignatures)


@pytest.mark.invariant("I-16", "I-3")
async def test_without_its_witnesses_it_is_refused_in_time_and_the_log_says_that_nothing_left(stage: Stage) -> None:
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, facts=ADULT, purpose=PURPOSE)
    async with demanded(stage):
        await eventually(lambda: stage.fetch(wanted))
        left = len(await stage.entries(kind="release"))
        async with stopped(stage, "notary"):
            for gateway in stage.session.gateways:
                problem = await stage.refusal(stage.prepare(wanted), gateway)
                assert (problem.code, problem.detail) == (
                    "audit-unavailable",
                    "the witnesses have not cosigned the entry in time",
                )
            # What asks for no witness goes on.
            await stage.fetch(stage.wanted(DEED_TAX, stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}}))
        releases = await stage.entries(kind="release")
        held_back = [line.serial for line in releases if line.leaf["purpose"] == PURPOSE][left:]
        assert len(held_back) == 2

        async def told() -> bool:
            rows = await stage.query("SELECT count(*) FROM audit.outcome WHERE aborted && $1::bigint[]", held_back)
            return bool(rows[0][0] == 2)

        await until_yes(told)
        await eventually(lambda: stage.fetch(wanted))


@pytest.mark.invariant("I-16")
async def test_a_gateway_believes_its_own_policy_and_not_the_audit(stage: Stage) -> None:
    """A proof with fewer cosignatures than the gateway's policy asks for, or of another log, or none at all, lets nothing go."""
    policy = load_policy(stage.session.home.witness_policy)
    wanted = stage.wanted(IDENTITY, stage.exchange.cast.buyer.id, facts=ADULT, purpose=PURPOSE)
    audit = stage.session.audit()
    strangers = Policy(policy.logs, policy.witnesses[:1], (), policy.witnesses[0].name)
    async with demanded(stage), gateway_in_this_process(stage.exchange) as gateway:

        async def released() -> None:
            outcome = await disclose(gateway, stage.prepare(wanted).request, peer="127.0.0.1")
            gateway.outcomes.sent(outcome.serials)
            [answer] = outcome.answers
            assert not isinstance(answer, Problem)
            stage.traffic.presentations.append(answer.presentation)

        await eventually(released)
        unknown = replace(strangers.witnesses[0], key=policy.witnesses[1].key)
        for believed in (
            Witnesses(Unwitnessed(audit), TrustPolicy.of(policy)),  # type: ignore[arg-type]  # stands before the audit
            Witnesses(Elsewhere(audit), TrustPolicy.of(policy)),  # type: ignore[arg-type]  # stands before the audit
            Witnesses(audit, TrustPolicy(policy.witnesses[0].key, (unknown.key,), 1)),
            None,
        ):
            with refused("audit-unavailable"):
                await disclose(replace(gateway, witnesses=believed), stage.prepare(wanted).request, peer="127.0.0.1")


class Unwitnessed:
    """An audit that gives a proof against a checkpoint which nobody has cosigned, as if it were one."""

    def __init__(self, audit: AuditClient) -> None:
        """Before the real one."""
        self._audit = audit

    async def proof(self, leaf: bytes, *, witnessed: bool) -> bytes:
        """The proof with its cosignatures cut off."""
        raw = await self._audit.proof(leaf, witnessed=witnessed)
        head, separator, note = raw.partition(b"\n\n")
        text, dashes, signatures = note.partition(b"\n\n")
        return head + separator + text + dashes + signatures.splitlines(keepends=True)[0]


class Elsewhere:
    """An audit that proves another entry than the one that is asked for."""

    def __init__(self, audit: AuditClient) -> None:
        """Before the real one."""
        self._audit = audit
        self._first: bytes | None = None

    async def proof(self, leaf: bytes, *, witnessed: bool) -> bytes:
        """The right proof, with the index of its neighbour."""
        raw = await self._audit.proof(leaf, witnessed=witnessed)
        lines = raw.split(b"\n")
        at = next(number for number, line in enumerate(lines) if line.startswith(b"index "))
        lines[at] = b"index %d" % (int(lines[at].removeprefix(b"index ")) ^ 1)
        return b"\n".join(lines)
