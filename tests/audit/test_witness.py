"""Witnesses cosign one history and never go back; whoever shows them another is refused, and everybody sees by whom."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Response

from audit.cosigning import Gatherer, Witnessed
from audit.note import (
    Checkpoint,
    NoteError,
    SignatureType,
    VerifierKey,
    add_signatures,
    open_checkpoint,
    parse_note,
    sign_checkpoint,
)
from audit.policy import Policy, parse_policy
from audit.tiles import HeldTiles, TileName
from audit.tree import consistency_proof, grow, hash_leaf
from audit.witness import (
    MAX_PROOF_HASHES,
    MAX_REQUEST_BYTES,
    Submission,
    Witness,
    WitnessDamaged,
    WitnessRefusal,
    WitnessState,
)
from audit.witness_api import witness_router
from deploy.process import free_port
from exchange.canonical import sha256
from exchange.clock import ManualClock
from exchange.keys import SigningKey
from exchange.web import create_app
from tests.audit.reference import LOG, LOG_KEY, ORIGIN, WITNESS, WITNESS_KEY, WITNESS_NAME
from tests.support.waiting import LIMIT_S

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_700_000_000
ORIGIN_HASH = sha256(ORIGIN.encode()).hex()


@cache
def history(size: int, fork_at: int = 1_000_000) -> tuple[Checkpoint, HeldTiles]:
    """A log of so many entries; from `fork_at` on they are others."""
    entries = [b"entry %d" % number if number < fork_at else b"other %d" % number for number in range(size)]
    growth = grow(0, HeldTiles({}), [hash_leaf(entry) for entry in entries])
    tiles = HeldTiles({(tile.level, tile.index): tile.hashes for tile in growth.tiles})
    return Checkpoint(ORIGIN, size, growth.root), tiles


def submission(old: int, new: int, fork_at: int = 1_000_000, key: SigningKey = LOG_KEY) -> Submission:
    """What an honest log sends: the checkpoint, and the proof that it continues the one of size `old`."""
    checkpoint, tiles = history(new, fork_at)
    proof = consistency_proof(old, new, tiles) if 0 < old < new else []
    return Submission(old, tuple(proof), sign_checkpoint(checkpoint, key))


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    state = WitnessState(tmp_path / "witness")
    yield Witness(WITNESS_NAME, WITNESS_KEY, [LOG], state, ManualClock(NOW))
    state.close()


def refused(witness: Witness, raw: bytes) -> WitnessRefusal:
    with pytest.raises(WitnessRefusal) as refusal:
        witness.add_checkpoint(raw)
    return refusal.value


# --- The protocol, to the letter --------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-16")
def test_what_continues_the_last_checkpoint_is_cosigned_and_kept_before_it_is_answered(witness: Witness) -> None:
    for old, new in ((0, 3), (3, 3), (3, 256), (256, 300), (300, 1000)):
        sent = submission(old, new)
        lines = witness.add_checkpoint(sent.encode())
        note = add_signatures(sent.note, parse_note(sent.note.split(b"\n\n")[0] + b"\n\n" + lines).signatures)
        [cosignature] = open_checkpoint(note, LOG, [WITNESS]).cosignatures
        assert (cosignature.key, cosignature.at) == (WITNESS, NOW)
        kept = witness.checkpoint_of(ORIGIN_HASH)
        assert kept is not None
        assert open_checkpoint(kept, LOG, [WITNESS]).checkpoint.size == new


@pytest.mark.invariant("I-16")
def test_each_refusal_has_its_status(witness: Witness) -> None:
    witness.add_checkpoint(submission(0, 10).encode())
    other_origin = sign_checkpoint(Checkpoint("other.example/log", 10, bytes(32)), SigningKey.generate("Ed25519"))
    good, fork = submission(10, 20), submission(10, 20, fork_at=5)
    table: list[tuple[bytes, HTTPStatus]] = [
        (Submission(10, (), other_origin).encode(), HTTPStatus.NOT_FOUND),
        (submission(10, 20, key=SigningKey.generate("Ed25519")).encode(), HTTPStatus.FORBIDDEN),
        (submission(30, 20).encode(), HTTPStatus.BAD_REQUEST),
        (submission(0, 20).encode(), HTTPStatus.CONFLICT),
        (submission(9, 20).encode(), HTTPStatus.CONFLICT),
        (fork.encode(), HTTPStatus.UNPROCESSABLE_ENTITY),
        (submission(10, 10, fork_at=5).encode(), HTTPStatus.UNPROCESSABLE_ENTITY),
        (Submission(10, (), good.note).encode(), HTTPStatus.UNPROCESSABLE_ENTITY),
        (Submission(10, (*good.proof, bytes(32)), good.note).encode(), HTTPStatus.UNPROCESSABLE_ENTITY),
        (Submission(10, (bytes(32),), submission(10, 10).note).encode(), HTTPStatus.UNPROCESSABLE_ENTITY),
        (Submission(10, (b"short",), good.note).encode(), HTTPStatus.UNPROCESSABLE_ENTITY),
    ]
    for raw, status in table:
        refusal = refused(witness, raw)
        assert refusal.status is status, raw
        assert refusal.size == (10 if status is HTTPStatus.CONFLICT else None)
    assert witness.add_checkpoint(good.encode())


def test_the_first_checkpoint_comes_with_no_proof(witness: Witness) -> None:
    first = submission(0, 5)
    assert refused(witness, Submission(0, (bytes(32),), first.note).encode()).status is HTTPStatus.UNPROCESSABLE_ENTITY
    assert witness.add_checkpoint(first.encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"old 00\n\n" + submission(0, 3).note,
        b"old -1\n\n" + submission(0, 3).note,
        b"new 0\n\n" + submission(0, 3).note,
        b"old 0\nnot base64!\n\n" + submission(0, 3).note,
        b"old 0\n\xff\n\n" + submission(0, 3).note,
        b"old 0\r\n\r\n" + submission(0, 3).note,
        b"old 0\n" + b"AAAA\n" * (MAX_PROOF_HASHES + 1) + b"\n" + submission(0, 3).note,
        b"old 0\n\n" + submission(0, 3).note.replace(b"\n3\n", b"\n03\n"),
        b"old 0\n\n" + b"x" * MAX_REQUEST_BYTES,
    ],
)
def test_what_is_no_request_is_a_400(witness: Witness, raw: bytes) -> None:
    assert refused(witness, raw).status is HTTPStatus.BAD_REQUEST
    assert witness.checkpoint_of(ORIGIN_HASH) is None


# --- One history ------------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-16")
def test_a_log_that_forks_or_goes_back_gets_no_second_cosignature(witness: Witness) -> None:
    witness.add_checkpoint(submission(0, 100).encode())
    for fork_at in (0, 50, 99):
        for new in (100, 150):
            assert refused(witness, submission(100, new, fork_at).encode()).status is HTTPStatus.UNPROCESSABLE_ENTITY
    assert refused(witness, submission(0, 60).encode()).status is HTTPStatus.CONFLICT
    assert refused(witness, submission(60, 80).encode()).status is HTTPStatus.CONFLICT
    assert refused(witness, submission(100, 99).encode()).status is HTTPStatus.BAD_REQUEST
    kept = witness.checkpoint_of(ORIGIN_HASH)
    assert kept is not None
    assert open_checkpoint(kept, LOG, [WITNESS]).checkpoint == history(100)[0]


@pytest.mark.invariant("I-16")
def test_it_remembers_through_a_crash_and_cosigns_nothing_on_a_damaged_memory(tmp_path: Path) -> None:
    state = WitnessState(tmp_path)
    first = Witness(WITNESS_NAME, WITNESS_KEY, [LOG], state, ManualClock(NOW))
    first.add_checkpoint(submission(0, 10).encode())
    with pytest.raises(WitnessDamaged):
        WitnessState(tmp_path)
    state.close()
    (tmp_path / f"{ORIGIN_HASH}.draft").write_bytes(b"half a no")  # what a crash leaves
    state = WitnessState(tmp_path)
    again = Witness(WITNESS_NAME, WITNESS_KEY, [LOG], state, ManualClock(NOW))
    assert refused(again, submission(0, 10, fork_at=3).encode()).status is HTTPStatus.CONFLICT
    for damaged in (b"", b"nonsense", submission(0, 5).note):
        state.path(ORIGIN).write_bytes(damaged)
        with pytest.raises(WitnessDamaged):
            again.add_checkpoint(submission(10, 20).encode())
    state.close()


def test_what_somebody_else_wrote_beside_the_checkpoint_is_not_kept(witness: Witness) -> None:
    sent = submission(0, 3)
    padded = sent.note + b"\xe2\x80\x94 stranger.example AAAAAAAA\n"
    witness.add_checkpoint(Submission(0, (), padded).encode())
    kept = witness.checkpoint_of(ORIGIN_HASH)
    assert kept is not None
    assert b"stranger" not in kept


# --- Over HTTP, beside whatever a process does --------------------------------------------------------------------------------


@asynccontextmanager
async def carried(witness: Witness) -> AsyncIterator[httpx2.AsyncClient]:
    """A department's process that carries a witness."""
    app = create_app("Department")
    app.include_router(witness_router(witness), prefix="/witness")
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://department.test") as http:
        yield http


@pytest.mark.invariant("I-16")
async def test_of_two_forks_that_arrive_together_one_is_cosigned(witness: Witness) -> None:
    witness.add_checkpoint(submission(0, 10).encode())
    forks = [
        submission(10, 20),
        submission(10, 20, fork_at=15),
        submission(10, 21, fork_at=16),
        submission(10, 30, fork_at=12),
    ] * 5
    async with carried(witness) as http:
        answers = await asyncio.gather(*(http.post("/witness/add-checkpoint", content=each.encode()) for each in forks))
        statuses = [answer.status_code for answer in answers]
        assert statuses.count(200) == 1
        assert set(statuses) <= {200, 409, 422, 400}
        conflict = next(answer for answer in answers if answer.status_code == 409)
        assert conflict.headers["content-type"] == "text/x.tlog.size"
        assert conflict.content in {b"20\n", b"21\n", b"30\n"}
        kept = (await http.get(f"/witness/{ORIGIN_HASH}/checkpoint")).content
        assert len(open_checkpoint(kept, LOG, [WITNESS]).cosignatures) == 1
        assert (await http.get(f"/witness/{'0' * 64}/checkpoint")).status_code == 404
        assert (await http.get("/witness/x/checkpoint")).status_code == 400
        assert (await http.post("/witness/add-checkpoint", content=b"x" * 100_000)).status_code == 413


# --- Gathering --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Running:
    """见证进程. A witness as a process of its own."""

    name: str
    vkey: VerifierKey
    url: str
    process: subprocess.Popen[bytes]


@asynccontextmanager
async def running(directory: Path, names: Sequence[str]) -> AsyncIterator[list[Running]]:
    """Witnesses of these names, each with its own key, memory and process."""
    (directory / "logs.policy").write_text(f"log {LOG}\nquorum none\n", encoding="utf-8")
    started: list[Running] = []
    try:
        for name in names:
            key, port = SigningKey.generate("Ed25519"), free_port()
            key.save(directory / f"{name}.pem")
            environment = {
                **os.environ,
                "YITONG_PORT": str(port),
                "YITONG_WITNESS_NAME": f"{name}.example/w",
                "YITONG_WITNESS_KEY_FILE": str(directory / f"{name}.pem"),
                "YITONG_WITNESS_DIRECTORY": str(directory / name),
                "YITONG_WITNESS_POLICY_FILE": str(directory / "logs.policy"),
            }
            process = subprocess.Popen(  # noqa: ASYNC220 - waited for by its health
                [sys.executable, "-m", "audit.witness_app"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
            )
            vkey = VerifierKey.of(f"{name}.example/w", key, SignatureType.COSIGNATURE)
            started.append(Running(name, vkey, f"http://127.0.0.1:{port}", process))
        async with httpx2.AsyncClient() as http:
            for each in started:
                await _until_ready(http, each.url)
        yield started
    finally:
        for each in started:
            each.process.kill()
            await asyncio.to_thread(each.process.wait)


async def _until_ready(http: httpx2.AsyncClient, url: str) -> None:
    for _ in range(int(LIMIT_S * 10)):
        try:
            if (await http.get(f"{url}/health/ready")).status_code == 200:
                return
        except httpx2.HTTPError:
            await asyncio.sleep(0.1)
    raise AssertionError(f"{url} did not start")


def policy_of(witnesses: Sequence[Running], quorum: str) -> Policy:
    lines = "".join(f"witness {each.name} {each.vkey} {each.url}\n" for each in witnesses)
    names = " ".join(each.name for each in witnesses)
    return parse_policy(f"log {LOG}\n{lines}group most {quorum} {names}\nquorum most\n".encode())


def tiles_of(size: int, fork_at: int = 1_000_000) -> Any:
    async def fetch(name: TileName) -> bytes:
        return history(size, fork_at)[1](name.level, name.index, name.width)

    return fetch


@pytest.mark.invariant("I-16")
async def test_a_checkpoint_is_cosigned_by_the_quorum_and_every_other_history_is_caught_by_name(tmp_path: Path) -> None:
    async with running(tmp_path, ["authority", "tax", "police"]) as witnesses, httpx2.AsyncClient() as http:
        policy = policy_of(witnesses, "2")
        gatherer = Gatherer(http, policy, tiles_of(100))
        gathered = await gatherer.gather(sign_checkpoint(history(60)[0], LOG_KEY), LOG)
        assert gathered.is_met
        assert set(gathered.by.values()) == {Witnessed.COSIGNED}
        assert len(open_checkpoint(gathered.note, LOG, policy.witness_keys).cosignatures) == 3
        # One has gone away: the quorum holds. It comes back with its memory, and a gatherer without one finds its place.
        witnesses[1].process.kill()
        gathered = await gatherer.gather(sign_checkpoint(history(80)[0], LOG_KEY), LOG)
        assert (gathered.is_met, gathered.by["tax"]) == (True, Witnessed.AWAY)
        newcomer = Gatherer(http, policy, tiles_of(100))
        gathered = await newcomer.gather(sign_checkpoint(history(100)[0], LOG_KEY), LOG)
        assert (gathered.is_met, gathered.by["police"]) == (True, Witnessed.COSIGNED)
        # Fork, rollback, and an entry withheld from the middle: nobody cosigns, and it is seen who said no.
        fork = await Gatherer(http, policy, tiles_of(120, 90)).gather(sign_checkpoint(history(120, 90)[0], LOG_KEY), LOG)
        assert (fork.is_met, fork.by["authority"], fork.by["police"]) == (False, Witnessed.REFUSED, Witnessed.REFUSED)
        back = await Gatherer(http, policy, tiles_of(70)).gather(sign_checkpoint(history(70)[0], LOG_KEY), LOG)
        assert (back.is_met, back.by["authority"]) == (False, Witnessed.REFUSED)
        withheld = await Gatherer(http, policy, tiles_of(100, 40)).gather(sign_checkpoint(history(100, 40)[0], LOG_KEY), LOG)
        assert (withheld.is_met, withheld.by["police"]) == (False, Witnessed.REFUSED)


async def test_a_witness_that_answers_nonsense_counts_for_nothing() -> None:
    answers: list[bytes] = [b"", b"\xe2\x80\x94 liar.example AAAAAAAA\n", b"nonsense", b"x" * 100_000, b"7\n"]
    app = FastAPI()

    @app.post("/add-checkpoint")
    async def lie() -> Any:
        return Response(answers[0], status_code=409 if answers[0] == b"7\n" else 200)

    key = VerifierKey.of("liar.example", SigningKey.generate("Ed25519"), SignatureType.COSIGNATURE)
    policy = parse_policy(f"log {LOG}\nwitness liar {key} http://liar.test\nquorum liar\n".encode())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http:
        while answers:
            gathered = await Gatherer(http, policy, tiles_of(10)).gather(sign_checkpoint(history(10)[0], LOG_KEY), LOG)
            assert not gathered.is_met
            assert gathered.by["liar"] is not Witnessed.COSIGNED
            answers.pop(0)


async def test_only_what_the_log_signed_is_sent_around() -> None:
    async with httpx2.AsyncClient() as http:
        gatherer = Gatherer(http, parse_policy(f"log {LOG}\nquorum none\n".encode()), tiles_of(10))
        with pytest.raises(NoteError):
            await gatherer.gather(sign_checkpoint(history(10)[0], SigningKey.generate("Ed25519")), LOG)
