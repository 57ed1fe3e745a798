"""What others say of checkpoints is gathered beside the log: it is served with them, and nothing waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI

from audit import notary_store
from audit.cosigning import Gatherer
from audit.notary import Notary, Stamper, TileShelf, signed_text
from audit.notary_store import Cosigned
from audit.note import Checkpoint, SignatureType, VerifierKey, open_checkpoint, sign_checkpoint
from audit.policy import Policy, parse_policy
from audit.proof import TrustPolicy, verify_proof
from audit.timestamping import StampRefused
from audit.tree import ProofError
from audit.witness import Submission, Witness, WitnessState
from audit.witness_api import witness_router
from deploy.postgres.roles import Database
from exchange.clock import ManualClock
from exchange.keys import SigningKey
from exchange.problem import Problem
from exchange.web import create_app
from tests.audit.reference import LOG, LOG_KEY, ORIGIN
from tests.audit.scene import AUDIT_URL, Scene, open_reading_side, open_scene
from tests.support.audit_rows import connected, now_ms

NAMES = ("authority", "police", "tax")


@dataclass(slots=True)
class Hall:
    """公证场景. A log, three witnesses (over HTTP, in this process), and a notary that asks them as its own database role."""

    scene: Scene
    notary: Notary
    policy: Policy
    witnesses: Mapping[str, Witness]
    away: set[str]
    clock: ManualClock

    @property
    def trust(self) -> TrustPolicy:
        return TrustPolicy.of(self.policy)

    async def leaf(self, serial: int) -> bytes:
        async with connected(self.scene.database) as connection:
            leaf: bytes = await connection.fetchval("SELECT leaf FROM audit.entry WHERE serial = $1", serial)
            return leaf


class _Routed(httpx2.AsyncBaseTransport):
    """Each witness by its host name; those that are away cannot be reached."""

    def __init__(self, apps: Mapping[str, FastAPI], away: set[str]) -> None:
        self._transports = {name: httpx2.ASGITransport(app=app) for name, app in apps.items()}
        self._away = away

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        name = request.url.host.partition(".")[0]
        if name in self._away:
            raise httpx2.ConnectError("away")
        return await self._transports[name].handle_async_request(request)


@asynccontextmanager
async def open_hall(database: Database, directory: Path, stamper: Stamper | None = None) -> AsyncIterator[Hall]:
    clock, away = ManualClock(now_ms() / 1000), set[str]()
    witnesses: dict[str, Witness] = {}
    apps: dict[str, FastAPI] = {}
    async with AsyncExitStack() as stack:
        for name in NAMES:
            state = WitnessState(directory / name)
            stack.callback(state.close)
            witnesses[name] = Witness(f"{name}.example/w", SigningKey.generate("Ed25519"), [LOG], state, clock)
            apps[name] = create_app(name)
            apps[name].include_router(witness_router(witnesses[name]))
        lines = "".join(f"witness {name} {each.vkey} http://{name}.test\n" for name, each in witnesses.items())
        policy = parse_policy(f"log {LOG}\n{lines}group most 2 {' '.join(NAMES)}\nquorum most\n".encode())
        http = await stack.enter_async_context(httpx2.AsyncClient(transport=_Routed(apps, away)))
        scene = await stack.enter_async_context(open_scene(database, directory))
        connection = await stack.enter_async_context(connected(database, "yitong_notary"))
        gatherer = Gatherer(http, policy, TileShelf(connection).load)
        yield Hall(scene, Notary(connection, LOG, gatherer, stamper, clock), policy, witnesses, away, clock)


@pytest.fixture
async def hall(database: Database, tmp_path: Path) -> AsyncIterator[Hall]:
    async with open_hall(database, tmp_path) as opened:
        yield opened


@pytest.mark.invariant("I-16")
async def test_a_checkpoint_is_served_with_cosignatures_and_a_proof_holds_under_the_quorum(hall: Hall, tmp_path: Path) -> None:
    serial = await hall.scene.release()
    await hall.scene.integrate()
    leaf = await hall.leaf(serial)
    async with open_reading_side(hall.scene, tmp_path) as side:
        client = side.client()
        with pytest.raises(Problem) as refused:
            await client.proof(leaf, witnessed=True)
        assert (refused.value.code, refused.value.extra["pending"]) == ("not-found", True)
        assert (await side.http.get(f"{AUDIT_URL}/log/witnessed-checkpoint")).status_code == 404
        with pytest.raises(ProofError):
            verify_proof(await client.proof(leaf), leaf, hall.trust)
        cosigned = await hall.notary.round()
        assert cosigned is not None
        assert cosigned.met
        assert await client.checkpoint() == cosigned.note
        assert (await side.http.get(f"{AUDIT_URL}/log/witnessed-checkpoint")).content == cosigned.note
        assert len(open_checkpoint(cosigned.note, LOG, hall.policy.witness_keys).cosignatures) == len(NAMES)
        for raw in (await client.proof(leaf), await client.proof(leaf, witnessed=True), await client.proof(leaf, size=1)):
            assert verify_proof(raw, leaf, hall.trust).index == 0
        # The log goes on: the newest checkpoint is bare until the next round, the witnessed one stands.
        later = await hall.leaf(await hall.scene.release())
        await hall.scene.integrate()
        assert not open_checkpoint(await client.checkpoint(), LOG, hall.policy.witness_keys).cosignatures
        assert verify_proof(await client.proof(leaf, witnessed=True), leaf, hall.trust).checkpoint.checkpoint.size == 1
        with pytest.raises(Problem) as waits:
            await client.proof(later, witnessed=True)
        assert waits.value.extra["pending"] is True
        with pytest.raises(Problem) as unknown:
            await client.proof(later, size=5)
        assert unknown.value.extra["pending"] is False
        await hall.notary.round()
        assert verify_proof(await client.proof(later, witnessed=True), later, hall.trust).checkpoint.checkpoint.size == 2


@pytest.mark.invariant("I-16")
async def test_who_cosigns_who_is_away_and_who_has_seen_another_history_is_shown_by_name(hall: Hall, tmp_path: Path) -> None:
    await hall.scene.release()
    await hall.scene.integrate()
    await hall.notary.round()
    hall.away.add("tax")
    await hall.scene.release()
    await hall.scene.integrate()
    cosigned = await hall.notary.round()
    assert cosigned is not None
    assert cosigned.met
    async with open_reading_side(hall.scene, tmp_path) as side:
        shown = (await side.http.get(f"{AUDIT_URL}/log/witnesses")).json()["witnesses"]
    assert [(row["witness"], row["word"], row["size"], row["cosigned_size"]) for row in shown] == [
        ("authority", "cosigned", 2, 2),
        ("police", "cosigned", 2, 2),
        ("tax", "away", 2, 1),
    ]


async def test_a_witness_with_another_history_refuses_and_the_others_are_a_quorum(database: Database, tmp_path: Path) -> None:
    # What the police cosigned lies there before the notary comes: a fork of this log.
    async with open_hall(database, tmp_path) as hall:
        hall.witnesses["police"].add_checkpoint(
            Submission(0, (), sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), LOG_KEY)).encode()
        )
        await hall.scene.release()
        await hall.scene.integrate()
        cosigned = await hall.notary.round()
        assert cosigned is not None
        assert cosigned.met
        assert hall.notary.words == {"authority": "cosigned", "police": "refused", "tax": "cosigned"}
        async with connected(database, "yitong_auditor") as connection:
            words = {each.witness: (each.word, each.cosigned_size) for each in await notary_store.load_words(connection)}
        assert words["police"] == ("refused", None)


async def test_without_a_quorum_it_asks_again_and_a_quorum_once_met_is_not_lost(hall: Hall) -> None:
    await hall.scene.release()
    await hall.scene.integrate()
    hall.away |= {"tax", "police"}
    first = await hall.notary.round()
    assert first is not None
    assert not first.met
    again = await hall.notary.round()
    assert again is not None
    hall.away.clear()
    met = await hall.notary.round()
    assert met is not None
    assert met.met
    assert await hall.notary.round() is None
    # A minute later it is shown again, so that the cosignatures are fresh.
    hall.clock.advance(61)
    fresh = await hall.notary.round()
    assert fresh is not None
    times = {each.at for each in open_checkpoint(fresh.note, LOG, hall.policy.witness_keys).cosignatures}
    assert times == {int(hall.clock.now())}
    hall.away |= {"tax", "police"}
    hall.clock.advance(61)
    lost = await hall.notary.round()
    assert lost is not None
    assert not lost.met
    async with connected(hall.scene.database, "yitong_auditor") as connection:
        assert await notary_store.load_last_met(connection) == Cosigned(1, fresh.note, met=True)


async def test_the_notary_sees_checkpoints_and_hashes_and_no_entry(hall: Hall) -> None:
    await hall.scene.release()
    async with connected(hall.scene.database, "yitong_notary") as connection:
        for table in ("entry", "body", "sequenced", "subject_entry", "saved_query", "fence"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM audit.{table}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO audit.checkpoint VALUES (9, '', '', now(), 1)")


class _Authority:
    """A time-stamp authority that the test plays; the real one is in test_timestamping."""

    name = "tsa.test"

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.asked: list[bytes] = []
        self._answer = answer

    async def stamp(self, message: bytes) -> bytes:
        self.asked.append(message)
        return self._answer(message)


async def test_checkpoints_are_stamped_once_a_minute_and_a_stamp_is_found_by_what_it_covers(
    database: Database, tmp_path: Path
) -> None:
    refusing = [True]

    def answer(message: bytes) -> bytes:
        if refusing[0]:
            raise StampRefused("away")
        return b"stamp over " + message

    authority = _Authority(answer)
    async with open_hall(database, tmp_path, authority) as hall:
        assert await hall.notary.stamp() is None
        await hall.scene.release()
        await hall.scene.integrate()
        assert await hall.notary.stamp() is None
        refusing[0] = False
        assert await hall.notary.stamp() is None  # not asked again within the minute
        hall.clock.advance(61)
        assert await hall.notary.stamp() == 1
        [_, stamped] = authority.asked
        assert stamped.startswith(f"{ORIGIN}\n1\n".encode())
        assert stamped.endswith(b"\n")
        assert not stamped.endswith(b"\n\n")
        hall.clock.advance(61)
        assert await hall.notary.stamp() is None  # nothing new
        for _ in range(3):
            await hall.scene.release()
        await hall.scene.integrate()
        assert await hall.notary.stamp() == 4
        async with open_reading_side(hall.scene, tmp_path) as side:
            for asked, size in ((1, 1), (2, 4), (4, 4)):
                found = await side.http.get(f"{AUDIT_URL}/log/timestamp/{asked}")
                assert found.headers["exchange-log-size"] == str(size)
                assert found.headers["content-type"] == "application/timestamp-reply"
                assert found.content.startswith(b"stamp over " + f"{ORIGIN}\n{size}\n".encode())
            assert (await side.http.get(f"{AUDIT_URL}/log/timestamp/5")).status_code == 404
            assert (await side.http.get(f"{AUDIT_URL}/log/timestamp/0")).status_code == 400


def test_what_is_stamped_is_what_the_signatures_are_over() -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 7, bytes(32)), LOG_KEY)
    key = VerifierKey.of("w.example/w", SigningKey.generate("Ed25519"), SignatureType.COSIGNATURE)
    assert signed_text(note) == open_checkpoint(note, LOG, [key]).checkpoint.text.encode()
