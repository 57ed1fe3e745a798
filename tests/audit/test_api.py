"""The published log over HTTP: what it serves is what Go and everybody else expects, never changes, and verifies."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest

from audit.app import document_app
from audit.fsck_published import HttpSource, fsck_published
from audit.model import GroundKind
from audit.note import open_checkpoint
from audit.proof import TrustPolicy, verify_proof
from audit.search import SITTING, SearchRequest
from audit.tiles import ENTRIES, FULL_WIDTH, TileName, changed_bundles, changed_tiles, decode_bundle, partial_tiles
from audit.tree import hash_leaf
from deploy.process import free_port
from exchange.canonical import b64url
from exchange.problem import Problem
from tests.audit.reference import LOG
from tests.audit.scene import AUDIT_URL, REASON, ReadingSide, Scene, reading_settings
from tests.support.audit_rows import connected
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]


async def release_many(scene: Scene, count: int) -> None:
    await asyncio.gather(*(scene.release() for _ in range(count)))


async def leaves(scene: Scene) -> list[bytes]:
    """The entries in the order of the tree."""
    async with connected(scene.database) as connection:
        records = await connection.fetch(
            "SELECT e.leaf FROM audit.sequenced s JOIN audit.entry e USING (serial) ORDER BY s.tree_index"
        )
    return [record[0] for record in records]


# --- Checkpoint and tiles ---------------------------------------------------------------------------------------------------


async def test_there_is_no_checkpoint_before_the_first(side: ReadingSide) -> None:
    for work in (side.client().checkpoint(), side.client().tile(TileName(0, 0, 1))):
        with pytest.raises(Problem) as problem:
            await work
        assert problem.value.code == "not-found"


async def test_the_newest_checkpoint_is_open_to_all_and_cached_for_a_second_at_most(scene: Scene, side: ReadingSide) -> None:
    await release_many(scene, 3)
    await scene.integrate()
    answer = await side.http.get(f"{AUDIT_URL}/log/checkpoint")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=1"
    assert open_checkpoint(answer.content, LOG).checkpoint.size == 3
    await scene.release()
    await scene.integrate()
    assert open_checkpoint(await side.client().checkpoint(), LOG).checkpoint.size == 4


@pytest.mark.invariant("I-15")
async def test_every_tile_of_every_size_is_served_and_never_changes(scene: Scene, side: ReadingSide) -> None:
    served: dict[str, bytes] = {}
    sizes = []
    for more in (1, 2, 252, 1, 1, 20):  # across the border of the first tile
        await release_many(scene, more)
        await scene.integrate()
        size = open_checkpoint(await side.client().checkpoint(), LOG).checkpoint.size
        sizes.append(size)
        for name in {*changed_tiles(0, size), *(name for past in sizes for name in partial_tiles(past))}:
            answer = await side.http.get(f"{AUDIT_URL}/log/{name.path}")
            assert answer.status_code == 200, name
            assert answer.headers["content-type"] == "application/octet-stream"
            assert "immutable" in answer.headers["cache-control"]
            assert len(answer.content) == 32 * name.width
            assert served.setdefault(name.path, answer.content) == answer.content
    hashes = [hash_leaf(leaf) for leaf in await leaves(scene)]
    assert served["tile/0/000"] == b"".join(hashes[:FULL_WIDTH])
    assert sizes == [1, 3, 255, 256, 257, 277]


async def test_only_what_a_checkpoint_covers_is_served(scene: Scene, side: ReadingSide) -> None:
    await release_many(scene, 3)
    await scene.integrate()
    await release_many(scene, 2)
    client = side.client("auditor")
    for name in (TileName(0, 0, 4), TileName(0, 0), TileName(0, 1, 1), TileName(1, 0, 1), TileName(7, 0, 1), TileName(63, 0, 1)):
        with pytest.raises(Problem, match="covers"):
            await client.tile(name)
    for index, width in ((0, 4), (0, 256), (1, 1)):
        with pytest.raises(Problem, match="covers"):
            await client.bundle(index, width, REASON)


async def test_a_path_that_is_not_the_spelling_of_a_tile_is_not_found(scene: Scene, side: ReadingSide) -> None:
    await release_many(scene, 2)
    await scene.integrate()
    for path in (
        "0/000.p/02", "0/0", "0/x000/000", "00/000.p/1", "0/000.p/0", "0/000.p/257", "-1/000.p/1", "0/000.p/1/",
        "0/000.p/%31%32", "64/000.p/1", "data/000", "0/000.p/１", "", "x" * 65,
    ):  # fmt: skip
        answer = await side.http.get(f"{AUDIT_URL}/log/tile/{path}")
        assert answer.status_code in (400, 404), path
    assert (await side.http.post(f"{AUDIT_URL}/log/checkpoint")).status_code == 405


# --- Bundles ----------------------------------------------------------------------------------------------------------------


async def test_bundles_are_for_auditors_and_hold_the_entries(scene: Scene, side: ReadingSide) -> None:
    await release_many(scene, 3)
    await scene.integrate()
    stored = await leaves(scene)
    assert list(decode_bundle(await side.client("auditor").bundle(0, 3, REASON))) == stored
    assert list(decode_bundle(await side.client("auditor").bundle(0, 2, REASON))) == stored[:2]
    path = f"{AUDIT_URL}/log/{TileName(ENTRIES, 0, 3).path}"
    assert (await side.http.get(path)).status_code == 401
    for role in ("operator", "security", "officer", "citizen", "registrar"):
        headers = {"authorization": f"Bearer {side.token(role)}", "exchange-reason": quote(REASON)}
        answer = await side.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    headers = {"authorization": f"Bearer {side.token('auditor')}", "exchange-reason": quote(REASON)}
    assert (await side.http.get(path, headers=headers)).headers["cache-control"].startswith("private")


async def test_taking_bundles_is_recorded_once_a_sitting(scene: Scene, side: ReadingSide) -> None:
    await release_many(scene, 3)
    await scene.integrate()
    client = side.client("auditor")
    for _ in range(3):
        await client.bundle(0, 3, REASON)
    assert await scene.count("read") == 1
    await client.bundle(0, 3, "another reason")
    await side.client("auditor", account="auditor-2").bundle(0, 3, REASON)
    assert await scene.count("read") == 3
    side.clock.advance(SITTING.total_seconds() + 1)
    await client.bundle(0, 3, REASON)
    assert await scene.count("read") == 4


# --- Proofs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-10")
async def test_whoever_holds_an_entry_gets_its_proof(scene: Scene, side: ReadingSide) -> None:
    await release_many(scene, 260)
    await scene.integrate()
    for index, leaf in enumerate(await leaves(scene)):
        if index % 37 == 0 or index > 254:
            proven = verify_proof(await side.client().proof(leaf), leaf, TrustPolicy(LOG))
            assert (proven.index, proven.checkpoint.checkpoint.size) == (index, 260)


@pytest.mark.invariant("I-10")
async def test_entries_of_every_kind_are_proven_with_a_request_id_or_without(scene: Scene, side: ReadingSide) -> None:
    consent = "a-consent"
    await scene.release(consent=consent)
    await scene.deny()
    await scene.withdraw(consent)
    await scene.fence(GroundKind.PURPOSE, "a-purpose")
    await scene.integrate()
    for index, leaf in enumerate(await leaves(scene)):
        assert verify_proof(await side.client().proof(leaf), leaf, TrustPolicy(LOG)).index == index
    assert len(await leaves(scene)) == 4


async def test_an_entry_that_waits_for_its_place_is_said_to_wait(scene: Scene, side: ReadingSide) -> None:
    await scene.release()
    await scene.integrate()
    serial = await scene.release()
    async with connected(scene.database) as connection:
        leaf = await connection.fetchval("SELECT leaf FROM audit.entry WHERE serial = $1", serial)
    with pytest.raises(Problem) as problem:
        await side.client().proof(leaf)
    assert (problem.value.code, problem.value.extra["pending"]) == ("not-found", True)
    await scene.integrate()
    assert verify_proof(await side.client().proof(leaf), leaf, TrustPolicy(LOG)).index == 1


async def test_there_is_no_proof_for_anything_else(scene: Scene, side: ReadingSide) -> None:
    await scene.release()
    await scene.integrate()
    [leaf] = await leaves(scene)
    strange = [leaf.replace(b"gateway-1", b"gateway-2"), leaf + b" ", b"{}", b"[1]", b"\xff\xfe"]
    strange += [b'{"at":1,"consumer":"c","rid":%s}' % rid for rid in (b'"!"', '"卷"'.encode(), b'"QQ"', b"[]")]
    strange += [b'{"at":%s}' % time for time in (b'"x"', b"-1", b"253402300800000", b"1")]
    for entry in strange:
        with pytest.raises(Problem) as problem:
            await side.client().proof(entry)
        assert (problem.value.code, problem.value.extra["pending"]) == ("not-found", False)
    for body in (
        '{"entry": "a"}',
        '{"entry": "!!!!"}',
        '{"entry": ""}',
        "{}",
        '{"entry": "e30", "index": 0}',
        '{"entry": 3}',
        "[]",
        "x",
    ):
        headers = {"content-type": "application/json"}
        answer = await side.http.post(f"{AUDIT_URL}/log/proof", content=body.encode(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), body
    too_long = json.dumps({"entry": b64url(b"x" * 70_000)}).encode()
    assert (await side.http.post(f"{AUDIT_URL}/log/proof", content=too_long, headers=headers)).status_code == 400


# --- The process ------------------------------------------------------------------------------------------------------------


async def test_a_body_that_two_readers_could_read_differently_is_refused(side: ReadingSide) -> None:
    body = b'{"entry": "AAAA", "entry": "BBBB"}'
    answer = await side.http.post(f"{AUDIT_URL}/log/proof", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed-request"


async def test_it_is_ready_as_long_as_the_database_answers(side: ReadingSide) -> None:
    assert (await side.http.get(f"{AUDIT_URL}/health/ready")).status_code == 200
    assert "http_requests_total" in (await side.http.get(f"{AUDIT_URL}/metrics")).text


async def test_the_document_names_every_endpoint_with_its_refusals() -> None:
    document = document_app().openapi()
    assert set(document["paths"]) == {
        "/log/checkpoint",
        "/log/witnessed-checkpoint",
        "/log/witnesses",
        "/log/timestamp/{size}",
        "/export",
        "/provided",
        "/log/tile/{path}",
        "/log/tile/entries/{path}",
        "/log/proof",
        "/search",
        "/entries/{serial}",
        "/affected",
        "/my/accesses",
        "/cases/access",
        "/cases/receivers",
        "/v2/findUsage",
        "/v2/heartbeat",
        "/v2/usagePeriod",
        "/statistics",
        "/statistics/unused-rights",
        "/anomalies",
        "/records",
        "/saved-queries",
        "/saved-queries/{identifier}",
    }
    assert {"401", "403"} <= set(document["paths"]["/search"]["post"]["responses"])
    schema = document["components"]["schemas"]["SearchRequest"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["reason"]
    json.dumps(document)


async def test_the_process_serves_a_log_that_a_stranger_can_walk(scene: Scene, tmp_path: Path) -> None:
    await release_many(scene, 300)
    await scene.integrate()
    port, settings = free_port(), reading_settings(scene, tmp_path)
    environment = {
        "YITONG_PORT": str(port),
        "YITONG_DATABASE_URL": settings.database_url,
        "YITONG_OIDC_ISSUER": settings.oidc_issuer,
        "YITONG_OIDC_JWKS_URL": settings.oidc_jwks_url,
        "YITONG_EPOCH_KEY_FILE": str(settings.epoch_key_file),
        "YITONG_BODY_KEYS_FILE": str(settings.body_keys_file),
        "YITONG_HEADS_KEY_FILE": str(settings.heads_key_file),
    }
    process = subprocess.Popen([sys.executable, "-m", "audit.app"], cwd=ROOT, env=environment)  # noqa: ASYNC220 - waited for in a thread
    url = f"http://127.0.0.1:{port}"
    try:
        await asyncio.to_thread(until, lambda: _answers(f"{url}/health/ready"))
        async with HttpSource(f"{url}/log") as source:
            report = await fsck_published(source, LOG)
        # Without an auditor's log-in the bundles stay shut; hash tiles and checkpoint add up all the same.
        assert {finding.fault for finding in report.findings} == {"entry-missing"}
        assert (report.size, report.finding_count) == (300, 2)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


async def test_an_auditor_walks_the_published_log_bundles_and_all(scene: Scene, side: ReadingSide) -> None:
    await release_many(scene, 300)
    await scene.integrate()
    client = side.client("auditor")

    class Published:
        async def read(self, path: str) -> bytes:
            headers = {"authorization": f"Bearer {side.token('auditor')}", "exchange-reason": quote(REASON)}
            answer = await side.http.get(f"{AUDIT_URL}/log/{path}", headers=headers)
            if answer.status_code != 200:
                raise LookupError(path)
            return answer.content

    report = await fsck_published(Published(), LOG)
    assert (report.ok, report.size, report.first) == (True, 300, None)
    assert sum(1 for _ in changed_bundles(0, 300)) == 2
    assert len((await client.search(SearchRequest(reason=REASON))).entries) == 50
