"""A provider's access records against the log: each kind of difference is found, and what is alike is none."""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from audit.auditor_client import AuditClient
from audit.entries import blinded, commit_body, make_deny_leaf, make_late_leaf, make_outcome_leaf, new_blind, plain_body
from audit.model import Answer, Content, EntryKind, EntryRow, Heading, OutcomeRow, ReleaseRow
from audit.provided import ProvidedEntry, ProvidedRequest
from audit.reconciliation import GRACE, AccessRecord, Difference, Finding, Reconciler
from audit.reconciliation_store import answers_query
from deploy.postgres.roles import Database
from exchange.canonical import b64url, b64url_decode, sha256
from exchange.problem import Problem
from tests.audit.scene import (
    ALICE,
    CONSUMER,
    PROVIDER,
    RIGHT,
    TAX_SERVICE,
    ReadingSide,
    Scene,
)
from tests.audit.test_search_plans import whole_tables
from tests.support.audit_rows import SERVICE, connected, now_ms
from tests.support.filled_log import fill_log

NAMES = ("address", "name")


def moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


async def placed(scene: Scene, *, position: int = 0, at_ms: int | None = None, service: str = SERVICE) -> tuple[ReleaseRow, int]:
    row = replace(scene.release_row(ALICE, at_ms=at_ms or now_ms(), service=service), position=position)
    verdict = await scene.gateway.place(row)
    assert verdict.answer is Answer.RELEASED
    assert verdict.serial is not None
    return row, verdict.serial


def record_of(row: ReleaseRow, **other: Any) -> AccessRecord:
    """What an honest provider holds of a release."""
    record = AccessRecord(b64url(row.req), row.position, moment(row.at_ms), CONSUMER, row.service, RIGHT, NAMES)
    return replace(record, **other)


def stray_record(at_ms: int | None = None) -> AccessRecord:
    return AccessRecord(b64url(secrets.token_bytes(32)), 0, moment(at_ms or now_ms()), CONSUMER, SERVICE, RIGHT, NAMES)


async def ask(
    side: ReadingSide, records: list[AccessRecord], *, client: AuditClient | None = None, limit: int = 2
) -> list[Finding]:
    """Merge these with what the log holds, as the command does, in small pages."""
    now = moment(now_ms())
    merge = Reconciler(now - timedelta(minutes=5), now + timedelta(seconds=5))
    for record in sorted(records, key=lambda each: each.at):
        merge.take_record(record)
    request = ProvidedRequest(
        provider=PROVIDER, since=merge.since - GRACE, until=merge.until + GRACE, reason="月度对账", limit=limit
    )
    while True:
        page = await (client or side.client("auditor")).provided(request)
        for entry in page.entries:
            merge.take_entry(entry)
        if page.next is None:
            return merge.finish()
        request = request.model_copy(update={"after": page.next})


def kinds(findings: list[Finding]) -> list[Difference]:
    return [finding.difference for finding in findings]


async def refuse(scene: Scene, kind: EntryKind, req: bytes) -> int:
    """An entry about a request that the provider had answered."""
    at_ms, blind, body_blind = now_ms(), new_blind(), new_blind()
    base = b"of the request"
    known = {"req": b64url(req)} if kind is EntryKind.LATE else {"signature_base": base64.b64encode(base).decode()}
    body = plain_body({"req_blind": b64url(blind), **known})
    common: dict[str, Any] = {
        "at_ms": at_ms,
        "gateway": "gateway-1",
        "consumer": CONSUMER,
        "provider": PROVIDER,
        "service": SERVICE,
        "rid": secrets.token_bytes(32),
        "req": blinded(req, blind),
        "body_commit": commit_body(body, body_blind),
    }
    leaf = make_late_leaf(**common) if kind is EntryKind.LATE else make_deny_leaf(**common, code="consent-withdrawn")
    code = None if kind is EntryKind.LATE else "consent-withdrawn"
    heading = Heading(kind, at_ms, "gateway-1", CONSUMER, PROVIDER, SERVICE, None, code)
    return await scene.denials.append(EntryRow(heading, Content(leaf, body, body_blind), common["rid"]))


async def test_what_is_alike_is_no_finding_and_the_look_is_recorded(side: ReadingSide, scene: Scene) -> None:
    rows = [(await placed(scene, position=number))[0] for number in range(3)]
    assert await ask(side, [record_of(row) for row in rows]) == []
    assert await scene.count("read") == 1


async def test_an_answer_of_which_the_log_knows_nothing_is_found(side: ReadingSide, scene: Scene) -> None:
    row, _ = await placed(scene)
    rogue = stray_record()
    [found] = await ask(side, [record_of(row), rogue])
    assert (found.difference, found.req, found.serial) == (Difference.UNKNOWN_TO_LOG, rogue.req, None)
    document = found.document()
    assert "rogue gateway" in document["en"]
    assert "违规网关" in document["zh"]
    # At the edges of the window, where the other side may stand in the next one, nothing is said.
    early = stray_record(now_ms() - 300_000 - 30_000)
    assert await ask(side, [record_of(row), early]) == []


async def test_a_release_that_the_provider_does_not_know_is_found(side: ReadingSide, scene: Scene) -> None:
    _, serial = await placed(scene)
    [found] = await ask(side, [])
    assert (found.difference, found.serial) == (Difference.UNKNOWN_TO_PROVIDER, serial)
    # Another position of the same request is another answer.
    row, other = await placed(scene, position=1)
    findings = await ask(side, [record_of(row, position=2)])
    assert sorted(kinds(findings)) == sorted([Difference.UNKNOWN_TO_LOG, *[Difference.UNKNOWN_TO_PROVIDER] * 2])
    assert {finding.serial for finding in findings} == {None, serial, other}
    # Other providers' releases are not this one's.
    await placed(scene, service=TAX_SERVICE)
    assert len(await ask(side, [record_of(row)])) == 1
    far, _ = await placed(scene, at_ms=now_ms() - 300_000 - 30_000)
    assert len(await ask(side, [record_of(row)])) == 1, far.at_ms


@pytest.mark.parametrize(
    ("kind", "difference"),
    [(EntryKind.LATE, Difference.LATE_ANSWER), (EntryKind.DENY, Difference.REFUSED_AFTER_ANSWER)],
)
async def test_an_answer_that_was_late_or_refused_is_told_apart_from_a_rogue(
    side: ReadingSide, scene: Scene, kind: EntryKind, difference: Difference
) -> None:
    record, other = replace(stray_record(), req=b64url(sha256(b"of the request"))), stray_record()
    serial = await refuse(scene, kind, b64url_decode(record.req))
    findings = await ask(side, [record, other])
    by_req = {finding.req: finding for finding in findings}
    assert (by_req[record.req].difference, by_req[record.req].serial) == (difference, serial)
    assert by_req[other.req].difference is Difference.UNKNOWN_TO_LOG


async def test_more_items_other_parties_and_aborted_releases_are_found(side: ReadingSide, scene: Scene) -> None:
    row, serial = await placed(scene)
    [less] = await ask(side, [record_of(row, names=("name",))])
    assert (less.difference, less.detail, less.serial) == (Difference.OTHER_NAMES, "address", serial)
    assert await ask(side, [record_of(row, names=(*NAMES, "birth_date"))]) == []  # answered, and withheld by the gateway
    for other, value in (("consumer", "CN-YA/COM/x/y"), ("right", "sha256:other")):
        [found] = await ask(side, [record_of(row, **{other: value})])
        assert (found.difference, found.detail) == (Difference.OTHER_PARTIES, other)
    blind, body = new_blind(), plain_body({})
    leaf = make_outcome_leaf(at_ms=now_ms(), gateway="gateway-1", sent=[], aborted=[serial], body_commit=commit_body(body, blind))
    await scene.denials.record_outcome(OutcomeRow("gateway-1", now_ms(), (), (serial,), Content(leaf, body, blind)))
    assert kinds(await ask(side, [record_of(row)])) == [Difference.ABORTED]


async def test_an_auditor_of_the_provider_may_and_one_of_another_member_may_not(side: ReadingSide, scene: Scene) -> None:
    row, _ = await placed(scene)
    own = side.token("auditor", member="CN-YA/GOV/public-security")
    assert await ask(side, [record_of(row)], client=AuditClient("http://audit.test", side.http, lambda: own)) == []
    for member in ("CN-YA/GOV/tax", "CN-YA/GOV/public"):
        other = side.token("auditor", member=member)
        with pytest.raises(Problem) as refused:
            await ask(side, [record_of(row)], client=AuditClient("http://audit.test", side.http, partial(str, other)))
        assert refused.value.code == "forbidden"


async def test_copies_of_one_request_that_were_refused_hide_nothing(side: ReadingSide, scene: Scene) -> None:
    row, _ = await placed(scene)
    await refuse(scene, EntryKind.LATE, row.req)
    assert await ask(side, [record_of(row)]) == []


async def test_an_event_that_was_said_unasked_needs_no_record(side: ReadingSide, scene: Scene) -> None:
    await scene.release()
    entry = ProvidedEntry(
        serial=1,
        at=moment(now_ms()),
        kind="release",
        code=None,
        consumer=CONSUMER,
        service=SERVICE,
        right=RIGHT,
        names=[],
        req=b64url(bytes(32)),
        position=0,
        aborted=False,
        unasked=True,
    )
    merge = Reconciler(moment(now_ms() - 60_000), moment(now_ms() + 60_000))
    merge.take_entry(entry)
    merge.take_entry(entry.model_copy(update={"unasked": False, "req": None}))
    assert merge.finish() == []
    merge.take_entry(entry.model_copy(update={"unasked": False}))
    assert kinds(merge.finish()) == [Difference.UNKNOWN_TO_PROVIDER]


async def test_what_is_settled_is_forgotten_however_long_the_window(side: ReadingSide) -> None:
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    merge = Reconciler(begins, begins + timedelta(days=30))
    for hour in range(24 * 30):
        at = begins + timedelta(hours=hour)
        merge.take_record(replace(stray_record(), at=at))
        merge.settle(at)
    assert len(merge._records) == 1
    assert len(merge.finish()) == 24 * 30


async def test_windows_have_limits(side: ReadingSide) -> None:
    now = moment(now_ms())
    for since, until in ((now, now), (now, now - GRACE), (now - timedelta(days=33), now)):
        with pytest.raises(ValueError, match="window"):
            ProvidedRequest(provider=PROVIDER, since=since, until=until, reason="对账检查")


async def test_a_window_is_read_by_an_index(database: Database) -> None:
    async with connected(database) as owner:
        log = await fill_log(owner, 60_000)
        window = (log.newest - timedelta(hours=1), log.newest)
        assert await whole_tables(owner, answers_query(), *window, "CN-YA/GOV/source-1/records", None, None, 1001) == []
