"""Receipts as files: with the request, the proof from the log, and beside them the keys against which to check them offline."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from audit.client import CheckpointStamp, ReceiptFile, StampRoots, entry_of, parse_proof, parse_receipt_file
from deploy.session import Session
from exchange.problem import Problem
from gateway.client import Fetched

PROOF_SECONDS = 10
_PAUSE_SECONDS = 0.1


async def write_trust(session: Session, path: Path | None = None) -> Path:
    """Write every registered key with its times, and the log's verifier key; None: into `trust/keys.json` of the home."""
    snapshot = session.trust.current()
    keys = [
        {
            "kid": key.kid,
            "jwk": dict(key.jwk),
            "owner": key.owner,
            "use": key.use.value,
            "valid_from": key.valid_from,
            "valid_until": key.valid_until,
            "revoked_at": key.revoked_at,
            "certificate": key.certificate,
        }
        for key in await session.identity.list_keys()
    ]
    path = path or session.home.trust / "keys.json"
    authority = await session.identity.authority()
    document = {"keys": keys, "log": snapshot.log_vkey, "origin": snapshot.log_origin, "authority": authority}
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


async def keep_receipt(session: Session, fetched: Fetched, path: Path) -> None:
    """Write a receipt file with its proof. Raises `not-found` if the log has not taken the entry in within ten seconds.

    What there is before the proof is written at once: the data have left, and nobody gives the receipt a second time.
    """
    await asyncio.to_thread(_write, path, ReceiptFile(fetched.presentation, fetched.request).encode())
    proof = await _proof(session, fetched.answer.receipt.entry)
    await asyncio.to_thread(_write, path, ReceiptFile(fetched.presentation, fetched.request, proof).encode())


async def fetch_stamp(session: Session, raw: bytes, roots: StampRoots) -> tuple[bytes, CheckpointStamp]:
    """A receipt file, proven against a checkpoint that was time-stamped, and the time-stamp. Raises Problem `not-found`."""
    file, audit = parse_receipt_file(raw), session.audit()
    leaf = entry_of(file)
    index = parse_proof(await audit.proof(leaf)).index
    size, response = await audit.timestamp(index + 1)
    return replace(file, proof=await audit.proof(leaf, size=size)).encode(), CheckpointStamp(response, roots)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


async def _proof(session: Session, leaf: bytes) -> bytes:
    for _ in range(int(PROOF_SECONDS / _PAUSE_SECONDS)):
        try:
            return await session.audit().proof(leaf)
        except Problem as problem:
            if problem.code != "not-found":
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
    return await session.audit().proof(leaf)
