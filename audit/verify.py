"""Checks a receipt file offline: a department said these values, a gateway let exactly them go, and the log has it.

It needs the file and the keys one trusts, and nothing of the server: no database, no network. A receipt file is either a bare
presentation (`JWT~D~…~KB`) or a JSON object that also holds the consumer's request and a `.tlog-proof`:

    {"v": 1, "presentation": "…", "request": {"base": "…", "signature": "…"} | null, "proof": "…" | null}

`base` (signature base, RFC 9421) and `signature` (raw) are unpadded base64url. The trust file `keys.json` holds public keys
with their owners and times (Unix seconds), and the log's verifier key:

    {"keys": [{"kid", "jwk", "owner", "use", "valid_from", "valid_until", "revoked_at"}], "log": vkey, "origin": "…",
     "witnesses": [vkey, …], "quorum": 0}

In place of witnesses and a number it may hold `"policy"`: the text of a policy file (C2SP tlog-policy, see `policy`), which
must name that log; so does `--policy FILE`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from audit.note import VerifierKey, parse_checkpoint_text, parse_note, parse_vkey
from audit.policy import load_policy, parse_policy
from audit.proof import TrustPolicy, parse_proof
from audit.tree import hash_leaf, verify_inclusion
from exchange.canonical import b64url, b64url_decode, parse_json, sha256
from exchange.clock import rfc3339
from exchange.jws import verify_compact
from exchange.keys import VerifyKey
from exchange.problem import Problem
from exchange.receipt import MAX_RECORD_AGE_SECONDS, RECEIPT_TYPE, verify_presentation
from exchange.record import Record, presentation_hash, verify_record

MAX_FILE_BYTES: Final = 33_554_432
_MEMBERS: Final = frozenset({"v", "presentation", "request", "proof"})
_SPACE: Final = b" \t\r\n"
# What keys are registered for: a system that signs as a gateway is none.
_SUBSYSTEM, _GATEWAY = "subsystem", "gateway"


class CheckState(StrEnum):
    """检查结果. What became of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not-checked"


class CheckName(StrEnum):
    """检查名称. The checks, in the order in which they are reported."""

    FILE = "file"
    RECORD_SIGNATURE = "record-signature"
    KEYS_VALID = "keys-valid"
    RECEIPT_SIGNATURE = "receipt-signature"
    BINDING = "binding"
    REQUEST = "request"
    LEAF = "leaf"
    INCLUSION = "inclusion"
    CHECKPOINT = "checkpoint"


TITLES: Final[Mapping[CheckName, tuple[str, str]]] = {
    CheckName.FILE: ("文件格式", "The file is a receipt"),
    CheckName.RECORD_SIGNATURE: ("数据提供部门签名有效", "The provider signed the record and every value shown"),
    CheckName.KEYS_VALID: ("签名密钥在放行时有效", "The keys were valid, and their owners' own, when it was released"),
    CheckName.RECEIPT_SIGNATURE: ("网关回执签名有效", "The gateway signed the receipt"),
    CheckName.BINDING: ("回执与数据凭据一致", "The receipt is for exactly this record and these values"),
    CheckName.REQUEST: ("需求部门的请求签名有效且相符", "The consumer signed the request that this answers"),
    CheckName.LEAF: ("审计条目与回执一致", "The audit entry says what the receipt says"),
    CheckName.INCLUSION: ("审计条目已载入日志", "The audit entry is in the log"),
    CheckName.CHECKPOINT: ("日志检查点签名有效", "The log signed the checkpoint"),
}


@dataclass(frozen=True, slots=True)
class Check:
    """检查项. One check; `detail` says why it failed or was not made."""

    name: CheckName
    state: CheckState
    detail: str = ""

    def document(self) -> dict[str, str]:
        """The JSON form, with both titles."""
        chinese, english = TITLES[self.name]
        return {"check": self.name, "state": self.state, "title_zh": chinese, "title_en": english, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """核验报告. Every check in order, and what the receipt says of itself, which counts only if it is valid."""

    checks: tuple[Check, ...]
    says: Mapping[str, Any] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        """Whether something was checked and nothing failed."""
        states = {check.state for check in self.checks}
        return CheckState.FAILED not in states and CheckState.PASSED in states

    def state(self, name: CheckName) -> CheckState:
        """What became of one check."""
        return next(check.state for check in self.checks if check.name is name)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {"valid": self.valid, "checks": [check.document() for check in self.checks], "says": dict(self.says)}


# --- What one trusts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """受信密钥. A public key, whose it is, and when it may be relied on (Unix seconds; the end is exclusive)."""

    key: VerifyKey
    owner: str
    use: str
    valid_from: int
    valid_until: int
    revoked_at: int | None
    certificate: str | None = None
    """X.509, PEM, if the trust file has it."""

    def require_valid(self, use: str, owner: str, at: int) -> None:
        """Raise ValueError unless the key was this owner's, for this use, and valid at this time."""
        if (self.use, self.owner) != (use, owner):
            raise ValueError(f"the key {self.key.kid} is that of the {self.use} {self.owner}, not of the {use} {owner}")
        if not self.valid_from <= at < self.valid_until:
            raise ValueError(f"the key {self.key.kid} of {owner} was not valid at {rfc3339(at)}")
        if self.revoked_at is not None and at >= self.revoked_at:
            raise ValueError(f"the key {self.key.kid} of {owner} was revoked at {rfc3339(self.revoked_at)}")


@dataclass(frozen=True, slots=True)
class Trust:
    """信任材料. Keys of providers, gateways and consumers by kid, and the log with its witnesses."""

    keys: Mapping[str, TrustedKey]
    log: TrustPolicy
    authority: str | None = None
    """The certificate (PEM) of whoever signs the keys' certificates."""

    def key_of(self, kid: str) -> VerifyKey | None:
        """A key whenever it was valid: when that was is a check of its own."""
        trusted = self.keys.get(kid)
        return trusted.key if trusted else None

    def under(self, policy_file: Path) -> Trust:
        """The same keys, and the witnesses of a policy file. Raises OSError, or ValueError if it is of another log."""
        policy = TrustPolicy.of(load_policy(policy_file), self.log.log.name)
        if policy.log != self.log.log:
            raise ValueError(f"{policy_file} names another key of the log")
        return replace(self, log=policy)


def load_trust(path: Path) -> Trust:
    """Read a trust file, or `keys.json` in a directory. Raises OSError, or ValueError if it is not one."""
    file = path / "keys.json" if path.is_dir() else path
    try:
        document = parse_json(file.read_bytes(), max_bytes=MAX_FILE_BYTES)
        keys = [_trusted_key(each) for each in document["keys"]]
        log = parse_vkey(document["log"])
        policy = _trusted_log(document, log)
        origin, authority = document.get("origin", log.name), document.get("authority")
    except (Problem, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not a trust file: {error!r}") from error
    if origin != log.name:
        raise ValueError(f"{file} names the log {origin} and gives the key of {log.name}")
    if authority is not None and not isinstance(authority, str):
        raise ValueError(f"{file} has an authority that is no certificate")
    return Trust({each.key.kid: each for each in keys}, policy, authority)


def _trusted_log(document: Mapping[str, Any], log: VerifierKey) -> TrustPolicy:
    if "policy" not in document:
        witnesses = tuple(parse_vkey(vkey) for vkey in document.get("witnesses", []))
        return TrustPolicy(log, witnesses, document.get("quorum", 0))
    if not document.keys().isdisjoint({"witnesses", "quorum"}):
        raise ValueError("a trust file has a policy, or witnesses and their number")
    policy = TrustPolicy.of(parse_policy(document["policy"].encode()), log.name)
    if policy.log != log:
        raise ValueError("the policy names another key of the log")
    return policy


def _trusted_key(document: Mapping[str, Any]) -> TrustedKey:
    key = VerifyKey.from_jwk(document["jwk"])
    if key.kid != document["kid"]:
        raise ValueError(f"the key {document['kid']} is in truth {key.kid}")
    owner, use, revoked_at = document["owner"], document["use"], document.get("revoked_at")
    times = (document["valid_from"], document["valid_until"], 0 if revoked_at is None else revoked_at)
    if not (isinstance(owner, str) and isinstance(use, str) and all(type(time) is int for time in times)):
        raise ValueError(f"the key {key.kid} has an owner or times of the wrong shape")
    certificate = document.get("certificate")
    if certificate is not None and not isinstance(certificate, str):
        raise ValueError(f"the certificate of the key {key.kid} has the wrong shape")
    return TrustedKey(key, owner, use, times[0], times[1], revoked_at, certificate)


# --- What is verified -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReceiptFile:
    """回执文件. A presentation, and perhaps the request (signature base, signature) and the proof that belong to it."""

    presentation: str
    request: tuple[bytes, bytes] | None = None
    proof: bytes | None = None

    def encode(self) -> bytes:
        """The JSON form of the file."""
        request = None
        if self.request is not None:
            request = {"base": b64url(self.request[0]), "signature": b64url(self.request[1])}
        proof = None if self.proof is None else self.proof.decode()
        members = {"v": 1, "presentation": self.presentation, "request": request, "proof": proof}
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def parse_receipt_file(raw: bytes) -> ReceiptFile:
    """Read either form. Raises `malformed-request` or `too-large`; nobody would check a member that is not known here."""
    if len(raw) > MAX_FILE_BYTES:
        raise Problem("too-large", "larger than a receipt may be")
    text = raw.strip(_SPACE)
    if not text.startswith(b"{"):
        if not text.isascii():
            raise _not_a_receipt("the presentation is not ASCII")
        return ReceiptFile(text.decode("ascii"))
    document = parse_json(text, max_bytes=MAX_FILE_BYTES)
    if document.keys() != _MEMBERS or type(document["v"]) is not int or document["v"] != 1:
        raise _not_a_receipt("not v 1 with presentation, request and proof")
    presentation, request, proof = document["presentation"], document["request"], document["proof"]
    if not isinstance(presentation, str) or not isinstance(proof, str | None):
        raise _not_a_receipt("presentation or proof is not text")
    return ReceiptFile(presentation, _parse_request(request), None if proof is None else proof.encode())


def _parse_request(request: object) -> tuple[bytes, bytes] | None:
    if request is None:
        return None
    if not isinstance(request, dict) or request.keys() != {"base", "signature"}:
        raise _not_a_receipt("request has base and signature")
    if not all(isinstance(part, str) for part in request.values()):
        raise _not_a_receipt("base or signature is not text")
    try:
        return b64url_decode(request["base"]), b64url_decode(request["signature"])
    except ValueError:
        raise _not_a_receipt("base or signature is not base64url") from None


def _not_a_receipt(why: str) -> Problem:
    return Problem("malformed-request", why)


class _Unmet(Exception):
    """A check cannot be made, because one before it failed."""


@dataclass(slots=True)
class _Verification:
    """One run over one file; what a check finds out, those after it build on."""

    file: ReceiptFile
    trust: Trust
    checks: list[Check] = field(default_factory=list)
    record: Record | None = None
    receipt: dict[str, Any] | None = None
    receipt_kid: str = ""
    leaf: Mapping[str, Any] | None = None
    index: int | None = None
    size: int | None = None

    def run(self) -> VerificationReport:
        """Make every check in order."""
        self.checks.append(Check(CheckName.FILE, CheckState.PASSED))
        self._make(CheckName.RECORD_SIGNATURE, self._check_record)
        self._make(CheckName.KEYS_VALID, self._check_keys)
        self._make(CheckName.RECEIPT_SIGNATURE, self._check_receipt)
        self._make(CheckName.BINDING, self._check_binding)
        if self.file.request is None:
            self._skip(CheckName.REQUEST, "the file holds no request")
        else:
            self._make(CheckName.REQUEST, self._check_request)
        self._make(CheckName.LEAF, self._check_leaf)
        if self.file.proof is None:
            for name in (CheckName.INCLUSION, CheckName.CHECKPOINT):
                self._skip(name, "the file holds no proof")
        else:
            self._make(CheckName.INCLUSION, self._check_inclusion)
            self._make(CheckName.CHECKPOINT, self._check_checkpoint)
        return VerificationReport(tuple(self.checks), self._says())

    def _make(self, name: CheckName, check: Callable[[], None]) -> None:
        try:
            check()
        except _Unmet as unmet:
            self._skip(name, str(unmet))
        except Problem as problem:
            self.checks.append(Check(name, CheckState.FAILED, problem.reason or problem.detail))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError) as error:
            self.checks.append(Check(name, CheckState.FAILED, str(error) or type(error).__name__))
        else:
            self.checks.append(Check(name, CheckState.PASSED))

    def _skip(self, name: CheckName, why: str) -> None:
        self.checks.append(Check(name, CheckState.NOT_CHECKED, why))

    @property
    def _parts(self) -> tuple[str, str]:
        """The presentation up to its last tilde, and the receipt after it."""
        body, tilde, binding = self.file.presentation.rpartition("~")
        if not tilde or not binding:
            raise ValueError("there is no receipt in the presentation")
        return body + tilde, binding

    def _check_record(self) -> None:
        self.record = verify_record(self._parts[0], self.trust.key_of)

    def _check_keys(self) -> None:
        record = self._require_record()
        # When it was released: stated by the receipt, whose signature is the next check.
        payload = parse_json(b64url_decode(self._parts[1].split(".")[1]))
        header = parse_json(b64url_decode(self._parts[1].split(".")[0]))
        at, kid = payload["iat"], header["kid"]
        if type(at) is not int or not isinstance(kid, str) or kid not in self.trust.keys:
            raise ValueError("the receipt does not say when, or is by an unknown key")
        self.trust.keys[record.key.kid].require_valid(_SUBSYSTEM, record.claims.issuer, at)
        self.trust.keys[kid].require_valid(_GATEWAY, payload["gw"], at)

    def _check_receipt(self) -> None:
        signed = verify_compact(self._parts[1], typ=RECEIPT_TYPE, key_of=self.trust.key_of)
        self.receipt, self.receipt_kid = signed.claims(), signed.kid

    def _check_binding(self) -> None:
        record, receipt = self._require_record(), self._require_receipt()
        if VerifyKey.from_jwk(record.claims.gateway_key).kid != self.receipt_kid:
            raise ValueError("the receipt is not by the gateway to which the provider answered")
        if receipt["sd_hash"] != presentation_hash(self._parts[0]):
            raise ValueError("the receipt is for other values")
        if receipt["aud"] != record.claims.audience:
            raise ValueError("record and receipt name different consumers")
        if not 0 <= receipt["iat"] - record.claims.issued_at <= MAX_RECORD_AGE_SECONDS:
            raise ValueError("the record was too old, or from the future, when it was released")

    def _check_request(self) -> None:
        record, receipt = self._require_record(), self._require_receipt()
        base, signature = self.file.request or (b"", b"")
        leaf = parse_json(b64url_decode(receipt["entry"]))
        trusted = self.trust.keys.get(leaf["consumer_key"])
        if trusted is None:
            raise ValueError("the request is signed with an unknown key")
        trusted.require_valid(_SUBSYSTEM, record.claims.audience, receipt["iat"])
        if b64url(sha256(base)) != record.claims.request:
            raise ValueError("the record answers another request")
        if not trusted.key.verify(base, signature):
            raise ValueError("the consumer's signature does not hold")

    def _check_leaf(self) -> None:
        receipt = self._require_receipt()
        if any(check.name is CheckName.BINDING and check.state is not CheckState.PASSED for check in self.checks):
            raise _Unmet("the receipt is not for this record")
        # All checks of a consumer once more, as consumers make them, and the entry word by word.
        answer = verify_presentation(self.file.presentation, provider_key_of=self.trust.key_of, gateway_key_of=self.trust.key_of)
        if receipt["log"] != self.trust.log.log.name:
            raise ValueError(f"the receipt names the log {receipt['log']}, not {self.trust.log.log.name}")
        self.leaf = answer.leaf

    def _check_inclusion(self) -> None:
        if self.leaf is None:
            raise _Unmet("the audit entry is not that of this receipt")
        proof = parse_proof(self.file.proof or b"")
        if proof.extra is not None:
            raise ValueError("the proof carries something that nothing vouches for")
        # The root is taken as the checkpoint has it; whether the log signed that is the next check.
        checkpoint = parse_checkpoint_text(parse_note(proof.checkpoint).text)
        entry = b64url_decode(self._require_receipt()["entry"])
        verify_inclusion(hash_leaf(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
        self.index, self.size = proof.index, checkpoint.size

    def _check_checkpoint(self) -> None:
        self.trust.log.open(parse_proof(self.file.proof or b"").checkpoint)

    def _require_record(self) -> Record:
        if self.record is None:
            raise _Unmet("the record does not verify")
        return self.record

    def _require_receipt(self) -> dict[str, Any]:
        if self.receipt is None:
            raise _Unmet("the receipt does not verify")
        return self.receipt

    def _says(self) -> dict[str, Any]:
        if self.record is None or self.receipt is None or self.leaf is None:
            return {}
        claims = self.record.claims
        return {
            "provider": claims.issuer,
            "consumer": claims.audience,
            "service": claims.service,
            "record": claims.record_id,
            "found": claims.found,
            "gateway": self.receipt["gw"],
            "released_at": rfc3339(self.receipt["iat"]),
            "request_id": self.receipt["nonce"],
            "purpose": self.leaf.get("purpose"),
            "right": self.leaf.get("right"),
            "log": self.receipt["log"],
            "index": self.index,
            "tree_size": self.size,
        }


def verify_receipt(raw: bytes, trust: Trust) -> VerificationReport:
    """Check the content of a receipt file. Never raises for what it holds: the report says what is wrong."""
    try:
        file = parse_receipt_file(raw)
    except Problem as problem:
        others = (Check(name, CheckState.NOT_CHECKED, "the file cannot be read") for name in list(CheckName)[1:])
        return VerificationReport((Check(CheckName.FILE, CheckState.FAILED, problem.detail), *others))
    return _Verification(file, trust).run()


# --- On the command line ----------------------------------------------------------------------------------------------------

_MARKS: Final = {CheckState.PASSED: "✓", CheckState.FAILED: "✗", CheckState.NOT_CHECKED: "–"}


def describe(report: VerificationReport) -> str:
    """The report for people, both languages, one line a check."""
    lines = [
        f"{_MARKS[check.state]} {' '.join(TITLES[check.name])}{f': {check.detail}' if check.detail else ''}"
        for check in report.checks
    ]
    lines += [f"  {name}: {value}" for name, value in report.says.items() if value is not None]
    lines.append("有效 VALID" if report.valid else "无效 NOT VALID")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m audit.verify FILE --trust FILE|DIRECTORY [--policy FILE] [--json]`; answers 0 if valid, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m audit.verify", description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--trust", type=Path, required=True)
    parser.add_argument("--policy", type=Path, help="which witnesses must have cosigned (C2SP tlog-policy)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    trust = load_trust(given.trust)
    if given.policy is not None:
        trust = trust.under(given.policy)
    report = verify_receipt(given.file.read_bytes(), trust)
    text = json.dumps(report.document(), ensure_ascii=False, indent=1) if given.json else describe(report)
    sys.stdout.write(text + "\n")
    return 0 if report.valid else 1


if __name__ == "__main__":
    sys.exit(main())
