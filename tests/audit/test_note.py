"""Notes, checkpoints and cosignatures: the published ones open, ours come out byte for byte, and nothing else passes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from audit.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Checkpoint,
    NoteError,
    NoteSignature,
    SignatureType,
    UnverifiedNote,
    VerifierKey,
    add_signatures,
    cosign_text,
    open_checkpoint,
    open_note,
    parse_checkpoint_text,
    parse_note,
    parse_vkey,
    sign_checkpoint,
    sign_text,
)
from exchange.keys import SigningKey
from tests.audit.reference import GOLDEN, LOG, LOG_KEY, ORIGIN, WITNESS, WITNESS_KEY, WITNESS_NAME

VECTOR = GOLDEN["log"]
GO = GOLDEN["notes"][1]
CHECKPOINT = Checkpoint(ORIGIN, 3, bytes.fromhex(VECTOR["root"]))
SIGNED = sign_checkpoint(CHECKPOINT, LOG_KEY)
COSIGNED = add_signatures(SIGNED, [cosign_text(CHECKPOINT.text, WITNESS_NAME, WITNESS_KEY, VECTOR["cosigned_at"])])
TEXT = "first\n\nlast\n"
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def note(text: str, *signatures: NoteSignature) -> bytes:
    return UnverifiedNote(text, signatures).encode()


def refuses(raw: bytes, known: Iterable[VerifierKey]) -> bool:
    try:
        open_note(raw, known)
    except NoteError:
        return True
    return False


# --- Published vectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", GOLDEN["notes"], ids=lambda vector: vector["source"])
def test_published_notes_open_and_come_out_again(vector: dict[str, Any]) -> None:
    raw = vector["note"].encode()
    keys = [parse_vkey(vkey) for vkey in vector["vkeys"]]
    opened = open_note(raw, keys)
    assert [signature.key for signature in opened.verified] == keys
    assert raw.startswith(opened.text.encode() + b"\n")
    assert parse_note(raw).encode() == raw
    assert [str(key) for key in keys] == vector["vkeys"]


def test_signing_with_go_s_published_key_gives_go_s_published_signature() -> None:
    seed = b64decode(GO["seed"].split("+", 4)[4])[1:]
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(seed))
    published = parse_note(GO["note"].encode())
    assert sign_text(published.text, "PeterNeumann", key) == published.signatures[0]


def test_our_known_keys_checkpoint_signature_and_cosignature_come_out() -> None:
    assert LOG.public.hex() == VECTOR["log_public"]
    assert str(LOG) == VECTOR["log_vkey"]
    assert str(WITNESS) == VECTOR["witness_vkey"]
    assert CHECKPOINT.text == VECTOR["checkpoint_text"]
    log_line, witness_line = parse_note(COSIGNED).signatures
    assert str(log_line) == f"— {ORIGIN} {VECTOR['log_signature']}"
    assert str(witness_line) == f"— {WITNESS_NAME} {VECTOR['cosignature']}"
    opened = open_checkpoint(COSIGNED, LOG, [WITNESS])
    assert opened.checkpoint == CHECKPOINT
    assert [(signature.key, signature.at) for signature in opened.cosignatures] == [(WITNESS, VECTOR["cosigned_at"])]


# --- Verifier keys ----------------------------------------------------------------------------------------------------------


def test_no_mangling_of_a_verifier_key_is_taken_for_a_key() -> None:
    vkey = GO["vkeys"][0]
    cuts = {vkey[start:end] for start in range(len(vkey)) for end in range(start, len(vkey) + 1)} - {vkey}
    shifts = {vkey[:place] + chr(ord(vkey[place]) + 1) + vkey[place + 1 :] for place in range(len(vkey))}
    for mangled in cuts | shifts | {vkey + "\n", vkey.replace("c74f20a3", "C74F20A3"), f" {vkey}"}:
        with pytest.raises(NoteError):
            parse_vkey(mangled)


@pytest.mark.parametrize(
    "vkey",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",  # right key ID, key too long
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",  # right key ID, unknown type
    ],
)
def test_a_verifier_key_of_unknown_type_or_length_is_refused_under_its_right_key_id(vkey: str) -> None:
    with pytest.raises(NoteError):
        parse_vkey(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2003b", "a\u2028b", "a\nb", "a\x1fb", "a\x85b", "a\ud800b"])
def test_a_key_name_holds_neither_spaces_nor_plus_nor_control_characters(name: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.of(name, LOG_KEY)
    with pytest.raises(NoteError):
        sign_text(TEXT, name, LOG_KEY)


def test_only_ed25519_keys_sign_notes() -> None:
    with pytest.raises(NoteError):
        sign_text(TEXT, ORIGIN, SigningKey.generate("ES256"))


def test_one_key_has_another_id_for_each_name_and_type() -> None:
    keys = [VerifierKey.of(name, LOG_KEY, kind) for name in ("a", "b") for kind in SignatureType]
    assert len({key.key_id for key in keys}) == len(keys)


# --- Opening notes ----------------------------------------------------------------------------------------------------------


def test_signatures_by_unknown_keys_are_passed_over() -> None:
    known, unknown = sign_text(TEXT, ORIGIN, LOG_KEY), sign_text(TEXT, "other", OTHER_KEY)
    later_type = NoteSignature(ORIGIN, b"\x06\x06\x06\x06", bytes(2428))
    same_name = NoteSignature(ORIGIN, b"\x00\x00\x00\x00", known.signature)
    same_id = NoteSignature("other", known.key_id, known.signature)
    opened = open_note(note(TEXT, unknown, later_type, same_name, same_id, known), [LOG])
    assert opened.text == TEXT
    assert [signature.key for signature in opened.verified] == [LOG]


def test_a_known_key_whose_signature_fails_rejects_the_note_whoever_else_signed() -> None:
    good, witness = sign_text(TEXT, ORIGIN, LOG_KEY), sign_text(TEXT, "other", OTHER_KEY)
    bad = NoteSignature(witness.name, witness.key_id, good.signature)
    keys = [LOG, VerifierKey.of("other", OTHER_KEY)]
    assert not refuses(note(TEXT, good, witness), keys)
    assert refuses(note(TEXT, good, bad), keys)
    assert refuses(note(TEXT, good, witness, bad), keys)  # nor does a good line of the same key excuse a bad one
    assert not refuses(note(TEXT, good, bad), [LOG])


def test_a_note_that_no_known_key_signed_is_rejected() -> None:
    assert refuses(note(TEXT, sign_text(TEXT, "other", OTHER_KEY)), [LOG])
    assert refuses(note(TEXT, sign_text(TEXT, ORIGIN, LOG_KEY)), [])
    assert refuses(GO["note"].encode(), [LOG])


def test_no_byte_of_a_signed_note_can_be_altered() -> None:
    for place in range(len(SIGNED)):
        altered = SIGNED[:place] + bytes([SIGNED[place] ^ 1]) + SIGNED[place + 1 :]
        assert refuses(altered, [LOG]), place


def test_one_key_counts_once_however_often_it_signs() -> None:
    lines = [cosign_text(CHECKPOINT.text, WITNESS_NAME, WITNESS_KEY, at) for at in (1, 2)]
    assert len(open_note(note(CHECKPOINT.text, *lines), [WITNESS]).verified) == 1


def test_two_known_keys_under_one_name_and_id_are_refused() -> None:
    assert refuses(SIGNED, [LOG, LOG])


@pytest.mark.parametrize("control", [chr(code) for code in range(0x20) if code != 0x0A])
def test_control_characters_are_refused_wherever_they_stand(control: str) -> None:
    with pytest.raises(NoteError):
        sign_text(f"a{control}b\n", ORIGIN, LOG_KEY)
    line = sign_text(TEXT, ORIGIN, LOG_KEY)
    for raw in (f"{control}{TEXT}\n{line}\n", f"{TEXT}\n{line}{control}\n", f"{TEXT}{control}\n{line}\n"):
        assert refuses(raw.encode(), [LOG])


def test_a_note_that_is_not_whole_is_refused() -> None:
    line = str(sign_text(TEXT, ORIGIN, LOG_KEY))
    for raw in (
        "",
        "\n\n",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n{line}",
        f"{TEXT}{line}\n",
        f"{TEXT}\n{line}\nanother line\n",
        f"{TEXT}\n{line}\n\n",
        f"{TEXT}\n{line} \n",
        f"{TEXT}\n{line}=\n",
        f"{TEXT}\n{line.replace('—', '-')}\n",
        f"{TEXT}\n{line.replace(' ', '  ', 1)}\n",
        f"{TEXT}\n— {ORIGIN} {b64encode(LOG.key_id).decode()}\n",
        f"{TEXT}\n— {ORIGIN} AAA\n",
        f"{TEXT}\n—  AAAAAAAA\n",
    ):
        assert refuses(raw.encode(), [LOG]), raw
    assert refuses(b"\xff" + f"{TEXT}\n{line}\n".encode(), [LOG])


def test_a_signature_line_without_a_signature_is_refused_though_its_key_is_unknown() -> None:
    line = sign_text(TEXT, ORIGIN, LOG_KEY)
    assert not refuses(note(TEXT, line, NoteSignature("other", bytes(4), b"x")), [LOG])
    assert refuses(note(TEXT, line, NoteSignature("other", bytes(4), b"")), [LOG])


def test_base64_with_stray_bits_is_refused() -> None:
    line = str(sign_text(TEXT, ORIGIN, LOG_KEY))
    assert line.endswith("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    stray = line[:-2] + alphabet[alphabet.index(line[-2]) ^ 1] + "="
    assert b64decode(stray.split(" ")[2]) == b64decode(line.split(" ")[2])
    assert refuses(f"{TEXT}\n{stray}\n".encode(), [LOG])


def test_many_signatures_are_taken_but_not_any_number_nor_any_size() -> None:
    line = sign_text(TEXT, ORIGIN, LOG_KEY)
    others = [NoteSignature(f"w{number}", b"\x01\x02\x03\x04", bytes(2428)) for number in range(MAX_SIGNATURES)]
    assert not refuses(note(TEXT, line, *others[1:]), [LOG])
    assert refuses(note(TEXT, line, *others), [LOG])
    long = "x" * MAX_NOTE_BYTES + "\n"
    assert refuses(note(long, sign_text(long, ORIGIN, LOG_KEY)), [LOG])


def test_the_text_of_a_note_ends_in_a_newline_and_is_utf_8() -> None:
    for text in ("", "no newline", "\ud800\n"):
        with pytest.raises(NoteError):
            sign_text(text, ORIGIN, LOG_KEY)


@given(
    st.lists(st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"])), min_size=1).map(
        lambda lines: "\n".join([*lines, ""])
    )
)
def test_any_text_that_can_be_signed_opens_to_itself(text: str) -> None:
    raw = note(text, sign_text(text, ORIGIN, LOG_KEY), sign_text(text, "other", OTHER_KEY))
    assert parse_note(raw).encode() == raw
    assert open_note(raw, [LOG]).text == text


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_in_another_way_than_by_refusing(raw: bytes) -> None:
    assert refuses(raw, [LOG])
    assert refuses(SIGNED + raw, [LOG]) == (raw != b"")


def test_a_signature_is_added_once_and_replaces_the_one_by_the_same_key() -> None:
    later = cosign_text(CHECKPOINT.text, WITNESS_NAME, WITNESS_KEY, VECTOR["cosigned_at"] + 60)
    renewed = add_signatures(COSIGNED, [later])
    assert len(parse_note(renewed).signatures) == 2
    assert [signature.at for signature in open_checkpoint(renewed, LOG, [WITNESS]).cosignatures] == [VECTOR["cosigned_at"] + 60]
    assert add_signatures(renewed, []) == renewed


# --- Checkpoints and cosignatures -------------------------------------------------------------------------------------------


def test_a_checkpoint_of_an_empty_log_and_one_with_extension_lines_open() -> None:
    for checkpoint in (Checkpoint(ORIGIN, 0, bytes(32)), Checkpoint(ORIGIN, 2**63 - 1, bytes(32), ("one", "two"))):
        assert open_checkpoint(sign_checkpoint(checkpoint, LOG_KEY), LOG).checkpoint == checkpoint
        assert parse_checkpoint_text(checkpoint.text) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "origin\n",
        "origin\n3\n",
        f"origin\n3\n{'A' * 43}=",
        f"\n3\n{'A' * 43}=\n",
        f"origin\n03\n{'A' * 43}=\n",
        f"origin\n-3\n{'A' * 43}=\n",
        f"origin\n+3\n{'A' * 43}=\n",
        f"origin\n٣\n{'A' * 43}=\n",
        f"origin\n 3\n{'A' * 43}=\n",
        f"origin\n{2**63}\n{'A' * 43}=\n",
        f"origin\n{'9' * 5000}\n{'A' * 43}=\n",
        f"origin\n3\n{'A' * 43}\n",
        f"origin\n3\n{'A' * 42}B=\n",
        f"origin\n3\n{'A' * 44}\n",
        f"origin\n3\n{'A' * 40}\n",
        f"origin\n3\n{'A' * 43}=\n\n",
        f"origin\n3\n{'A' * 43}=\n\nextension\n",
    ],
)
def test_any_other_text_is_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint_text(text)


@pytest.mark.parametrize(
    ("origin", "size", "root", "extensions"),
    [
        ("", 3, bytes(32), ()),
        ("a\nb", 3, bytes(32), ()),
        ("a", -1, bytes(32), ()),
        ("a", 2**63, bytes(32), ()),
        ("a", 3, bytes(31), ()),
        ("a", 3, bytes(32), ("",)),
        ("a", 3, bytes(32), ("b\nc",)),
        ("a\tb", 3, bytes(32), ()),
    ],
)
def test_no_checkpoint_is_made_that_could_not_be_read(origin: str, size: int, root: bytes, extensions: tuple[str, ...]) -> None:
    with pytest.raises(NoteError):
        Checkpoint(origin, size, root, extensions)


def test_a_checkpoint_of_another_log_is_refused_though_the_key_is_the_same() -> None:
    text = Checkpoint("another.example/audit", 3, CHECKPOINT.root).text
    raw = note(text, sign_text(text, ORIGIN, LOG_KEY))
    assert not refuses(raw, [LOG])
    with pytest.raises(NoteError, match="another"):
        open_checkpoint(raw, LOG)


def test_a_checkpoint_that_only_witnesses_signed_is_refused() -> None:
    witness_line = parse_note(COSIGNED).signatures[1]
    with pytest.raises(NoteError, match="the log did not sign"):
        open_checkpoint(note(CHECKPOINT.text, witness_line), LOG, [WITNESS])


def test_a_cosignature_by_an_unknown_witness_is_passed_over() -> None:
    assert open_checkpoint(COSIGNED, LOG).cosignatures == ()


def test_a_signature_of_one_type_is_none_of_the_other() -> None:
    plain_witness = VerifierKey.of(WITNESS_NAME, WITNESS_KEY)
    cosigning_log = VerifierKey.of(ORIGIN, LOG_KEY, SignatureType.COSIGNATURE)
    for log, witnesses in ((cosigning_log, [WITNESS]), (LOG, [plain_witness])):
        with pytest.raises(NoteError):
            open_checkpoint(COSIGNED, log, witnesses)
    as_cosignature = NoteSignature(ORIGIN, cosigning_log.key_id, bytes(8) + parse_note(SIGNED).signatures[0].signature)
    assert refuses(note(CHECKPOINT.text, as_cosignature), [cosigning_log])


def test_the_time_of_a_cosignature_is_signed() -> None:
    line = parse_note(COSIGNED).signatures[1]
    for at in (0, VECTOR["cosigned_at"] + 1, 2**63):
        forged = NoteSignature(line.name, line.key_id, at.to_bytes(8, "big") + line.signature[8:])
        with pytest.raises(NoteError):
            open_checkpoint(add_signatures(SIGNED, [forged]), LOG, [WITNESS])
    too_late = b"cosignature/v1\ntime %d\n" % (2**63) + CHECKPOINT.text.encode()
    assert not WITNESS.verify(CHECKPOINT.text, (2**63).to_bytes(8, "big") + WITNESS_KEY.sign(too_late))
    cut = NoteSignature(line.name, line.key_id, line.signature[:8])
    with pytest.raises(NoteError):
        open_checkpoint(add_signatures(SIGNED, [cut]), LOG, [WITNESS])


def test_a_witness_cosigns_checkpoints_only_and_at_a_time_that_can_be_written() -> None:
    with pytest.raises(NoteError):
        cosign_text("a statement\n", WITNESS_NAME, WITNESS_KEY, 1)
    for at in (-1, 2**63):
        with pytest.raises(NoteError):
            cosign_text(CHECKPOINT.text, WITNESS_NAME, WITNESS_KEY, at)
