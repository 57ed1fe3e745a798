"""What all journeys together leave behind: a whole log that says what was released, and not a word about anybody elsewhere.

Runs after all other journeys; alone it looks at a log with little in it, so it makes one journey of its own first.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import InclusionProof

from audit.client import VerifierKey
from audit.fsck import fsck
from audit.fsck_published import DirectorySource, fsck_published
from audit.note import parse_vkey
from audit.proof import TrustPolicy, verify_proof
from audit.tiles import TileName
from audit.tree import inclusion_proof
from deploy.local import HTTP_COMPONENTS, LocalExchange
from deploy.session import Session
from deploy.supervisor import read_status
from exchange.canonical import b64url_decode, canonical
from exchange.identifiers import parse_service_id, parse_subsystem_id
from exchange.question import Headers, Question
from exchange.record import presentation_hash
from gateway.decide import decide
from gateway.model import ConsentFact, Facts, Permit
from identity.client import ConsentSource, verify_grant
from registry.client import AccessRight, Purpose, parse_right
from tests.audit.go_verifier import go_accepts, require_go
from tests.audit.strangers import scales_accept
from tests.journeys.figures import FIGURES, spread
from tests.journeys.log_export import export_log
from tests.journeys.stage import CONTRIBUTIONS, DEED_TAX, ENCUMBRANCE, IDENTITY, LICENCE, Stage, refused
from tests.journeys.traffic import Traffic
from tests.support.sealing import bodies_of, open_members
from tests.support.waiting import until_yes

SALT_AT, PROVEN_OVER_HTTP = 0, 40
CONTENTS = "SELECT e.serial, e.leaf, b.body, b.blind FROM audit.entry e JOIN audit.body b ON b.serial = e.serial AND b.at = e.at"


@dataclass(frozen=True, slots=True)
class Remains:
    """遗存. The log as an auditor fetched it over HTTP, once everything was in it."""

    path: Path
    vkey: VerifierKey
    entries: tuple[bytes, ...]
    leaves: tuple[Mapping[str, Any], ...]

    def of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        """The leaves of one kind, in the order of the tree."""
        return [leaf for leaf in self.leaves if leaf["kind"] == kind]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def remains(
    session: Session, traffic: Traffic, exchange: LocalExchange, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Remains]:
    """Give the log of the run."""
    await one_journey(Stage(exchange, session, traffic))
    stage = Stage(exchange, session, traffic)
    vkey = parse_vkey(session.trust.current().log_vkey)
    await until_yes(lambda: is_settled(stage))
    path = tmp_path_factory.mktemp("log")
    entries = await export_log(session.audit(await session.token("auditor")), vkey, path)
    yield Remains(path, vkey, tuple(entries), tuple(json.loads(entry) for entry in entries))


async def one_journey(stage: Stage) -> None:
    """A little of everything, so that this module proves something even when it runs alone."""
    cast = stage.exchange.cast
    await stage.fetch(stage.wanted(IDENTITY, cast.buyer.id, items="all", facts={"is_adult": {}}))
    await stage.fetch(stage.wanted(LICENCE, cast.buying_firm.id, items="all"))
    await stage.fetch(stage.wanted(ENCUMBRANCE, cast.seized_seller.id, facts={"is_seized": {}}))
    await stage.batch(DEED_TAX, [cast.buyer.id, cast.indebted_buyer.id], facts={"deed_tax_paid": {}})
    terms = {"contributed_months_at_least": [12, 24]}
    consent = await stage.give_consent("citizen", CONTRIBUTIONS, facts=terms, items=["months"], valid_seconds=7_000)
    asked = {"facts": {"contributed_months_at_least": {"n": 12}}, "items": ["months"], "months": ("2024-01", "2025-12")}
    wanted = stage.wanted(CONTRIBUTIONS, cast.buyer.id, consent=consent, **asked)
    await stage.fetch(wanted)
    await stage.withdraw("citizen", consent)
    with refused("consent-withdrawn"):
        await stage.fetch(wanted)


async def is_settled(stage: Stage) -> bool:
    """Whether every release has its outcome, and a checkpoint covers all of them and their outcomes."""
    [row] = await stage.query(
        """SELECT (SELECT max(size) FROM audit.checkpoint) AS size,
                  (SELECT count(*) FROM audit.entry e WHERE e.kind = 'release' AND NOT EXISTS (
                      SELECT FROM audit.outcome o
                      WHERE o.gateway = e.gateway AND (o.sent @> e.serial OR e.serial = ANY (o.aborted)))) AS open,
                  (SELECT coalesce(max(s.tree_index), -1) + 1 FROM audit.sequenced s JOIN audit.entry e ON e.serial = s.serial
                   WHERE e.kind IN ('release', 'outcome')) AS needed,
                  (SELECT count(*) FROM audit.entry e WHERE e.kind IN ('release', 'outcome') AND NOT EXISTS (
                      SELECT FROM audit.sequenced s WHERE s.serial = e.serial)) AS unplaced"""
    )
    return bool(row["open"] == row["unplaced"] == 0 and row["size"] >= row["needed"])


# --- I-14: the log as a whole


@pytest.mark.invariant("I-14")
@pytest.mark.parametrize("program", ["tlog-scales", "Go x/mod"])
async def test_a_verifier_that_we_did_not_write_accepts_the_log_and_no_altered_one(remains: Remains, program: str) -> None:
    def accepts() -> bool:
        if program == "tlog-scales":
            return scales_accept(remains.path, remains.vkey)
        return go_accepts("log", remains.path, remains.vkey)

    if program != "tlog-scales":
        require_go()
    began = time.monotonic()
    assert accepts()
    took = 1000 * (time.monotonic() - began)
    FIGURES[f"I-14 log walked by {program}"] = f"{len(remains.entries)} entries in {took:.0f} ms: accepted"
    bundle = remains.path / TileName(-1, 0, min(256, len(remains.entries))).path
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])
    try:
        assert not accepts()
    finally:
        bundle.write_bytes(whole)


@pytest.mark.invariant("I-14")
async def test_our_own_walk_finds_the_published_log_whole(remains: Remains) -> None:
    report = await fsck_published(DirectorySource(remains.path), remains.vkey)
    assert report.ok, report.describe()
    assert report.size == len(remains.entries)


@pytest.mark.invariant("I-14", "I-25", "I-27")
async def test_our_own_walk_finds_the_database_whole_and_nothing_released_after_its_withdrawal(
    stage: Stage, remains: Remains
) -> None:
    connection = await asyncpg.connect(stage.exchange.database().url("yitong_auditor"))
    try:
        report = await fsck(connection, remains.vkey, bodies_of(stage.exchange))
    finally:
        await connection.close()
    assert report.ok, report.describe()
    kinds = Counter(leaf["kind"] for leaf in remains.leaves)
    walked = f"{report.size} entries, {report.opened} bodies, {report.checkpoints} checkpoints"
    FIGURES["fsck of the run"] = f"{walked}: whole; {dict(kinds)}"


@pytest.mark.invariant("I-25", "I-27")
async def test_plain_sql_finds_no_release_on_a_withdrawn_ground_either(stage: Stage, remains: Remains) -> None:
    rows = await stage.query(
        """WITH opened AS (
            SELECT e.serial, e.kind, convert_from(e.leaf, 'UTF8')::jsonb AS leaf, b.body
            FROM audit.entry e JOIN jsonb_to_recordset($1::jsonb) AS b (serial bigint, body jsonb) USING (serial)
            WHERE e.kind IN ('release', 'withdraw', 'fence', 'lift')
        ), released AS (
            SELECT r.serial, g.ground FROM opened r, LATERAL (VALUES
                (CASE WHEN r.leaf ->> 'legal_basis' = 'consent' THEN r.body ->> 'consent' END),
                (r.leaf ->> 'consumer'), (r.leaf ->> 'provider'), (r.leaf ->> 'consumer_key'), (r.leaf ->> 'provider_key'),
                (r.leaf ->> 'right'), (r.leaf ->> 'purpose'), (r.leaf ->> 'gateway'),
                ((r.leaf ->> 'service') || '@' || (r.leaf ->> 'schema')),
                (regexp_replace(r.leaf ->> 'consumer', '/[^/]*$', '')), (regexp_replace(r.leaf ->> 'provider', '/[^/]*$', ''))
            ) AS g (ground) WHERE r.kind = 'release'
        ), withdrawn AS MATERIALIZED (
            SELECT w.serial AS since, coalesce(w.body ->> 'ground', w.leaf ->> 'ground') AS ground,
                   (SELECT min(l.serial) FROM opened l WHERE l.kind = 'lift' AND l.serial > w.serial
                    AND l.leaf ->> 'ground' = w.leaf ->> 'ground') AS until
            FROM opened w WHERE w.kind IN ('withdraw', 'fence')
        )
        SELECT count(DISTINCT w.since) AS withdrawals,
               count(*) FILTER (WHERE r.serial < w.since) AS before,
               count(*) FILTER (WHERE r.serial > w.since AND (w.until IS NULL OR r.serial < w.until)) AS violations
        FROM withdrawn w JOIN released r USING (ground)""",
        await stage.opened_bodies(),
    )
    [row] = rows
    told = Counter(leaf["kind"] for leaf in remains.leaves)
    FIGURES["I-25, I-27 read from the log"] = (
        f"{told['release']} releases, {told['withdraw']} consents and {told['fence']} other grounds withdrawn, "
        f"{row['violations']} releases after a withdrawal"
    )
    assert row["violations"] == 0
    assert row["withdrawals"] > 0, "or the query would prove nothing"
    assert row["before"] > 0


# --- I-2, I-7, I-10: log and receipts say the same


async def aborted(stage: Stage) -> list[dict[str, Any]]:
    """The leaves of the releases of which a gateway has told that nothing left: those that witnesses did not vouch for."""
    rows = await stage.query(
        "SELECT e.leaf FROM audit.entry e JOIN audit.outcome o ON o.gateway = e.gateway AND e.serial = ANY (o.aborted)"
    )
    return [json.loads(row["leaf"]) for row in rows]


@pytest.mark.invariant("I-2", "I-7")
async def test_the_log_and_what_consumers_hold_are_the_same_set(stage: Stage, remains: Remains, traffic: Traffic) -> None:
    held = Counter(presentation_hash(each.rpartition("~")[0] + "~") for each in traffic.presentations)
    logged = Counter(str(leaf["sd_hash"]) for leaf in remains.of_kind("release"))
    logged -= Counter(str(leaf["sd_hash"]) for leaf in await aborted(stage))
    assert held == logged, "every release is held by whom it was released to, and nothing is held that was not released"
    assert max(held.values()) == 1
    FIGURES["I-2 receipts against entries"] = f"{len(held)} of {len(logged)} equal, all outcomes told"


@pytest.mark.invariant("I-10")
async def test_the_entry_of_every_receipt_is_in_the_tree(stage: Stage, remains: Remains, traffic: Traffic) -> None:
    places = {entry: index for index, entry in enumerate(remains.entries)}
    reader = TilesReader(LocalBackend(remains.path))
    size, root = len(remains.entries), reader.get_checkpoint().root_hash

    def tiles(level: int, index: int, width: int, /) -> bytes:
        return (remains.path / TileName(level, index, width).path).read_bytes()

    for presentation in traffic.presentations:
        leaf = entry_of(presentation)
        index = places[leaf]
        InclusionProof(index, size, inclusion_proof(index, size, tiles)).check(leaf_hash(leaf), root)
    audit, policy = stage.session.audit(), TrustPolicy(remains.vkey)
    for presentation in traffic.presentations[:: max(1, len(traffic.presentations) // PROVEN_OVER_HTTP)]:
        leaf = entry_of(presentation)
        assert verify_proof(await audit.proof(leaf), leaf, policy).index == places[leaf]
    delays = await stage.query(
        """SELECT extract(epoch FROM (SELECT min(c.at) FROM audit.checkpoint c WHERE c.size > s.tree_index) - e.at)::float8
               AS seconds
           FROM audit.entry e JOIN audit.sequenced s ON s.serial = e.serial WHERE e.kind = 'release'"""
    )
    seconds = [max(0.0, row["seconds"]) for row in delays if row["seconds"] is not None]
    count = len(traffic.presentations)
    FIGURES["I-10 receipts in the tree"] = f"{count} of {count} proven; entry to checkpoint {spread(seconds)}"


def entry_of(presentation: str) -> bytes:
    """The leaf in a receipt."""
    payload = json.loads(b64url_decode(presentation.rpartition("~")[2].split(".")[1]))
    return b64url_decode(payload["entry"])


@pytest.mark.invariant("I-6")
async def test_every_refusal_that_a_gateway_gave_is_in_the_log(stage: Stage, remains: Remains, traffic: Traffic) -> None:
    given = traffic.codes_of(stage.session.gateways)
    # What cannot be written cannot be found, and an overloaded gateway does not make more work for itself.
    given -= Counter({code: given[code] for code in ("audit-unavailable", "overloaded")})

    async def logged() -> Counter[str]:
        rows = await stage.query("SELECT leaf FROM audit.entry WHERE kind = 'deny'")
        leaves = [json.loads(row["leaf"]) for row in rows]
        return sum((Counter({leaf["code"]: leaf["count"]}) for leaf in leaves), Counter[str]())

    async def nothing_is_missing() -> bool:
        return given <= await logged()

    await until_yes(nothing_is_missing)
    FIGURES["I-6 refusals in the log"] = f"{given.total()} of {given.total()}, by code {dict(sorted(given.items()))}"


async def test_no_attempt_that_was_refused_let_data_go(stage: Stage, remains: Remains, traffic: Traffic) -> None:
    """`req` is blinded anew for each attempt and each position of a batch, so that one names one attempt."""
    held_back = {str(leaf["req"]) for leaf in await aborted(stage)}
    released = {str(leaf["req"]) for leaf in remains.of_kind("release")} - held_back
    refused_ones = {str(leaf["req"]): leaf["code"] for leaf in remains.of_kind("deny") if leaf.get("req")}
    assert refused_ones
    assert {code for req, code in refused_ones.items() if req in released} == set()
    assert {code for req, code in refused_ones.items() if req in held_back} <= {"audit-unavailable"}
    told = {refusal.code for refusal in traffic.refusals if json.loads(refusal.body)["data_left"]}
    assert told <= {"request-replayed", "conflict"}, "and what left earlier, no other refusal of a gateway or outway tells"


# --- I-30: the decision, made again


@pytest.mark.invariant("I-30")
async def test_what_each_entry_says_was_disclosed_is_what_the_policy_gives(stage: Stage, remains: Remains) -> None:
    rows = await stage.query(f"{CONTENTS} WHERE e.kind = 'release'")
    rights = await all_rights(stage)
    replayed = Replay(stage, rights, {})
    for row in rows:
        leaf, body = json.loads(row["leaf"]), open_members(row["body"], row["blind"], bodies_of(stage.exchange))
        permit = await replayed.permit(leaf, body)
        assert (permit.right.id, permit.right.legal_basis) == (leaf["right"], leaf["legal_basis"])
        said = dict.fromkeys(leaf["full"], "full") | dict.fromkeys(leaf["masked"], "masked")
        assert said == {name: form for name, form in permit.items.items() if name not in leaf["withheld"]}
        assert set(leaf["facts"]) == set(permit.facts) - set(leaf["withheld"])
    under = {leaf["right"] for leaf in remains.of_kind("release")}
    FIGURES["I-30 decisions made again"] = f"{len(rows)} of {len(rows)} equal, under {len(under)} rights"


async def all_rights(stage: Stage) -> dict[str, AccessRight]:
    """Every right that was ever registered, revoked ones too, by id."""
    page = await stage.registry().list(await stage.session.token("registrar"), "rights", limit=200)
    return {right.id: right for right, _ in (parse_right(each["document"]) for each in page["rights"])}


@dataclass(slots=True)
class Replay:
    """重演. The decision about a released request, from its entry, the registry's rights and the person's own grant."""

    stage: Stage
    rights: Mapping[str, AccessRight]
    consents: dict[str, ConsentFact]

    async def permit(self, leaf: Mapping[str, Any], body: Mapping[str, Any]) -> Permit:
        """What `decide` says about it; it must be yes."""
        snapshot, now = self.stage.session.trust.current(), leaf["at"] / 1000
        facts = Facts(
            now=now,
            minute_of_day=int((now + 8 * 3600) // 60 % 1440),
            consumer_active=True,
            provider_active=True,
            key_active=True,
            key_valid_until=now + 60,
            service=snapshot.service(leaf["service"]),
            purpose=Purpose(leaf["purpose"], "", ""),
            rights=(self.rights[leaf["right"]],),
            used_up={},
            consent=await self._consent(body["consent"]) if leaf["legal_basis"] == "consent" else None,
        )
        decision = decide(_question(leaf, body), facts)
        assert isinstance(decision, Permit), decision
        return decision

    async def _consent(self, consent: str) -> ConsentFact:
        if consent not in self.consents:
            session, name = self.stage.session, "gateway-1"
            source = ConsentSource(session.urls["identity"], session.http, session.home.key(name), name, session.clock)
            found = await source.get(consent)
            assert found is not None
            grant = verify_grant(found.grant_jws, session.trust.current().consent_key.if_named)
            self.consents[consent] = ConsentFact(consent, grant, found.grant_jws, found.blind, "granted")
        return self.consents[consent]


def _question(leaf: Mapping[str, Any], body: Mapping[str, Any]) -> Question:
    headers = Headers(
        service=parse_service_id(leaf["service"]),
        consumer=parse_subsystem_id(leaf["consumer"]),
        request_id=body["request_id"],
        purpose=leaf["purpose"],
        consent=body.get("consent"),
        officer=body.get("officer"),
        case=body.get("case"),
    )
    asked = body["parameters"]
    items = None if asked["items"] == "all" else tuple(asked["items"])
    period = (asked["range"][0], asked["range"][1]) if asked.get("range") else None
    return Question(headers, body["subject"], items, asked["facts"], period, asked["position"])


# --- I-32, I-44: what stands where it must not


def people_of(stage: Stage) -> set[str]:
    """Names, numbers and accounts of everybody who was asked about."""
    cast, words = stage.exchange.cast, set[str]()
    for name in cast.__slots__:
        role = getattr(cast, name)
        for person in role if isinstance(role, tuple) else (role,):
            words |= {getattr(person, part) for part in ("id", "name", "account") if isinstance(getattr(person, part, None), str)}
            words |= {person} if isinstance(person, str) else set()
    return {word for word in words if len(word) > 1}


async def outputs(stage: Stage) -> dict[str, str]:
    """Everything that components say besides their answers: logs, and what they count."""
    files = stage.exchange.root.rglob("*.log*")
    texts = {str(file.relative_to(stage.exchange.root)): file.read_text("utf-8", "replace") for file in files}
    for name in HTTP_COMPONENTS:
        answer = await stage.session.http.get(f"{stage.session.urls[name]}/metrics")
        assert answer.status_code == 200, name
        texts[f"{name}/metrics"] = answer.text
    return texts


@pytest.mark.invariant("I-32")
async def test_nobody_stands_in_a_log_or_a_metric(stage: Stage, remains: Remains, traffic: Traffic) -> None:
    texts = await outputs(stage)
    assert {"gateway-1", "gateway-2", "tax", "identity", "registry", "audit", "outway"} <= {Path(name).stem for name in texts}
    assert any("postgres" in name for name in texts)
    words = people_of(stage)
    words |= {json.dumps(word)[1:-1] for word in words}
    secret = secrets_of(traffic)
    hits = []
    for name, text in texts.items():
        hits += [(name, "a person", word) for word in words if word in text]
        hits += [(name, "an ID number", found) for found in re.findall(r"[1-9]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d{4}[\dXx]", text)]
        hits += [(name, "a token", found) for found in re.findall(r"ey[JI][A-Za-z0-9_-]{10,}|Wy[A-Za-z0-9_-]{22,}", text)]
        hits += [(name, "a secret", found) for found in set(re.findall(r"[A-Za-z0-9_-]{16,}", text)) & secret]
    assert hits == []
    size = sum(map(len, texts.values()))
    sought = f"{len(words)} words and {len(secret)} salts, disclosures and parts of JWTs"
    FIGURES["I-32 looked through"] = f"{len(texts)} logs and metrics, {size // 1024} KiB, for {sought}: 0 found"


def secrets_of(traffic: Traffic) -> set[str]:
    """Salts, disclosures and parts of JWTs of everything that was released."""
    found = set[str]()
    for presentation in traffic.presentations:
        jwt, *disclosures, receipt = presentation.split("~")
        found |= {*disclosures, *jwt.split(".")[1:], *receipt.split(".")[1:]}
        found |= {json.loads(b64url_decode(each))[SALT_AT] for each in disclosures}
    return {each for each in found if len(each) >= 16}


@pytest.mark.invariant("I-32")
def test_no_process_may_leave_a_picture_of_its_memory(exchange: LocalExchange) -> None:
    running = {status.name: status.pid for status in read_status(exchange.root) if status.pid is not None}
    assert running.keys() >= {*HTTP_COMPONENTS, "postgres", "nats"}
    for name, pid in running.items():
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), name


@pytest.mark.invariant("I-32")
async def test_no_salt_stands_in_the_database(stage: Stage, traffic: Traffic) -> None:
    salts = set[str]()
    for presentation in traffic.presentations:
        salts |= {json.loads(b64url_decode(each))[SALT_AT] for each in presentation.split("~")[1:-1]}
    rows, reader = await stage.query(CONTENTS), bodies_of(stage.exchange)
    tokens = set[bytes]()
    for row in rows:
        said = canonical(open_members(row["body"], row["blind"], reader))
        tokens |= set(re.findall(rb"[A-Za-z0-9_-]{16,}", row["leaf"] + b" " + said))
    assert not {salt.encode("ascii") for salt in salts} & tokens
    assert len(salts) > len(traffic.presentations), "each disclosure has its own"


@pytest.mark.invariant("I-19")
async def test_no_leaf_names_anybody(stage: Stage, remains: Remains) -> None:
    words = [word.encode() for word in people_of(stage)]
    assert [entry for entry in remains.entries if any(word in entry for word in words)] == []
    assert not any(re.search(rb"[1-9]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d{4}[\dXx]", entry) for entry in remains.entries)


INTERNAL = re.compile(
    rb"Traceback|\.py\b|asyncpg|sqlalchemy|psycopg|SELECT |INSERT |audit\.(?:entry|body|fence|release)|access_record|pydantic|"
    rb"/(?:tmp|root|usr|var|etc)/|yitong_[a-z]+|postgres|nats:|127\.0\.0\.1:\d|line \d+|0x[0-9a-f]{6,}"
)


@pytest.mark.invariant("I-44")
async def test_no_refusal_of_the_run_told_anything_internal(stage: Stage, traffic: Traffic, remains: Remains) -> None:
    words = [word.encode() for word in people_of(stage)]
    assert [refusal for refusal in traffic.refusals if INTERNAL.search(refusal.body)] == []
    assert [refusal for refusal in traffic.refusals if any(word in refusal.body for word in words)] == []
    members = {"type", "code", "title", "status", "detail", "message", "advice", "retry", "request_id", "data_left", "explain"}
    for refusal in traffic.refusals:
        document = json.loads(refusal.body)
        assert members <= document.keys()
        assert refusal.headers["x-road-error"] == document["type"]
        assert refusal.headers["cache-control"] == "no-store"
        assert refusal.status != 500, document
    FIGURES["I-44 refusals looked through"] = str(len(traffic.refusals))
