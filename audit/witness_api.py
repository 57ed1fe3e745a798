"""A witness over HTTP (C2SP tlog-witness): two routes that any process can carry beside its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from audit.policy import load_policy
from audit.witness import MAX_REQUEST_BYTES, SIZE_TYPE, Witness, WitnessRefusal, WitnessState
from exchange.clock import Clock
from exchange.keys import SigningKey
from exchange.problem import Problem
from exchange.web import problem_responses

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class OpenWitness:
    """在岗见证方. A witness with its two routes and its directory, which is held until `close`."""

    witness: Witness
    router: APIRouter
    state: WitnessState

    @classmethod
    def open(cls, name: str, key_file: FilePath, policy_file: FilePath, directory: FilePath, clock: Clock) -> OpenWitness:
        """Take the directory, and make the key if there is none yet.

        Raises WitnessDamaged while another process has the directory, PolicyError, NoteError, OSError.
        """
        if not key_file.exists():
            SigningKey.generate("Ed25519").save(key_file)
        logs = [each.key for each in load_policy(policy_file).logs]
        state = WitnessState(directory)
        witness = Witness(name, SigningKey.load(key_file), logs, state, clock)
        return cls(witness, witness_router(witness), state)

    def close(self) -> None:
        """Let the directory go."""
        self.state.close()


def witness_router(witness: Witness) -> APIRouter:
    """`POST /add-checkpoint` and `GET /<hash of an origin>/checkpoint`, below whatever prefix the process gives them."""
    router = APIRouter(tags=["witness"])
    turn = asyncio.Lock()

    @router.post("/add-checkpoint", response_class=Response, responses=problem_responses("malformed-request", "too-large"))
    async def add_checkpoint(request: Request) -> Response:
        """The cosignature, or one of the statuses of tlog-witness; 409 answers the size that was cosigned last."""
        raw = await request.body()
        if len(raw) > MAX_REQUEST_BYTES:
            raise Problem("too-large", "an old size, a proof and a checkpoint are not that long")
        try:
            # One request is judged and kept before the next is looked at; the disk keeps none of the process' other work waiting.
            async with turn:
                return Response(await run_in_threadpool(witness.add_checkpoint, raw), media_type=_TEXT)
        except WitnessRefusal as refusal:
            if refusal.size is not None:
                # Not by `media_type`: the framework would add a charset to it.
                return Response(f"{refusal.size}\n", status_code=refusal.status, headers={"content-type": SIZE_TYPE})
            return Response(f"{refusal.detail}\n", status_code=refusal.status, media_type=_TEXT)

    @router.get(
        "/{origin_hash}/checkpoint", response_class=Response, responses=problem_responses("malformed-request", "not-found")
    )
    async def get_checkpoint(origin_hash: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]) -> Response:
        """The last checkpoint that was cosigned, by the hexadecimal SHA-256 of the log's origin."""
        note = await run_in_threadpool(witness.checkpoint_of, origin_hash)
        if note is None:
            raise Problem("not-found", "nothing of that log was cosigned here")
        return Response(note, media_type=_TEXT, headers={"cache-control": "no-store"})

    return router
