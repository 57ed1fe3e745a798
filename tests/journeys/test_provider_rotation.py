"""A provider goes over to another key while it answers: nobody is refused, every record verifies, rights stay what they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from audit.client import VerificationReport, load_trust, verify_receipt
from deploy.receipts import keep_receipt, write_trust
from exchange.keys import SigningKey
from gateway.client import Fetched, Prepared
from tests.journeys.stage import DEED_TAX, PATIENCE_S, Stage, both, refused
from tests.support.page import Shell
from tests.support.waiting import until_async

OWNER, SERVICE = "CN-YA/GOV/tax/taxation", f"CN-YA/GOV/{DEED_TAX}"
AT_ONCE = 2


@dataclass(slots=True)
class Askers:
    """Ask on and on at both gateways; a refusal, or an answer that does not verify, ends the test."""

    stage: Stage
    answers: list[tuple[Prepared, Fetched]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Within the block."""
        ended = asyncio.Event()

        async def work(gateway: str) -> None:
            while not ended.is_set():
                await self._ask(gateway)

        async with asyncio.TaskGroup() as workers:
            for gateway in both(self.stage.session.gateways) * AT_ONCE:
                workers.create_task(work(gateway))
            try:
                yield
            finally:
                ended.set()

    async def _ask(self, gateway: str) -> None:
        wanted = self.stage.wanted(DEED_TAX, self.stage.exchange.cast.buyer.id, facts={"deed_tax_paid": {}})
        prepared = self.stage.prepare(wanted)
        self.answers.append((prepared, self.stage.read(await self.stage.send(prepared, gateway), prepared)))

    @property
    def signed_by(self) -> list[str]:
        """The key of each answer's record, in the order in which they came."""
        return [fetched.answer.record.key.kid for _, fetched in self.answers]

    async def go_on(self, count: int = 8 * AT_ONCE) -> None:
        """Return when so many more answers have come: what was under way before is then over."""
        wanted = len(self.answers) + count
        await until_async(lambda: len(self.answers) >= wanted)

    async def until_signed_by(self, kid: str) -> None:
        """Return when nothing signed by another key is under way any more."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                before = len(self.answers)
                await self.go_on()
                if set(self.signed_by[before:]) == {kid}:
                    return


@pytest.mark.timeout(200)
async def test_a_providers_key_is_rotated_while_it_answers_and_no_request_is_refused(stage: Stage, tmp_path: Path) -> None:
    """To another key and back again, so that both are once the old and once the new one; the asking never pauses."""
    token, identity, registry = await stage.session.token("registrar"), stage.session.identity, stage.registry()
    home, shell = stage.session.home, Shell(tmp_path, stage.session.home.root)
    first, second = home.key("tax"), SigningKey.generate()
    before = await registry.list(token, "rights", service=SERVICE, limit=200)
    second.save(tmp_path / "second.pem")
    first.save(tmp_path / "first.pem")
    askers = Askers(stage)

    async def use(name: str) -> None:
        await asyncio.to_thread(shell.type, f"yitong key use {OWNER} {tmp_path / name}")

    async with askers.asking():
        await askers.until_signed_by(first.kid)
        await identity.rotate_key(first, second, OWNER)
        await use("second.pem")
        await askers.until_signed_by(second.kid)
        await use("first.pem")
        await askers.until_signed_by(first.kid)
        await identity.revoke_key(token, second.kid, "rotated")
        await askers.go_on()
    changes = [(kid, following) for kid, following in pairwise(askers.signed_by) if kid != following]
    assert (first.kid, second.kid) in changes
    assert (second.kid, first.kid) in changes
    assert await registry.list(token, "rights", service=SERVICE, limit=200) == before
    prepared, kept = next(pair for pair in askers.answers if pair[1].answer.record.key.kid == second.kid)
    await require_evidence(stage, prepared, kept, tmp_path)


async def require_evidence(stage: Stage, prepared: Prepared, kept: Fetched, folder: Path) -> None:
    """A record by a key that has ended proves what it proved then, and is no answer to anybody now."""
    kid = kept.answer.record.key.kid
    file, keys = folder / "kept.json", await write_trust(stage.session, folder / "keys.json")
    await keep_receipt(stage.session, kept, file)
    report, others = await asyncio.to_thread(checked, file, keys, kid, kept.answer.receipt.issued_at)
    assert report.valid, report.document()
    assert {check.state.value for check in report.checks} == {"passed"}, "with request and proof, nothing is left unchecked"
    assert [other.valid for other in others] == [False, True], "the end of the key counts, to the second"
    await until_async(lambda: is_ended(stage, kid))
    with refused("record-invalid"):
        stage.read_text(kept.presentation, prepared)


def checked(file: Path, keys: Path, kid: str, released_at: int) -> tuple[VerificationReport, list[VerificationReport]]:
    """The receipt against the keys as they are; and as if its key had ended when it was released, and a second later."""
    known = json.loads(keys.read_text(encoding="utf-8"))
    [entry] = [key for key in known["keys"] if key["kid"] == kid]
    assert entry["revoked_at"] > released_at, "else this would prove nothing"
    receipt, others = file.read_bytes(), []
    for ended in (released_at, released_at + 1):
        entry["revoked_at"] = ended
        (keys.parent / "earlier.json").write_text(json.dumps(known), encoding="utf-8")
        others.append(verify_receipt(receipt, load_trust(keys.parent / "earlier.json")))
    return verify_receipt(receipt, load_trust(keys)), others


def is_ended(stage: Stage, kid: str) -> bool:
    """Whether our own snapshot knows by now."""
    entry = stage.session.trust.current().key(kid)
    return entry is None or entry.revoked
