"""Records: a provider's signed answer as an SD-JWT (RFC 9901), so that masking and withholding keep the signature.

`issue_record` is the provider's side, `verify_record` everybody else's, `present` the gateway's way of dropping disclosures.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from exchange.canonical import MAX_DEPTH, b64url, b64url_decode, canonical, parse_json, sha256
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
_FORM_SET = frozenset(FORMS)
_STRINGS = frozenset({str})
# A verifier of RFC 9901 would take these members, wherever they stand, for hidden parts.
_RESERVED = frozenset({"_sd", "..."})
_CLAIM_TYPES: Mapping[str, type] = {
    "iss": str, "aud": str, "svc": str, "schema": int, "req": str, "jti": str, "iat": int, "cnf": dict, "found": bool,
}  # fmt: skip
_READ = frozenset({*_CLAIM_TYPES, "answered", "_sd", "_sd_alg", *FORMS}) - {"cnf"}


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


class Statement(Protocol):
    """签名陈述. What a provider signed, with values that can be dropped one by one: a record, or an event."""

    @property
    def jwt(self) -> str:
        """The signed part."""
        ...

    @property
    def disclosures(self) -> tuple[Disclosure, ...]:
        """The values that are shown."""
        ...


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
    return b64url(canonical([b64url(secrets.token_bytes(SALT_BYTES)), name, value]))


def _digest(disclosure: str) -> str:
    return b64url(sha256(disclosure.encode("ascii")))


def _require_plain(value: object, depth: int) -> None:
    """Raise ValueError for a value that no verifier would take: reserved members, U+0000, more than `depth` levels."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("a value holds U+0000")
    elif isinstance(value, (dict, list)):
        if depth == 0:
            raise ValueError("a value is nested too deeply")
        if isinstance(value, dict):
            if not _RESERVED.isdisjoint(value):
                raise ValueError("a value holds a member that SD-JWT reserves")
            value = [*value, *value.values()]
        for member in value:
            _require_plain(member, depth - 1)


def issue_record(key: SigningKey, claims: RecordClaims, answer: Answer) -> str:
    """Sign an answer into `JWT~D~…~D~` (RFC 9901 section 4), every value behind a salted digest.

    The number of digests is that of the names in `answer`, so give each permitted name a value (None when there is none).
    Raises ValueError for what no verifier would take: a value that is not canonical JSON or holds `_sd`, `...` or U+0000,
    a name in full and masked, a value although nothing was found, more than MAX_DISCLOSURES.
    """
    if not claims.found and any(value is not None for form in ("items", "masked") for value in answer.form(form).values()):
        raise ValueError("nothing was found, so no item has a value")
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
    }
    return seal(key, RECORD_TYPE, payload, answer)


def seal(key: SigningKey, typ: str, payload: dict[str, Any], answer: Answer) -> str:
    """Sign open claims with an answer behind salted digests: what records and events have in common.

    Raises ValueError as `issue_record` does.
    """
    values = {form: dict(answer.form(form)) for form in FORMS}
    _require_plain(values, MAX_DEPTH + 1)  # a disclosure is one level, here two stand around the value
    if answer.items.keys() & answer.masked.keys():
        raise ValueError("a name is answered in full and masked")
    disclosures = [_disclose(SUBJECT, answer.subject)]
    payload |= {
        "answered": {form: sorted(values[form]) for form in FORMS},
        "_sd": [_digest(disclosures[0])],
        "_sd_alg": "sha-256",
    }
    for form in FORMS:
        texts = [_disclose(name, value) for name, value in values[form].items()]
        payload[form] = {"_sd": sorted(map(_digest, texts))}
        disclosures += texts
    if len(disclosures) > MAX_DISCLOSURES:
        raise ValueError("too many disclosures")
    return "~".join([sign_compact(key, typ, payload), *disclosures, ""])


def _refuse(reason: str) -> Problem:
    return Problem("record-invalid", reason=reason)


def verify_record(presentation: str, key_of: Callable[[str], VerifyKey | None]) -> Record:
    """Verify `JWT~D~…~D~` (no key-binding part) and place each disclosure.

    Raises `record-invalid` for a signature that does not hold, an unknown key, another `typ`, claims of the wrong shape, a
    repeated or unreferenced digest, more or fewer digests than names answered, a disclosure of wrong arity, a name twice in
    one form or both full and masked, a value although nothing was found, and more than MAX_DISCLOSURES.
    """
    sealed = unseal(presentation, RECORD_TYPE, key_of)
    claims = _read_claims(sealed.payload)
    require_consistent(sealed.disclosures, sealed.answered, found=claims.found)
    return Record(sealed.jwt, claims, sealed.answered, sealed.disclosures, sealed.key)


@dataclass(frozen=True, slots=True)
class Sealed:
    """已签名凭据. Open claims and placed disclosures of a presentation whose signature holds; their meaning is not read yet."""

    jwt: str
    payload: Mapping[str, Any]
    answered: Mapping[str, tuple[str, ...]]
    disclosures: tuple[Disclosure, ...]
    key: VerifyKey


def unseal(presentation: str, typ: str, key_of: Callable[[str], VerifyKey | None]) -> Sealed:
    """Verify what `seal` made, dropped disclosures or not, and place each disclosure. Raises `record-invalid`."""
    if len(presentation) > MAX_RECORD_BYTES:
        raise _refuse("larger than a record may be")
    jwt, *texts = presentation.split("~")
    if not texts or texts.pop():
        raise _refuse("not JWT~D~…~")
    if len(texts) > MAX_DISCLOSURES:
        raise _refuse("too many disclosures")
    try:
        signed = verify_compact(jwt, typ=typ, key_of=key_of)
        payload = signed.claims()
    except Problem as problem:
        raise _refuse(problem.reason) from None
    if payload.get("_sd_alg") != "sha-256":
        raise _refuse("_sd_alg of the wrong shape")
    answered = _read_answered(payload.get("answered"))
    return Sealed(jwt, payload, answered, _place(texts, _digest_places(payload, answered)), signed.key)


def _read_claims(payload: Mapping[str, Any]) -> RecordClaims:
    for name, kind in _CLAIM_TYPES.items():
        if type(payload.get(name)) is not kind:
            raise _refuse(f"{name} is missing or of the wrong type")
    gateway_key = payload["cnf"].get("jwk")
    if not isinstance(gateway_key, dict):
        raise _refuse("cnf of the wrong shape")
    return RecordClaims(
        payload["iss"],
        payload["aud"],
        payload["svc"],
        payload["schema"],
        payload["req"],
        payload["jti"],
        payload["iat"],
        gateway_key,
        payload["found"],
    )


def _read_answered(answered: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(answered, dict) or answered.keys() != _FORM_SET:
        raise _refuse("answered of the wrong shape")
    for names in answered.values():
        if not isinstance(names, list) or not set(map(type, names)) <= _STRINGS:
            raise _refuse("answered of the wrong shape")
        if len(set(names)) != len(names) or not _RESERVED.isdisjoint(names):
            raise _refuse("a name is answered twice or reserved")
    if not set(answered["items"]).isdisjoint(answered["masked"]):
        raise _refuse("a name is answered in full and masked")
    return {form: tuple(names) for form, names in answered.items()}


def _digest_places(payload: Mapping[str, Any], answered: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Digest to the form it stands in.

    Raises unless there are exactly as many as names were answered: a digest more could be opened elsewhere later.
    """
    try:
        _require_plain([value for name, value in payload.items() if name not in _READ], MAX_DEPTH)
    except ValueError:
        raise _refuse("digests where none belong") from None
    if SUBJECT in payload:
        raise _refuse("the subject stands openly beside its digest")
    places: dict[str, str] = {}
    count = 0
    for form, holder in ((SUBJECT, {"_sd": payload.get("_sd")}), *((form, payload.get(form)) for form in FORMS)):
        digests = holder["_sd"] if isinstance(holder, dict) and holder.keys() == {"_sd"} else None
        if not isinstance(digests, list) or not set(map(type, digests)) <= _STRINGS:
            raise _refuse("_sd of the wrong shape")
        if len(digests) != len(answered.get(form, (SUBJECT,))):
            raise _refuse("not as many digests as names")
        places.update(dict.fromkeys(digests, form))
        count += len(digests)
    if len(places) != count:
        raise _refuse("a digest occurs twice")
    return places


def _place(texts: Sequence[str], places: dict[str, str]) -> tuple[Disclosure, ...]:
    """Each disclosure with the form its digest stands in; a digest serves once, so `places` is used up on the way."""
    found = []
    for text in texts:
        form = places.pop(_digest(text), None) if text.isascii() else None
        if form is None:
            raise _refuse("a disclosure occurs twice or is not referenced")
        try:
            raw = b64url_decode(text)
            parts = parse_json(raw, max_bytes=MAX_RECORD_BYTES)
            # Without these bytes, and without escapes that spell them, no member can have a reserved name.
            if b"_sd" in raw or b"..." in raw or b"\\u" in raw:
                _require_plain(parts, MAX_DEPTH)
        except (Problem, ValueError):
            raise _refuse("a disclosure is not base64url of plain JSON") from None
        if not isinstance(parts, list) or len(parts) != 3 or not isinstance(parts[0], str) or not isinstance(parts[1], str):
            raise _refuse("a disclosure is not [salt, name, value]")
        found.append(Disclosure(text, form, parts[1], parts[2]))
    return tuple(found)


def require_consistent(disclosures: Sequence[Disclosure], answered: Mapping[str, Sequence[str]], *, found: bool) -> None:
    """Each disclosure says something that the provider said it answers, once, and nothing that contradicts `found`."""
    if len({(disclosure.form, disclosure.name) for disclosure in disclosures}) != len(disclosures):
        raise _refuse("a name is disclosed twice")
    for disclosure in disclosures:
        form, value = disclosure.form, disclosure.value
        if disclosure.name not in answered.get(form, (SUBJECT,)):
            raise _refuse("a disclosed name is not among those answered")
        if form == SUBJECT and not isinstance(value, str):
            raise _refuse("the subject is not a string")
        if form == "facts" and not _is_fact(value):
            raise _refuse("a fact is not {args, holds}")
        if form in {"items", "masked"} and value is not None and not found:
            raise _refuse("nothing was found, yet an item has a value")


def _is_fact(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"args", "holds"}:
        return False
    arguments, holds = value["args"], value["holds"]
    return (
        (holds is None or isinstance(holds, bool))
        and isinstance(arguments, dict)
        and all(type(n) is int for n in arguments.values())
    )


def present(record: Statement, keep: Callable[[Disclosure], bool]) -> str:
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
