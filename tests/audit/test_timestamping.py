"""Time-stamps by a real authority (openssl): believed once they verify, refused in one way, and never waited for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from audit.notary import Notary, signed_text
from audit.timestamping import MAX_RESPONSE_BYTES, StampRefused, StampRoots, TimestampAuthority, verify_timestamp
from deploy.postgres.roles import Database
from tests.audit.scene import AUDIT_URL, open_reading_side
from tests.audit.test_notary import open_hall
from tests.audit.tsa import OpensslAuthority
from tests.support.audit_rows import now_ms

MESSAGE = b"yitong.CN-YA/audit\n7\nAAAA\n"


@pytest.fixture
def openssl(tmp_path: Path) -> OpensslAuthority:
    return OpensslAuthority(tmp_path / "tsa")


def authority(openssl: OpensslAuthority, transport: httpx2.AsyncBaseTransport | None = None) -> TimestampAuthority:
    http = httpx2.AsyncClient(transport=transport or openssl)
    return TimestampAuthority("http://tsa.test/stamp", StampRoots.load(openssl.roots), http)


async def test_a_stamp_verifies_here_and_with_openssl(openssl: OpensslAuthority, tmp_path: Path) -> None:
    response = await authority(openssl).stamp(MESSAGE)
    at = verify_timestamp(response, MESSAGE, StampRoots.load(openssl.roots))
    assert abs(now_ms() / 1000 - at.timestamp()) < 60
    (tmp_path / "text").write_bytes(MESSAGE)
    (tmp_path / "stamp.tsr").write_bytes(response)
    command = ["openssl", "ts", "-verify", "-data", "text", "-in", "stamp.tsr", "-CAfile", str(openssl.roots)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: ASYNC221 - a test's own
    assert done.returncode == 0, done.stderr
    assert "Verification: OK" in done.stdout + done.stderr


async def test_each_thing_that_can_be_wrong_is_refused(openssl: OpensslAuthority, tmp_path: Path) -> None:
    stranger = OpensslAuthority(tmp_path / "stranger", name="stranger.test")
    good = await authority(openssl).stamp(MESSAGE)

    def answering(content: bytes, status: int = 200, kind: str = "application/timestamp-reply") -> httpx2.AsyncBaseTransport:
        return httpx2.MockTransport(lambda _request: httpx2.Response(status, content=content, headers={"content-type": kind}))

    def away(_request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("away")

    def slow(_request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("slow")

    bent = bytearray(good)
    bent[-20] ^= 1
    cases: dict[str, httpx2.AsyncBaseTransport] = {
        "cannot be reached": httpx2.MockTransport(away),
        "cannot be reached: ReadTimeout": httpx2.MockTransport(slow),
        "answered 503": answering(b"", 503),
        "no time-stamp": answering(b"<html>", kind="text/html"),
        "does not hold": answering(b"nonsense"),
        "Nonce mismatch": answering(good),  # one that was given for an earlier question
        "larger": answering(b"x" * (MAX_RESPONSE_BYTES + 1)),
    }
    for said, transport in cases.items():
        with pytest.raises(StampRefused, match=said):
            await authority(openssl, transport).stamp(MESSAGE)
    with pytest.raises(StampRefused):
        await authority(openssl, stranger).stamp(MESSAGE)
    roots = StampRoots.load(openssl.roots)
    for response, message in ((good, MESSAGE + b"x"), (bytes(bent), MESSAGE), (good[:-3], MESSAGE), (b"", MESSAGE)):
        with pytest.raises(StampRefused):
            verify_timestamp(response, message, roots)


@pytest.mark.parametrize("damage", [lambda pem: pem[:0], lambda pem: pem[:40]])
def test_roots_without_a_certificate_are_none(openssl: OpensslAuthority, damage: Callable[[bytes], bytes]) -> None:
    openssl.roots.write_bytes(damage(openssl.roots.read_bytes()))
    with pytest.raises(ValueError):  # noqa: PT011 - the library's own words
        StampRoots.load(openssl.roots)


async def test_the_notary_has_checkpoints_stamped_and_an_outage_stops_nothing(
    openssl: OpensslAuthority, database: Database, tmp_path: Path
) -> None:
    async with open_hall(database, tmp_path, authority(openssl)) as hall:
        await hall.scene.release()
        await hall.scene.integrate()
        assert await hall.notary.stamp() == 1
        away = authority(openssl, httpx2.MockTransport(lambda _request: httpx2.Response(500)))
        stopped = Notary(hall.notary.connection, hall.notary.log, hall.notary.gatherer, away, hall.clock)
        await hall.scene.release()
        await hall.scene.integrate()
        assert await stopped.stamp() is None
        cosigned = await stopped.round()
        assert cosigned is not None
        assert cosigned.met
        async with open_reading_side(hall.scene, tmp_path) as side:
            stamped = await side.http.get(f"{AUDIT_URL}/log/timestamp/1")
            note = (await side.http.get(f"{AUDIT_URL}/log/checkpoint")).content
            assert (await side.http.get(f"{AUDIT_URL}/log/timestamp/2")).status_code == 404
    with pytest.raises(StampRefused):  # it is the stamp of the first checkpoint, not of the newest
        verify_timestamp(stamped.content, signed_text(note), StampRoots.load(openssl.roots))
