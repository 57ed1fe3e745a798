"""Evidence of one disclosure, as one file that an expert can check with openssl and nothing of ours.

A zip with: the receipt file as the consumer holds it; each signed text beside its signature and key, cut out so that
`openssl` takes them as they are; the entry and its path in the log; when each key was valid, with the certificates that say so;
a time-stamp over the checkpoint if there is one; what to do, in two languages, and the same as a script. The bytes depend on the
receipt, the keys and the time-stamp only.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from audit.note import VerifierKey, parse_note
from audit.proof import parse_proof
from audit.timestamping import StampRoots, verify_timestamp
from audit.tree import hash_leaf
from audit.verify import ReceiptFile, Trust, TrustedKey, parse_receipt_file, verify_receipt
from exchange.canonical import b64url_decode, parse_json, sha256
from exchange.clock import rfc3339
from exchange.keys import VerifyKey
from exchange.problem import Problem

# One moment for every member: a zip's times say nothing here, and equal evidence shall be equal bytes.
_MOMENT: Final = (1980, 1, 1, 0, 0, 0)
_HALF: Final = 32


@dataclass(frozen=True, slots=True)
class Signed:
    """签名对象. A text, a raw signature over it, and the key."""

    text: bytes
    signature: bytes
    key: VerifyKey

    def members(self, name: str) -> dict[str, bytes]:
        """The text, the signature as openssl takes it, and the key in PEM."""
        pem = self.key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]  # `public` is one of two classes, both of which have it
        return {f"{name}.txt": self.text, f"{name}.sig": self._for_openssl(), f"{name}.pem": pem}

    def command(self, name: str) -> str:
        """What checks it."""
        if isinstance(self.key.public, Ed25519PublicKey):
            return f"openssl pkeyutl -verify -pubin -inkey {name}.pem -rawin -in {name}.txt -sigfile {name}.sig"
        return f"openssl dgst -sha256 -verify {name}.pem -signature {name}.sig {name}.txt"

    def _for_openssl(self) -> bytes:
        if isinstance(self.key.public, Ed25519PublicKey):
            return self.signature
        r, s = (int.from_bytes(half, "big") for half in (self.signature[:_HALF], self.signature[_HALF:]))
        return encode_dss_signature(r, s)


@dataclass(frozen=True, slots=True)
class CheckpointStamp:
    """检查点时间戳. An RFC 3161 response over the checkpoint of the receipt's proof, and the roots (PEM) of its authority."""

    response: bytes
    roots: StampRoots


def make_evidence(raw: bytes, trust: Trust, stamp: CheckpointStamp | None = None) -> bytes:
    """The bundle of a receipt file with request and proof.

    Raises StampRefused if the time-stamp is none over that checkpoint; Problem `record-incomplete` if request or proof is
    missing, `record-invalid` if the receipt does not verify: nothing is bundled that would not hold. Raises as
    `parse_receipt_file`.
    """
    file = parse_receipt_file(raw)
    if file.request is None or file.proof is None:
        raise Problem("record-incomplete", "evidence needs the request and the proof: fetch with --save")
    report = verify_receipt(raw, trust)
    if not report.valid:
        raise Problem("record-invalid", "the receipt does not verify")
    signed, keys = _signatures(file, trust)
    members: dict[str, bytes] = {"receipt.json": raw}
    for name, each in signed.items():
        members |= each.members(name)
    path, script = _inclusion(file)
    members |= path
    certified, certificate_steps = _certificates(signed, trust, _at(file))
    members |= certified
    stamped, stamp_steps = _stamped(signed["checkpoint"].text, stamp)
    members |= stamped
    members["keys.json"] = json.dumps([_told(each) for each in keys], ensure_ascii=False, indent=1).encode()
    members["says.json"] = json.dumps(report.document(), ensure_ascii=False, indent=1).encode()
    steps = [f"echo {name}: && {each.command(name)}" for name, each in signed.items()]
    members["verify.sh"] = _script([*steps, *certificate_steps, *stamp_steps, *script]).encode()
    for language in ("zh-CN", "en"):
        text = resources.files("audit").joinpath("evidence_readme", f"{language}.md").read_text(encoding="utf-8")
        members[f"README.{language}.md"] = text.encode()
    sums = "".join(f"{sha256(content).hex()}  {name}\n" for name, content in sorted(members.items()))
    members["SHA256SUMS"] = sums.encode()
    return _zip(members)


def _signatures(file: ReceiptFile, trust: Trust) -> tuple[dict[str, Signed], list[TrustedKey]]:
    """Request, record, receipt and checkpoint, each as it was signed, and the keys of the first three."""
    body, _, binding = file.presentation.rpartition("~")
    record, receipt = _jws(body.partition("~")[0], trust), _jws(binding, trust)
    leaf = parse_json(entry_of(file))
    base, signature = file.request or (b"", b"")
    request = Signed(base, signature, trust.keys[leaf["consumer_key"]].key)
    checkpoint = parse_note(parse_proof(file.proof or b"").checkpoint)
    log: VerifierKey = trust.log.log
    by_log = next(each for each in checkpoint.signatures if (each.name, each.key_id) == (log.name, log.key_id))
    log_key = VerifyKey.of_public(Ed25519PublicKey.from_public_bytes(log.public))
    signed = {
        "request": request,
        "record": record,
        "receipt": receipt,
        "checkpoint": Signed(checkpoint.text.encode(), by_log.signature, log_key),
    }
    return signed, [trust.keys[each.key.kid] for each in (request, record, receipt)]


def _jws(token: str, trust: Trust) -> Signed:
    text, _, signature = token.rpartition(".")
    kid: str = parse_json(b64url_decode(text.partition(".")[0]))["kid"]
    return Signed(text.encode("ascii"), b64url_decode(signature), trust.keys[kid].key)


def _at(file: ReceiptFile) -> int:
    """When it was disclosed, in Unix seconds, as the entry says."""
    at_ms: int = parse_json(entry_of(file))["at"]
    return at_ms // 1000


def entry_of(file: ReceiptFile) -> bytes:
    """The bytes of the entry in the log, as the receipt holds them."""
    binding = file.presentation.rpartition("~")[2]
    return b64url_decode(parse_json(b64url_decode(binding.split(".")[1]))["entry"])


def _certificates(signed: Mapping[str, Signed], trust: Trust, at: int) -> tuple[dict[str, bytes], list[str]]:
    """Each key's certificate with the authority's, and the steps: valid at the time, and of that very key.

    The log's key has none: who reads the log knows it as a whole.
    """
    members: dict[str, bytes] = {}
    steps: list[str] = []
    for name, each in signed.items():
        known = trust.keys.get(each.key.kid)
        if known is None or known.certificate is None or trust.authority is None:
            continue
        members |= {f"{name}.crt": known.certificate.encode(), "authority.crt": trust.authority.encode()}
        steps.append(f"openssl verify -CAfile authority.crt -attime {at} {name}.crt")
        steps.append(f"openssl x509 -in {name}.crt -noout -pubkey | cmp - {name}.pem")
    return members, steps


def _stamped(checkpoint: bytes, stamp: CheckpointStamp | None) -> tuple[dict[str, bytes], list[str]]:
    if stamp is None:
        return {}, []
    verify_timestamp(stamp.response, checkpoint, stamp.roots)
    members = {"checkpoint.tsr": stamp.response, "stamp-roots.crt": stamp.roots.pem}
    return members, ["openssl ts -verify -data checkpoint.txt -in checkpoint.tsr -CAfile stamp-roots.crt"]


def _told(key: TrustedKey) -> Mapping[str, Any]:
    """A key with its owner and times, as the registry had them."""
    return {
        "kid": key.key.kid,
        "owner": key.owner,
        "use": key.use,
        "valid_from": rfc3339(key.valid_from),
        "valid_until": rfc3339(key.valid_until),
        "revoked_at": None if key.revoked_at is None else rfc3339(key.revoked_at),
        "certified": key.certificate is not None,
        "jwk": dict(key.key.jwk),
    }


def _inclusion(file: ReceiptFile) -> tuple[dict[str, bytes], list[str]]:
    """The entry, the hashes beside its path with the side on which each stands, and the steps that lead to the root."""
    proof, leaf = parse_proof(file.proof or b""), entry_of(file)
    size = int(parse_note(proof.checkpoint).text.split("\n")[1])
    members = {"entry.json": leaf, "entry.hash": hash_leaf(leaf)}
    steps = ["printf '\\000' | cat - entry.json | openssl dgst -sha256 -binary > node", "cmp node entry.hash"]
    index, last = proof.index, size - 1
    for number, beside in enumerate(proof.hashes, 1):
        # RFC 9162 section 2.1.3.2: on the left beside a right child, and beside the last one of its row.
        is_left = bool(index & 1) or index == last
        name = f"path-{number:02}-{'left' if is_left else 'right'}.hash"
        members[name] = beside
        order = f"{name} node" if is_left else f"node {name}"
        steps.append(f"(printf '\\001'; cat {order}) | openssl dgst -sha256 -binary > node.up && mv node.up node")
        while is_left and not index & 1 and index:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1
    steps.append('test "$(openssl base64 -A -in node)" = "$(sed -n 3p checkpoint.txt)" && echo "the entry is in the log"')
    return members, steps


def _script(steps: list[str]) -> str:
    begin = ["#!/bin/sh", "# Needs openssl 3, and the tools of any POSIX system.", "set -e", 'cd "$(dirname "$0")"']
    return "".join(f"{line}\n" for line in (*begin, *steps, "rm -f node", "echo OK"))


def _zip(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(members.items()):
            info = zipfile.ZipInfo(name, _MOMENT)
            info.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
            archive.writestr(info, content)
    return stream.getvalue()
