"""Policy files (C2SP tlog-policy): which witnesses together are enough, and every way of writing it wrongly."""

from __future__ import annotations

from itertools import chain, combinations

import pytest

from audit.note import Checkpoint, SignatureType, VerifiedSignature, VerifierKey, add_signatures, cosign_text, sign_checkpoint
from audit.policy import MAX_GROUPS, MAX_LOGS, MAX_POLICY_BYTES, MAX_WITNESSES, Policy, PolicyError, parse_policy
from audit.proof import TrustPolicy
from audit.tree import EMPTY_ROOT, ProofError
from exchange.keys import SigningKey
from tests.audit.reference import LOG, LOG_KEY, ORIGIN

KEYS = {name: SigningKey.generate("Ed25519") for name in ("X1", "X2", "X3", "Y1", "Y2", "Y3")}
WITNESSES = {name: VerifierKey.of(f"{name}.test", key, SignatureType.COSIGNATURE) for name, key in KEYS.items()}
LINES = "".join(f"witness {name} {key}\n" for name, key in WITNESSES.items())
# The example of the specification, with keys.
EXAMPLE = (
    f"log {LOG}\n{LINES}group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n"
    "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
)


def read(text: str) -> Policy:
    return parse_policy(text.encode())


def fresh_vkey(signature_type: SignatureType = SignatureType.COSIGNATURE, name: str = "fresh") -> str:
    return str(VerifierKey.of(name, SigningKey.generate("Ed25519"), signature_type))


@pytest.mark.invariant("I-16")
def test_the_quorum_of_the_specifications_example_is_met_by_just_the_right_sets() -> None:
    policy = read(EXAMPLE)
    names = list(WITNESSES)
    for chosen in chain.from_iterable(combinations(names, count) for count in range(len(names) + 1)):
        enough = sum(name.startswith("X") for name in chosen) >= 2 and any(name.startswith("Y") for name in chosen)
        assert policy.is_met(WITNESSES[name] for name in chosen) == enough, chosen


def test_keys_that_the_policy_does_not_name_count_for_nothing() -> None:
    policy = read(f"{LINES}group all-of-two 2 X1 X2\nquorum all-of-two\n")
    stranger = VerifierKey.of("X2.test", SigningKey.generate("Ed25519"), SignatureType.COSIGNATURE)
    assert not policy.is_met([WITNESSES["X1"], stranger, WITNESSES["X1"]])
    assert policy.is_met([WITNESSES["X1"], WITNESSES["X2"]])


def test_a_quorum_may_be_one_witness_or_none() -> None:
    assert read("quorum none\n").is_met([])
    one = read(f"{LINES}quorum X2\n")
    assert not one.is_met([WITNESSES["X1"]])
    assert one.is_met([WITNESSES["X2"]])


def test_a_policy_reads_back_as_it_was_written() -> None:
    policy = read(EXAMPLE.replace(f"log {LOG}", f"log {LOG} https://log.test/log"))
    assert parse_policy(policy.encode()) == policy


def test_white_space_comments_and_names_of_any_octets_are_taken() -> None:
    raw = f"  # why\n\t\n \tlog\t {LOG}  \nwitness 一号 {WITNESSES['X1']}\n".encode()
    raw += b"witness \xff\xfe " + str(WITNESSES["X2"]).encode() + b"\ngroup both all \xff\xfe " + "一号\nquorum both\n".encode()
    policy = parse_policy(raw)
    assert policy.is_met([WITNESSES["X1"], WITNESSES["X2"]])
    assert not policy.is_met([WITNESSES["X1"]])
    assert parse_policy(policy.encode()) == policy


def test_a_kelvin_sign_is_no_k() -> None:
    with pytest.raises(PolicyError):
        read(f"witness K {WITNESSES['X1']}\nquorum \u212a\n")
    assert len(read(f"witness K {WITNESSES['X1']}\nwitness \u212a {WITNESSES['X2']}\nquorum K\n").witnesses) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "quorum none",
        "quorum none\r\n",
        "quorum none\nquorum none\n",
        f"{LINES}",
        "quorum nobody\n",
        f"quorum X1\n{LINES}",
        f"{LINES}group g 0 X1\nquorum g\n",
        f"{LINES}group g 3 X1 X2\nquorum g\n",
        f"{LINES}group g 01 X1 X2\nquorum g\n",
        f"{LINES}group g -1 X1 X2\nquorum g\n",
        f"{LINES}group g most X1 X2\nquorum g\n",
        f"{LINES}group g any\nquorum g\n",
        f"{LINES}group g any X1 X1\nquorum g\n",
        f"{LINES}group g any X1\ngroup h any X1 X2\nquorum h\n",
        f"{LINES}group g any g\nquorum g\n",
        f"{LINES}group g any h\ngroup h any X1\nquorum g\n",
        f"{LINES}group g any none\nquorum g\n",
        f"{LINES}group X1 any X2\nquorum X1\n",
        f"{LINES}group none any X2\nquorum none\n",
        f"witness none {WITNESSES['X1']}\nquorum none\n",
        f"{LINES}witness X1 {fresh_vkey()}\nquorum none\n",
        f"{LINES}witness X4 {WITNESSES['X1']}\nquorum none\n",
        f"{LINES}witness X4 {VerifierKey.of('other', KEYS['X1'], SignatureType.COSIGNATURE)}\nquorum none\n",
        f"log {LOG}\nwitness X {VerifierKey.of('w', LOG_KEY, SignatureType.COSIGNATURE)}\nquorum none\n",
        f"log {LOG}\nlog {LOG}\nquorum none\n",
        f"log {WITNESSES['X1']}\nquorum none\n",
        f"witness X {fresh_vkey(SignatureType.ED25519)}\nquorum none\n",
        f"log {LOG} https://a.test https://b.test\nquorum none\n",
        f"log {LOG} ftp://a.test\nquorum none\n",
        f"log {LOG} https://a.test/{'a' * 2048}\nquorum none\n",
        f"log {str(LOG)[:-1]}A\nquorum none\n",
        "witness X1\nquorum none\n",
        "quorum none none\n",
        "Quorum none\n",
        "quorum\u00a0none\n",
        "quorum none\n\x7f\n",
        "quorum none\n# \x00\n",
        "#" * MAX_POLICY_BYTES + "\nquorum none\n",
        "".join(f"log {fresh_vkey(SignatureType.ED25519)}\n" for _ in range(MAX_LOGS + 1)) + "quorum none\n",
        "".join(f"witness w{n} {fresh_vkey()}\n" for n in range(MAX_WITNESSES + 1)) + "quorum none\n",
        "witness g0 "
        + fresh_vkey()
        + "\n"
        + "".join(f"group g{n + 1} any g{n}\n" for n in range(MAX_GROUPS + 1))
        + "quorum none\n",
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        read(text)


def test_the_limits_of_the_specification_are_within_ours() -> None:
    text = "".join(f"log {fresh_vkey(SignatureType.ED25519)}\nwitness w{n} {fresh_vkey()}\n" for n in range(32))
    text += "".join(f"group g{n} any {'g' if n else 'w'}{max(n - 1, 0)}\n" for n in range(32))
    assert len(read(f"{text}quorum g31\n").groups) == 32


def test_a_checkpoint_is_as_fresh_as_the_oldest_cosignature_that_the_quorum_takes() -> None:
    policy = read(f"{LINES}group two 2 X1 X2 X3\nquorum two\n")
    signed = [VerifiedSignature(WITNESSES[name], at) for name, at in (("X1", 50), ("X2", 90), ("X3", 70), ("Y1", 99))]
    assert policy.met_at(signed) == 70
    assert policy.met_at(signed[:2]) == 50
    assert policy.met_at([*signed[:1], *signed[3:]]) is None


@pytest.mark.invariant("I-16")
def test_verification_honours_the_groups_of_a_policy() -> None:
    trust = TrustPolicy.of(read(EXAMPLE), ORIGIN)
    head = Checkpoint(ORIGIN, 0, EMPTY_ROOT)

    def cosigned_by(*names: str) -> bytes:
        lines = [cosign_text(head.text, f"{name}.test", KEYS[name], 1_700_000_000) for name in names]
        return add_signatures(sign_checkpoint(head, LOG_KEY), lines)

    assert len(trust.open(cosigned_by("X1", "X3", "Y2")).cosignatures) == 3
    for too_few in (("X1", "X2", "X3"), ("Y1", "Y2", "Y3", "X1"), ()):
        with pytest.raises(ProofError):
            trust.open(cosigned_by(*too_few))


def test_a_policy_must_name_just_one_key_of_the_log_that_is_verified() -> None:
    for text in ("quorum none\n", f"log {fresh_vkey(SignatureType.ED25519, ORIGIN)}\nlog {LOG}\nquorum none\n"):
        with pytest.raises(ValueError, match="keys of"):
            TrustPolicy.of(read(text), ORIGIN)
    other = fresh_vkey(SignatureType.ED25519, "other.test")
    assert TrustPolicy.of(read(f"log {other}\nlog {LOG}\nquorum none\n"), ORIGIN).log == LOG
