"""A receipt verifies offline with nothing but trusted keys, and with any byte of it altered it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from audit.entries import blinded, make_release_leaf
from audit.note import Checkpoint, SignatureType, VerifierKey, add_signatures, cosign_text, sign_checkpoint
from audit.proof import UnverifiedProof
from audit.tiles import HeldTiles
from audit.tree import grow, hash_leaf, inclusion_proof
from audit.verify import (
    TITLES,
    CheckName,
    CheckState,
    ReceiptFile,
    Trust,
    VerificationReport,
    describe,
    load_trust,
    main,
    verify_receipt,
)
from exchange.canonical import b64url, b64url_decode, canonical, parse_json, sha256
from exchange.envelope import HttpRequest, Tag, sign_request, verify_request
from exchange.keys import SigningKey
from exchange.receipt import ReceiptClaims, issue_receipt
from exchange.record import Answer, RecordClaims, issue_record, presentation_hash
from tests.audit.reference import LOG, LOG_KEY, ORIGIN, WITNESS, WITNESS_KEY, WITNESS_NAME

ROOT = Path(__file__).resolve().parents[2]
SERVICE = "CN-YA/GOV/public-security/population/resident-identity"
PROVIDER = SERVICE.rpartition("/")[0]
CONSUMER = "CN-YA/GOV/real-estate/transfer"
GATEWAY = "gateway-1"
NOW = 1_790_000_000
PROVIDER_KEY, GATEWAY_KEY, CONSUMER_KEY = SigningKey.generate(), SigningKey.generate(), SigningKey.generate("Ed25519")
SUBJECT = "11010519491231002X"


def key_entry(key: SigningKey, owner: str, use: str, **times: int | None) -> dict[str, Any]:
    whole = {"valid_from": NOW - 1000, "valid_until": NOW + 1000, "revoked_at": None, **times}
    return {"kid": key.kid, "jwk": dict(key.public.jwk), "owner": owner, "use": use, **whole}


def trust_document(**keys: dict[str, Any]) -> dict[str, Any]:
    """The trust file; `keys` replaces those of provider, gateway or consumer."""
    entries = {
        "provider": key_entry(PROVIDER_KEY, PROVIDER, "subsystem"),
        "gateway": key_entry(GATEWAY_KEY, GATEWAY, "gateway"),
        "consumer": key_entry(CONSUMER_KEY, CONSUMER, "subsystem"),
        **keys,
    }
    return {"keys": list(entries.values()), "log": str(LOG), "origin": ORIGIN}


def trusting(directory: Path, document: dict[str, Any]) -> Trust:
    path = directory / "keys.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return load_trust(path)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return trusting(tmp_path, trust_document())


@cache
def signed_request() -> tuple[bytes, bytes]:
    """Signature base and signature of the consumer's request."""
    named = {"content-type": "application/json", "x-road-client": CONSUMER, "x-road-id": "r-1", "exchange-purpose": "transfer"}
    request = HttpRequest("POST", f"/r1/{SERVICE}", "", "gateway.test", list(named.items()), b'{"subject":"x","items":["name"]}')
    signed = sign_request(CONSUMER_KEY, request, tag=Tag.REQUEST, now=NOW)
    verified = verify_request(signed, tag=Tag.REQUEST, key_of=lambda _: CONSUMER_KEY.public, now=NOW)
    return verified.base, verified.signature


def receipt_file(
    *,
    leaf: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
    receipt: dict[str, Any] | None = None,
    by: SigningKey = GATEWAY_KEY,
    proof: bool = True,
) -> ReceiptFile:
    """A receipt with its proof; the arguments alter what leaf, record or receipt say, signatures and proof made over that."""
    base, signature = signed_request()
    claims = RecordClaims(
        issuer=PROVIDER,
        audience=CONSUMER,
        service=SERVICE,
        schema=1,
        request=b64url(sha256(base)),
        record_id="record-1",
        issued_at=NOW,
        gateway_key=dict(GATEWAY_KEY.public.jwk),
        found=True,
    )
    answer = Answer(SUBJECT, {"name": "张三"}, {"address": "北京市***"}, {"is_adult": {"args": {}, "holds": True}})
    presentation = issue_record(PROVIDER_KEY, replace(claims, **(record or {})), answer)
    entry = _entry(presentation, leaf or {})
    sd_hash, withheld = presentation_hash(presentation), {"photo": "item-not-covered"}
    said = ReceiptClaims(CONSUMER, "r-1", NOW + 1, sd_hash, ORIGIN, entry, GATEWAY, withheld)
    whole = issue_receipt(by, presentation, replace(said, **(receipt or {})))
    return ReceiptFile(whole, (base, signature), prove(entry) if proof else None)


def _entry(presentation: str, altered: dict[str, Any]) -> bytes:
    leaf = make_release_leaf(
        at_ms=NOW * 1000,
        gateway=GATEWAY,
        consumer=CONSUMER,
        consumer_key=CONSUMER_KEY.kid,
        provider=PROVIDER,
        provider_key=PROVIDER_KEY.kid,
        service=SERVICE,
        schema=1,
        right="sha256:right",
        purpose="transfer",
        legal_basis="不动产登记暂行条例 第二十四条",
        snapshot=7,
        full=["name"],
        masked=["address"],
        facts=["is_adult"],
        withheld={"photo": "item-not-covered"},
        sd_hash=presentation_hash(presentation),
        not_after_ms=NOW * 1000 + 60_000,
        rid=bytes(32),
        consent=None,
        req=blinded(bytes(32), bytes(32)),
        body_commit=b64url(bytes(32)),
    )
    return canonical({**parse_json(leaf), **altered})


def prove(entry: bytes, *, index: int = 4, cosigned: bool = False) -> bytes:
    """The proof that an entry is the fifth of ten."""
    hashes = [hash_leaf(entry if place == index else b"entry %d" % place) for place in range(10)]
    growth = grow(0, HeldTiles({}), hashes)
    tiles = HeldTiles({(tile.level, tile.index): tile.hashes for tile in growth.tiles})
    checkpoint = Checkpoint(ORIGIN, 10, growth.root)
    note = sign_checkpoint(checkpoint, LOG_KEY)
    if cosigned:
        note = add_signatures(note, [cosign_text(checkpoint.text, WITNESS_NAME, WITNESS_KEY, NOW)])
    return UnverifiedProof(index, tuple(inclusion_proof(index, 10, tiles)), note).encode()


def failed(report: VerificationReport) -> set[CheckName]:
    return {check.name for check in report.checks if check.state is CheckState.FAILED}


# --- What holds -------------------------------------------------------------------------------------------------------------


def test_a_whole_receipt_passes_every_check_in_order(trust: Trust) -> None:
    report = verify_receipt(receipt_file().encode(), trust)
    assert [(check.name, check.state, check.detail) for check in report.checks] == [
        (name, CheckState.PASSED, "") for name in CheckName
    ]
    assert report.valid
    assert (report.says["provider"], report.says["consumer"], report.says["index"]) == (PROVIDER, CONSUMER, 4)


def test_a_bare_presentation_is_verified_without_request_and_proof(trust: Trust) -> None:
    bare = receipt_file().presentation.encode()
    for raw in (bare, bare + b"\n", b"\n " + bare + b"\r\n"):
        report = verify_receipt(raw, trust)
        assert report.valid
        not_checked = {check.name for check in report.checks if check.state is CheckState.NOT_CHECKED}
        assert not_checked == {CheckName.REQUEST, CheckName.INCLUSION, CheckName.CHECKPOINT}


def test_what_was_valid_then_stays_evidence_after_keys_end(tmp_path: Path) -> None:
    ended = key_entry(PROVIDER_KEY, PROVIDER, "subsystem", valid_until=NOW + 2, revoked_at=NOW + 2)
    revoked = key_entry(GATEWAY_KEY, GATEWAY, "gateway", revoked_at=NOW + 2)
    trust = trusting(tmp_path, trust_document(provider=ended, gateway=revoked))
    assert verify_receipt(receipt_file().encode(), trust).valid


def test_the_quorum_of_witnesses_must_be_there(tmp_path: Path) -> None:
    file = receipt_file()
    entry = b64url_decode(_receipt_of(file)["entry"])
    asking = trust_document() | {"witnesses": [str(WITNESS)], "quorum": 1}
    trust = trusting(tmp_path, asking)
    assert failed(verify_receipt(file.encode(), trust)) == {CheckName.CHECKPOINT}
    assert verify_receipt(replace(file, proof=prove(entry, cosigned=True)).encode(), trust).valid


def test_a_policy_says_which_witnesses_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, text = receipt_file(), f"log {LOG}\nwitness w {WITNESS}\nquorum w\n"
    cosigned = replace(file, proof=prove(b64url_decode(_receipt_of(file)["entry"]), cosigned=True))
    trust = trusting(tmp_path, trust_document() | {"policy": text})
    assert failed(verify_receipt(file.encode(), trust)) == {CheckName.CHECKPOINT}
    assert verify_receipt(cosigned.encode(), trust).valid
    trusting(tmp_path, trust_document())
    (tmp_path / "witnesses.policy").write_text(text)
    receipt = tmp_path / "receipt.json"
    for content, valid in ((file, False), (cosigned, True)):
        receipt.write_bytes(content.encode())
        asked = [str(receipt), "--trust", str(tmp_path), "--policy", str(tmp_path / "witnesses.policy")]
        assert main(asked) == (0 if valid else 1)
    (tmp_path / "witnesses.policy").write_text(f"witness w {WITNESS}\nquorum w\n")
    with pytest.raises(ValueError, match="keys of"):
        main(asked)


def _receipt_of(file: ReceiptFile) -> dict[str, Any]:
    receipt: dict[str, Any] = parse_json(b64url_decode(file.presentation.rpartition("~")[2].split(".")[1]))
    return receipt


# --- What does not ----------------------------------------------------------------------------------------------------------


@pytest.mark.invariant("I-31")
def test_no_byte_of_a_bare_presentation_can_be_altered(trust: Trust) -> None:
    raw = receipt_file().presentation.encode()
    for place in range(len(raw)):
        for bit in (0, 5):
            altered = raw[:place] + bytes([raw[place] ^ (1 << bit)]) + raw[place + 1 :]
            assert not verify_receipt(altered, trust).valid, (place, bit)


def test_no_byte_of_a_receipt_file_can_be_altered(trust: Trust) -> None:
    raw = receipt_file().encode()
    assert verify_receipt(raw, trust).valid
    for place in range(len(raw)):
        altered = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        assert not verify_receipt(altered, trust).valid, place


def test_nothing_can_be_cut_off_put_in_or_left_out(trust: Trust) -> None:
    file = receipt_file()
    record, *disclosures, binding = file.presentation.split("~")
    variants = [
        "~".join([record, *disclosures[:-1], binding]),
        "~".join([record, *disclosures[::-1], binding]),
        "~".join([record, *disclosures, disclosures[0], binding]),
        "~".join([record, *disclosures, ""]),
        f"{record}~{binding}",
        record,
        binding,
        "",
        "~",
        file.presentation + "~",
        file.presentation + binding,
    ]
    for variant in variants:
        assert not verify_receipt(replace(file, presentation=variant).encode(), trust).valid, variant[-20:]
        assert not verify_receipt(variant.encode(), trust).valid
    for cut in (1, 10, 100, 1000):
        assert not verify_receipt(file.presentation[:-cut].encode(), trust).valid


def test_each_check_names_what_it_found(tmp_path: Path) -> None:
    trust, file = trusting(tmp_path, trust_document()), receipt_file()
    other = receipt_file(record={"record_id": "record-2"})
    body, _, binding = file.presentation.rpartition("~")
    record, *disclosures = body.split("~")
    stranger = SigningKey.generate()
    base, signature = file.request or (b"", b"")
    proof = file.proof or b""
    cases: list[tuple[ReceiptFile, set[CheckName]]] = [
        (replace(file, presentation="~".join([record[:-4] + "AAAA", *disclosures, binding])), {CheckName.RECORD_SIGNATURE}),
        (replace(file, presentation=f"{body}~{binding[:-4]}AAAA"), {CheckName.RECEIPT_SIGNATURE}),
        (receipt_file(by=stranger), {CheckName.KEYS_VALID, CheckName.RECEIPT_SIGNATURE}),
        (replace(file, presentation=f"{other.presentation.rpartition('~')[0]}~{binding}"), {CheckName.BINDING}),
        (receipt_file(receipt={"issued_at": NOW + 61}), {CheckName.BINDING}),
        (receipt_file(receipt={"issued_at": NOW - 1}), {CheckName.BINDING}),
        (receipt_file(record={"audience": "CN-YA/GOV/tax/other"}), {CheckName.BINDING, CheckName.REQUEST}),
        (receipt_file(record={"request": b64url(bytes(32))}), {CheckName.REQUEST}),
        (replace(file, request=(base + b" ", signature)), {CheckName.REQUEST}),
        (replace(file, request=(base, bytes(64))), {CheckName.REQUEST}),
        (receipt_file(leaf={"consumer_key": "unknown"}), {CheckName.REQUEST}),
        (receipt_file(receipt={"log": "log.example/other"}), {CheckName.LEAF}),
        (replace(file, proof=prove(b"another entry")), {CheckName.INCLUSION}),
        (replace(file, proof=proof.replace(b"\n10\n", b"\n11\n")), {CheckName.CHECKPOINT}),
        (replace(file, proof=proof.replace(b"\n10\n", b"\n20\n")), {CheckName.INCLUSION, CheckName.CHECKPOINT}),
        (replace(file, proof=proof[:-30] + bytes([b"AB"[proof[-30] == ord("A")]]) + proof[-29:]), {CheckName.CHECKPOINT}),
        (replace(file, proof=b""), {CheckName.INCLUSION, CheckName.CHECKPOINT}),
        (replace(file, proof=proof.replace(b"\nindex", b"\nextra AAAA\nindex")), {CheckName.INCLUSION}),
    ]
    for case, names in cases:
        report = verify_receipt(case.encode(), trust)
        assert failed(report) == names, (names, describe(report))
        assert not report.valid


@pytest.mark.parametrize(
    "altered",
    [
        {"kind": "deny"}, {"decision": "deny"}, {"gateway": "gateway-2"}, {"consumer": "CN-YA/GOV/tax/other"}, {"provider": "p"},
        {"provider_key": "k"}, {"service": "s"}, {"schema": 2}, {"sd_hash": None}, {"withheld": {}}, {"full": []},
        {"full": ["name", "photo"]}, {"masked": []}, {"facts": ["is_adult", "is_alive"]}, {"v": 2},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.invariant("I-2")
def test_an_entry_that_says_anything_else_than_what_is_held_is_found(trust: Trust, altered: dict[str, Any]) -> None:
    report = verify_receipt(receipt_file(leaf=altered).encode(), trust)
    assert failed(report) == {CheckName.LEAF}
    assert report.state(CheckName.INCLUSION) is CheckState.NOT_CHECKED


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("provider", key_entry(PROVIDER_KEY, PROVIDER, "subsystem", valid_from=NOW + 2)),
        ("provider", key_entry(PROVIDER_KEY, PROVIDER, "subsystem", valid_until=NOW + 1)),
        ("provider", key_entry(PROVIDER_KEY, PROVIDER, "subsystem", revoked_at=NOW + 1)),
        ("provider", key_entry(PROVIDER_KEY, "CN-YA/GOV/tax/taxation", "subsystem")),
        ("provider", key_entry(PROVIDER_KEY, PROVIDER, "gateway")),
        ("gateway", key_entry(GATEWAY_KEY, GATEWAY, "gateway", valid_until=NOW)),
        ("gateway", key_entry(GATEWAY_KEY, GATEWAY, "gateway", revoked_at=NOW - 500)),
        ("gateway", key_entry(GATEWAY_KEY, "gateway-2", "gateway")),
        ("gateway", key_entry(GATEWAY_KEY, GATEWAY, "subsystem")),
    ],
)
def test_a_key_counts_only_for_its_owner_its_use_and_its_time(tmp_path: Path, name: str, entry: dict[str, Any]) -> None:
    trust = trusting(tmp_path, trust_document(**{name: entry}))
    report = verify_receipt(receipt_file().encode(), trust)
    assert failed(report) == {CheckName.KEYS_VALID}


def test_a_consumer_s_key_counts_only_for_its_time_too(tmp_path: Path) -> None:
    trust = trusting(tmp_path, trust_document(consumer=key_entry(CONSUMER_KEY, CONSUMER, "subsystem", revoked_at=NOW)))
    assert failed(verify_receipt(receipt_file().encode(), trust)) == {CheckName.REQUEST}


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{}", b"{", b"[]", b"null", b'{"v":1}', b'{"v":1,"presentation":"x","request":null,"proof":null,"more":1}',
        b'{"v":2,"presentation":"x","request":null,"proof":null}', b'{"v":true,"presentation":"x","request":null,"proof":null}',
        b'{"v":1,"presentation":3,"request":null,"proof":null}', b'{"v":1,"presentation":"x","request":[],"proof":null}',
        b'{"v":1,"presentation":"x","request":{"base":"a","signature":"a"},"proof":null}',
        b'{"v":1,"presentation":"x","request":{"base":1,"signature":2},"proof":null}',
        b'{"v":1,"v":1,"presentation":"x","request":null,"proof":null}', b"\xff\xfe", "令牌".encode(), b"a~b~c", b"a.b.c~d~e.f.g",
        b"{" * 100_000, b"~" * 100_000, b".".join([b"e30"] * 3) + b"~" + b".".join([b"e30"] * 3),
        b'{"v":1,"presentation":"~a.b.c","request":null,"proof":"\\u0000"}',
    ],
    ids=range(22),
)  # fmt: skip
def test_whatever_a_file_holds_the_answer_is_a_report(trust: Trust, raw: bytes) -> None:
    report = verify_receipt(raw, trust)
    assert not report.valid
    assert [check.name for check in report.checks] == list(CheckName)


@pytest.mark.parametrize(
    "altered",
    [
        {"keys": None},
        {"keys": [{"kid": "x"}]},
        {"keys": [{**key_entry(PROVIDER_KEY, PROVIDER, "subsystem"), "kid": GATEWAY_KEY.kid}]},
        {"keys": [{**key_entry(PROVIDER_KEY, PROVIDER, "subsystem"), "valid_from": "2026"}]},
        {"log": "x"},
        {"origin": "log.example/other"},
        {"quorum": 1},
        {"policy": "quorum none\n"},
        {"policy": 1},
        {"policy": f"log {LOG}\nquorum none\n", "witnesses": [str(WITNESS)], "quorum": 1},
        {"policy": f"log {VerifierKey.of(ORIGIN, WITNESS_KEY)}\nquorum none\n"},
        {"witnesses": [str(VerifierKey.of("w", LOG_KEY, SignatureType.COSIGNATURE))], "quorum": 1},
    ],
    ids=str,
)
def test_a_trust_file_that_contradicts_itself_is_not_used(tmp_path: Path, altered: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words differ, that it is refused does not
        trusting(tmp_path, {**trust_document(), **altered})


# --- On the command line ----------------------------------------------------------------------------------------------------


def test_the_command_answers_in_both_languages_and_by_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trusting(tmp_path, trust_document())
    file = tmp_path / "receipt.json"
    file.write_bytes(receipt_file().encode())
    assert main([str(file), "--trust", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "有效 VALID" in told
    assert all(title in told for titles in TITLES.values() for title in titles)
    file.write_bytes(file.read_bytes().replace(b"index 4", b"index 5"))
    assert main([str(file), "--trust", str(tmp_path / "keys.json"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["valid"], document["checks"][7]["state"]) == (False, "failed")


def test_it_imports_nothing_of_a_server_or_a_database() -> None:
    program = "import sys, audit.verify; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    servers = {"fastapi", "starlette", "uvicorn", "asyncpg", "sqlalchemy", "nats", "httpx2", "pydantic", "alembic"}
    assert not loaded & servers
    assert {"audit", "exchange"} <= loaded
