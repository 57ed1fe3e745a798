"""Records: a provider's signed answer as an SD-JWT (RFC 9901), so that masking and withholding keep the signature.

`issue_record` is the provider's side, `verify_record` everybody else's, `present` the gateway's way of dropping disclosures.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from exchange.canonical import b64url, b64url_decode, parse_json, sha256
from exchange.jws import sign_compact, verify_compact
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem

RECORD_TYPE = "exchange-record+sd-jwt"
REFUSAL_TYPE = "exchange-refusal+jwt"
SALT_BYTES = 16
MAX_DISCLOSURES = 512
MAX_RECORD_BYTES = 8_388_608
SUBJECT = "subject"
# Where disclosures may hang: the top level holds the subject alone, the rest is in three objects.
FORMS = ("items", "masked", "facts")


@dataclass(frozen=True, slots=True)
class RecordClaims:
    """凭据声明. What a record always shows: who answered whom, on which request, for which data set."""

    issuer: str
    audience: str
    service: str
    schema: int
    request: str
    """base64url SHA-256 of the signature base of the consumer's request."""
    record_id: str
    issued_at: int
    gateway_key: Mapping[str, str]
    found: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """应答内容. The forms a provider answers with: full items, masked items, facts, all about one subject."""

    subject: str
    items: Mapping[str, Any]
    masked: Mapping[str, Any]
    facts: Mapping[str, Any]

    def form(self, name: str) -> Mapping[str, Any]:
        """The values of one of FORMS."""
        return {"items": self.items, "masked": self.masked, "facts": self.facts}[name]


@dataclass(frozen=True, slots=True)
class Disclosure:
    """披露. One revealed value: its encoded text, where it hangs, its name and value."""

    text: str
    form: str
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Record:
    """数据凭据. A record whose signature and structure have been verified."""

    jwt: str
    claims: RecordClaims
    answered: Mapping[str, tuple[str, ...]]
    disclosures: tuple[Disclosure, ...]
    key: VerifyKey

    def subject(self) -> str | None:
        """The disclosed subject, or None when it was dropped."""
        return next((d.value for d in self.disclosures if d.form == SUBJECT), None)

    def values(self, form: str) -> dict[str, Any]:
        """Name to value of the disclosed entries of one form."""
        return {d.name: d.value for d in self.disclosures if d.form == form}


def _disclose(name: str, value: object) -> str:
    salt = b64url(secrets.token_bytes(SALT_BYTES))
    return b64url(json.dumps([salt, name, value], ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8"))


def _digest(disclosure: str) -> str:
    return b64url(sha256(disclosure.encode("ascii")))


def _require_plain(value: object) -> None:
    """No `_sd` and no `...` inside a value: a verifier of RFC 9901 would take them for hidden parts."""
    if isinstance(value, dict):
        if "_sd" in value or "..." in value:
            raise ValueError("a value holds a member that SD-JWT reserves")
        for member in value.values():
            _require_plain(member)
    elif isinstance(value, list):
        for member in value:
            _require_plain(member)


def issue_record(key: SigningKey, claims: RecordClaims, answer: Answer) -> str:
    """Sign an answer into `JWT~D~…~D~` (RFC 9901 section 4), every value behind a salted digest.

    The number of digests is that of the names in `answer`, so give each permitted name a value (None when there is none).
    Raises ValueError for a value that holds `_sd` or `...`.
    """
    disclosures = [_disclose(SUBJECT, answer.subject)]
    payload: dict[str, Any] = {
        "iss": claims.issuer,
        "aud": claims.audience,
        "svc": claims.service,
        "schema": claims.schema,
        "req": claims.request,
        "jti": claims.record_id,
        "iat": claims.issued_at,
        "cnf": {"jwk": dict(claims.gateway_key)},
        "found": claims.found,
        "answered": {form: sorted(answer.form(form)) for form in FORMS},
        "_sd": [_digest(disclosures[0])],
        "_sd_alg": "sha-256",
    }
    for form in FORMS:
        values = answer.form(form)
        _require_plain(list(values.values()))
        texts = [_disclose(name, value) for name, value in values.items()]
        payload[form] = {"_sd": sorted(map(_digest, texts))}
        disclosures += texts
    return "~".join([sign_compact(key, RECORD_TYPE, payload), *disclosures, ""])


def _refuse(reason: str) -> Problem:
    return Problem("record-invalid", reason=reason)


def verify_record(presentation: str, key_of: Callable[[str], VerifyKey | None]) -> Record:
    """Verify `JWT~D~…~D~` (no key-binding part) and place each disclosure.

    Raises `record-invalid` for a signature that does not hold, an unknown key, another `typ`, claims of the wrong shape, a
    repeated or unreferenced digest, a disclosure of wrong arity, a name twice in one form or both full and masked, and
    more than MAX_DISCLOSURES.
    """
    if len(presentation) > MAX_RECORD_BYTES:
        raise _refuse("larger than a record may be")
    jwt, *texts, last = presentation.split("~")
    if last or not texts:
        raise _refuse("not JWT~D~…~")
    if len(texts) > MAX_DISCLOSURES:
        raise _refuse("too many disclosures")
    try:
        signed = verify_compact(jwt, typ=RECORD_TYPE, key_of=key_of)
        payload = signed.claims()
    except Problem as problem:
        raise _refuse(problem.reason) from None
    key = key_of(signed.kid)
    if key is None:
        raise _refuse("the key vanished")
    claims, answered = _read_claims(payload)
    disclosures = _place(texts, _digest_places(payload))
    _require_distinct(disclosures, answered)
    return Record(jwt, claims, answered, disclosures, key)


def _read_claims(payload: Mapping[str, Any]) -> tuple[RecordClaims, dict[str, tuple[str, ...]]]:
    texts = [payload.get(name) for name in ("iss", "aud", "svc", "req", "jti")]
    confirmation, answered = payload.get("cnf"), payload.get("answered")
    jwk = confirmation.get("jwk") if isinstance(confirmation, dict) else None
    schema, issued, found = payload.get("schema"), payload.get("iat"), payload.get("found")
    if not all(isinstance(text, str) for text in texts) or not isinstance(jwk, dict) or not isinstance(found, bool):
        raise _refuse("claims of the wrong shape")
    if type(schema) is not int or type(issued) is not int or payload.get("_sd_alg") != "sha-256":
        raise _refuse("schema, iat or _sd_alg of the wrong shape")
    if not isinstance(answered, dict) or set(answered) != set(FORMS):
        raise _refuse("answered of the wrong shape")
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in answered.values()):
        raise _refuse("answered of the wrong shape")
    issuer, audience, service, request, record_id = (str(text) for text in texts)
    claims = RecordClaims(issuer, audience, service, schema, request, record_id, issued, jwk, found)
    return claims, {form: tuple(names) for form, names in answered.items()}


def _digest_places(payload: Mapping[str, Any]) -> dict[str, str]:
    """Digest to the form it stands in; raises when one occurs twice or an `_sd` is not a list of strings."""
    places: dict[str, str] = {}
    count = 0
    for form, holder in ((SUBJECT, payload), *((form, payload.get(form)) for form in FORMS)):
        digests = holder.get("_sd") if isinstance(holder, Mapping) else None
        if not isinstance(digests, list) or not all(isinstance(digest, str) for digest in digests):
            raise _refuse("_sd of the wrong shape")
        count += len(digests)
        places.update(dict.fromkeys(digests, form))
    if len(places) != count:
        raise _refuse("a digest occurs twice")
    return places


def _place(texts: Iterable[str], places: dict[str, str]) -> tuple[Disclosure, ...]:
    found: dict[str, Disclosure] = {}
    for text in texts:
        digest = _digest(text) if text.isascii() else ""
        if digest not in places:
            raise _refuse("a disclosure is not referenced")
        if digest in found:
            raise _refuse("a disclosure occurs twice")
        try:
            parts = parse_json(b64url_decode(text), max_bytes=MAX_RECORD_BYTES)
        except (Problem, ValueError):
            raise _refuse("a disclosure is not base64url JSON") from None
        if not isinstance(parts, list) or len(parts) != 3 or not all(isinstance(part, str) for part in parts[:2]):
            raise _refuse("a disclosure is not [salt, name, value]")
        if parts[1] in ("_sd", "..."):
            raise _refuse("a disclosure has a reserved name")
        found[digest] = Disclosure(text, places[digest], parts[1], parts[2])
    return tuple(found.values())


def _require_distinct(disclosures: Iterable[Disclosure], answered: Mapping[str, tuple[str, ...]]) -> None:
    seen: set[tuple[str, str]] = set()
    for disclosure in disclosures:
        place = (disclosure.form, disclosure.name)
        twin = {"items": ("masked", disclosure.name), "masked": ("items", disclosure.name)}.get(disclosure.form)
        if place in seen or twin in seen:
            raise _refuse("a name is disclosed twice")
        seen.add(place)
        if disclosure.form == SUBJECT:
            if disclosure.name != SUBJECT or not isinstance(disclosure.value, str):
                raise _refuse("the top level discloses something other than the subject")
        elif disclosure.name not in answered[disclosure.form]:
            raise _refuse("a disclosed name is not among those answered")


def present(record: Record, keep: Callable[[Disclosure], bool]) -> str:
    """`JWT~D~…~D~` with the disclosures that `keep` names, in their order; the provider's signature stays valid."""
    return "~".join([record.jwt, *(d.text for d in record.disclosures if keep(d)), ""])


def presentation_hash(presentation: str) -> str:
    """`sd_hash`: base64url SHA-256 over `JWT~D~…~D~`, last tilde included (RFC 9901 section 4.3.1)."""
    return b64url(sha256(presentation.encode("ascii")))


def issue_refusal(key: SigningKey, *, request: str, code: str, issued_at: int) -> str:
    """A provider's signed no: JWT of `typ` exchange-refusal+jwt with `req`, `code`, `iat`."""
    return sign_compact(key, REFUSAL_TYPE, {"req": request, "code": code, "iat": issued_at})


def verify_refusal(token: str, key_of: Callable[[str], VerifyKey | None]) -> tuple[str, str, int]:
    """`(req, code, iat)` of a signed refusal. Raises `record-invalid`."""
    try:
        claims = verify_compact(token, typ=REFUSAL_TYPE, key_of=key_of).claims()
    except Problem as problem:
        raise _refuse(problem.reason) from None
    request, code, issued = claims.get("req"), claims.get("code"), claims.get("iat")
    if not isinstance(request, str) or not isinstance(code, str) or type(issued) is not int:
        raise _refuse("refusal of the wrong shape")
    return request, code, issued
