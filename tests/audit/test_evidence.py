"""Evidence is checked with openssl alone, by the documented steps; whatever is altered in it does not hold."""

from __future__ import annotations

import io
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from audit.evidence import CheckpointStamp, make_evidence
from audit.notary import signed_text
from audit.proof import parse_proof
from audit.timestamping import StampRefused, StampRoots, TimestampAuthority
from audit.verify import Trust
from exchange.canonical import b64url_decode, parse_json
from exchange.keys import VerifyKey
from exchange.problem import Problem
from identity.certificates import load_authority, make_authority
from tests.audit.test_verify import NOW, prove, receipt_file, trust_document, trusting
from tests.audit.tsa import OpensslAuthority


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return trusting(tmp_path, trust_document())


def unpacked(raw: bytes, directory: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        archive.extractall(directory)
    return directory


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def verify(directory: Path) -> bool:
    done = run("sh", "verify.sh", cwd=directory)
    return done.returncode == 0 and done.stdout.endswith("the entry is in the log\nOK\n")


@pytest.mark.invariant("I-10")
@pytest.mark.parametrize("index", [0, 3, 4, 7, 8, 9])
def test_an_expert_checks_it_with_openssl_alone(trust: Trust, tmp_path: Path, index: int) -> None:
    file = receipt_file()
    entry = b64url_decode(parse_json(b64url_decode(file.presentation.rpartition("~")[2].split(".")[1]))["entry"])
    evidence = make_evidence(replace(file, proof=prove(entry, index=index)).encode(), trust)
    directory = unpacked(evidence, tmp_path / "evidence")
    assert verify(directory)
    assert run("sha256sum", "-c", "SHA256SUMS", cwd=directory).returncode == 0
    for path in sorted(directory.iterdir()):
        assert path.read_bytes(), f"{path.name} says nothing"


def test_the_documented_commands_are_those_that_check_it(trust: Trust, tmp_path: Path) -> None:
    directory = unpacked(make_evidence(receipt_file().encode(), trust), tmp_path / "evidence")
    commands = {line.strip() for line in (directory / "verify.sh").read_text(encoding="utf-8").splitlines()}
    for language in ("zh-CN", "en"):
        text = (directory / f"README.{language}.md").read_text(encoding="utf-8")
        shown = [line.strip() for line in text.splitlines() if line.strip().startswith("openssl ")]
        # Certificates and the time-stamp are of the test below: this receipt's keys have none.
        shown = [each for each in shown if not each.startswith(("openssl verify", "openssl x509", "openssl ts"))]
        assert len(shown) == 2
        # The request of this receipt was signed by an Ed25519 key; the record's key is one of an elliptic curve.
        assert shown[0].replace("request", "record") in " ".join(commands)
        assert shown[1] in " ".join(commands)
        assert run("sh", "-c", shown[0].replace("request", "record"), cwd=directory).returncode == 0
        assert run("sh", "-c", shown[1], cwd=directory).returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        "request.txt",
        "request.sig",
        "record.txt",
        "receipt.txt",
        "receipt.sig",
        "checkpoint.txt",
        "entry.json",
        "entry.hash",
        "path",
    ],
)
def test_one_byte_altered_anywhere_and_it_does_not_hold(trust: Trust, tmp_path: Path, name: str) -> None:
    directory = unpacked(make_evidence(receipt_file().encode(), trust), tmp_path / "evidence")
    for path in directory.iterdir():
        if path.name.startswith(name):
            raw = bytearray(path.read_bytes())
            raw[len(raw) // 2] ^= 1
            path.write_bytes(bytes(raw))
    assert not verify(directory)


def test_equal_receipts_give_equal_bytes(trust: Trust) -> None:
    raw = receipt_file().encode()
    assert make_evidence(raw, trust) == make_evidence(raw, trust)


def test_nothing_is_bundled_that_would_not_hold(trust: Trust) -> None:
    file = receipt_file()
    for incomplete in (replace(file, proof=None), replace(file, request=None)):
        with pytest.raises(Problem) as problem:
            make_evidence(incomplete.encode(), trust)
        assert problem.value.code == "record-incomplete"
    with pytest.raises(Problem) as problem:
        make_evidence(replace(file, proof=prove(b"another entry")).encode(), trust)
    assert problem.value.code == "record-invalid"


def test_it_says_whose_keys_were_valid_when(trust: Trust, tmp_path: Path) -> None:
    directory = unpacked(make_evidence(receipt_file().encode(), trust), tmp_path / "evidence")
    keys = parse_json((directory / "keys.json").read_bytes())
    assert {key["use"] for key in keys} == {"subsystem", "gateway"}
    assert all(key["valid_from"] < key["valid_until"] and key["revoked_at"] is None for key in keys)


def _certified(directory: Path, now: int) -> dict[str, object]:
    """A trust file whose keys have certificates of a real authority."""
    make_authority(directory / "ca.key", directory / "ca.crt", instance="CN-YA", now=now - 1000)
    authority = load_authority(directory / "ca.key", directory / "ca.crt")
    document = trust_document()
    for entry in document["keys"]:
        key = VerifyKey.from_jwk(entry["jwk"])
        times = {"valid_from": entry["valid_from"], "valid_until": entry["valid_until"]}
        entry["certificate"] = authority.issue(key, entry["owner"], serves=False, **times)
    return {**document, "authority": authority.pem}


async def test_certificates_of_that_moment_and_a_time_stamp_are_checked_with_openssl(tmp_path: Path) -> None:
    tsa = OpensslAuthority(tmp_path / "tsa")
    file, certified = receipt_file(), trusting(tmp_path, _certified(tmp_path, NOW))
    assert file.proof is not None
    roots = StampRoots.load(tsa.roots)
    text = signed_text(parse_proof(file.proof).checkpoint)
    authority = TimestampAuthority("http://tsa.test", roots, httpx2.AsyncClient(transport=tsa))
    stamp = CheckpointStamp(await authority.stamp(text), roots)
    directory = unpacked(make_evidence(file.encode(), certified, stamp), tmp_path / "evidence")
    assert verify(directory)
    steps = (directory / "verify.sh").read_text(encoding="utf-8")
    for language in ("zh-CN", "en"):
        shown = (directory / f"README.{language}.md").read_text(encoding="utf-8")
        for line in (each.strip() for each in shown.splitlines()):
            if line.startswith(("openssl verify", "openssl x509", "openssl ts")):
                assert all(part in steps for part in line.split("…")), line
    moment = steps.partition("-attime ")[2].split()[0]
    for name in ("record", "receipt"):
        # A certificate that was not valid then, one of another key, and a stamp over other bytes do not hold.
        early = run("openssl", "verify", "-CAfile", "authority.crt", "-attime", "1", f"{name}.crt", cwd=directory)
        assert early.returncode != 0
        assert (
            run("openssl", "verify", "-CAfile", "authority.crt", "-attime", moment, f"{name}.crt", cwd=directory).returncode == 0
        )
    for first, second in (("record.crt", "receipt.crt"), ("checkpoint.txt", "entry.json")):
        bent = unpacked(make_evidence(file.encode(), certified, stamp), tmp_path / f"bent-{first}")
        (bent / first).write_bytes((bent / second).read_bytes())
        assert not verify(bent)
    with pytest.raises(StampRefused):
        make_evidence(file.encode(), certified, CheckpointStamp(await authority.stamp(text + b"x"), roots))
    told = parse_json((directory / "keys.json").read_bytes())
    assert all(key["certified"] for key in told)
