"""Bad requests to the control plane: identity, registry, audit, and the gateway's own questions."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.home import BANK, CONSUMER
from exchange.canonical import b64url, b64url_decode, canonical
from exchange.envelope import HttpRequest, Tag, sign_request
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.tokens import ACCESS_TOKEN_TYPE
from tests.hostile.conftest import GATEWAY, SmallExchange
from tests.hostile.forge import CANARY, now

MALFORMED, UNAUTHENTICATED, FORBIDDEN = (400, "malformed-request"), (401, "unauthenticated"), (403, "forbidden")
UNSIGNED, ABSENT, TOO_LARGE = (401, "signature-invalid"), (404, "not-found"), (413, "too-large")
KID, RIGHT = "A" * 43, "sha256:" + "0" * 64
MEMBER: dict[str, Any] = {"id": "CN-YA/GOV/nowhere", "name_zh": "无", "name_en": "Nowhere", "restricted": False}


def filed(document: dict[str, Any]) -> dict[str, Any]:
    """A filing of a member."""
    return {"kind": "member", "document": document}


CONSENT: dict[str, Any] = {
    "subject": CANARY,
    "service": "CN-YA/GOV/social-security/insurance/contributions",
    "purpose": "real-estate-transfer",
    "items": ["months"],
    "facts": {},
    "use": {"kind": "until"},
    "mode": "view",
    "valid_until": "2099-01-01T00:00:00Z",
}
SEARCH: dict[str, Any] = {"reason": "a test of bad requests", "limit": 1}


class Caller:
    """Speaks with the components as whoever is named, and believes nothing to be in order."""

    def __init__(self, exchange: SmallExchange) -> None:
        """One client for all."""
        self._exchange, self._tokens = exchange, dict[str, str]()
        self.http = httpx2.Client(trust_env=False, timeout=20)

    def url(self, component: str) -> str:
        """Base URL."""
        return self._exchange.addresses.url(component)

    def token(self, account: str) -> str:
        """An access token of an account."""
        if account not in self._tokens:
            password = str(self._exchange.home.accounts()[account]["password"])
            form = {"grant_type": "password", "username": account, "password": password}
            self._tokens[account] = self.http.post(f"{self.url('identity')}/oidc/token", data=form).json()["access_token"]
        return self._tokens[account]

    def call(
        self,
        component: str,
        method: str,
        path: str,
        body: object = None,
        *,
        by: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """A call as an account (a name), a signing system (`key:` and a name), with a token (`token:`), or nobody."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode("utf-8")
        sent = {"content-type": "application/json", **(headers or {})} if content else dict(headers or {})
        kind, _, name = by.rpartition(":")
        if kind == "key":
            sent = self._signed(component, method, path, content, sent, name)
        elif by:
            sent["authorization"] = f"Bearer {name if kind else self.token(by)}"
        return self.http.request(method, self.url(component) + path, content=content, headers=sent)

    def _signed(
        self, component: str, method: str, path: str, content: bytes, headers: Mapping[str, str], name: str
    ) -> dict[str, str]:
        owner = {"transfer": CONSUMER, "bank": BANK}.get(name, name)
        target, _, query = path.partition("?")
        named = [*headers.items(), ("x-road-client", owner)]
        plain = HttpRequest(method, target, query, urlsplit(self.url(component)).netloc, named, content)
        return dict(sign_request(self._exchange.home.key(name), plain, tag=Tag.CONTROL, now=now()).headers)

    def claims(self, account: str, **changed: object) -> dict[str, Any]:
        """The claims of an account's token, but for what is named."""
        claims: dict[str, Any] = json.loads(b64url_decode(self.token(account).split(".")[1]))
        return claims | changed

    @property
    def issuer(self) -> SigningKey:
        """The key with which log-ins are signed."""
        return self._exchange.home.key("issuer")


@pytest.fixture(scope="module")
def caller(exchange: SmallExchange) -> Iterator[Caller]:
    """Give somebody who speaks with every component."""
    speaking = Caller(exchange)
    yield speaking
    speaking.http.close()


# Component, method, path, body, by whom, and the refusal.
CALLS: list[tuple[str, str, str, object, str, tuple[int, str]]] = [
    # Consents.
    ("identity", "POST", "/consents", CONSENT, "", UNSIGNED),
    ("identity", "POST", "/consents", CONSENT, "citizen", UNSIGNED),
    ("identity", "POST", "/consents", CONSENT, f"key:{GATEWAY}", FORBIDDEN),
    ("identity", "POST", "/consents", CONSENT | {"state": "granted"}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"granted_by": "self"}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"consumer": BANK}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"subject": CANARY[:17]}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"subject": int(CANARY[:17])}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"items": ["months"] * 10_000}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"items": [CANARY]}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"facts": {"a": ["24"]}}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"use": {"kind": "count", "n": 10**9}}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"use": {"kind": "once", "n": 5}}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"valid_until": "2099-13-01T00:00:00Z"}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"valid_until": 4_000_000_000}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", CONSENT | {"service": "../../keys"}, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", b'{"subject":"' + CANARY.encode() + b'","subject":"1"}', "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", b"[" * 50_000, "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", b'{"subject":"' + CANARY.encode() + b'\\u0000"}', "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", b"not JSON " + CANARY.encode(), "key:transfer", MALFORMED),
    ("identity", "POST", "/consents", b" " * 1_100_000, "key:transfer", TOO_LARGE),
    ("identity", "GET", "/consents", None, "", UNAUTHENTICATED),
    ("identity", "GET", "/consents", None, "officer", FORBIDDEN),
    ("identity", "GET", "/consents", None, "registrar", FORBIDDEN),
    ("identity", "GET", "/consents?state=all", None, "citizen", MALFORMED),
    ("identity", "GET", f"/consents?cursor={'A' * 33}", None, "citizen", MALFORMED),
    ("identity", "GET", "/consents/no-such-consent", None, "citizen", ABSENT),
    ("identity", "GET", "/consents/no-such-consent/grant", None, "", UNSIGNED),
    ("identity", "GET", "/consents/no-such-consent/grant", None, "key:transfer", FORBIDDEN),
    ("identity", "POST", "/consents/no-such-consent/used-up", None, "key:transfer", FORBIDDEN),
    ("identity", "POST", "/consents/no-such-consent/withdrawal", None, "registrar", FORBIDDEN),
    ("identity", "POST", "/consents/no-such-consent/grant", {"text_hash": 1, "language": "en"}, "citizen", MALFORMED),
    ("identity", "POST", f"/consents/{'a' * 65}/decline", None, "citizen", MALFORMED),
    # Keys, the log-in, guardians, titles.
    ("identity", "POST", "/keys", {"owner": CONSUMER, "use": "subsystem", "csr": "x"}, "", UNAUTHENTICATED),
    ("identity", "POST", "/keys", {"owner": CONSUMER, "use": "subsystem", "csr": "x"}, "citizen", FORBIDDEN),
    ("identity", "POST", "/keys", {"owner": CONSUMER, "use": "subsystem", "csr": "x"}, "registrar", MALFORMED),
    ("identity", "POST", "/keys", {"owner": CONSUMER, "use": "identity", "csr": "x"}, "registrar", MALFORMED),
    ("identity", "POST", "/keys", {"owner": CONSUMER, "use": "subsystem", "csr": "x", "kid": KID}, "registrar", MALFORMED),
    ("identity", "POST", "/keys", {"owner": CONSUMER, "use": "subsystem", "csr": "x" * 100_000}, "registrar", MALFORMED),
    ("identity", "POST", f"/keys/{KID}/revocation", {"reason": "lost"}, "citizen", FORBIDDEN),
    ("identity", "POST", f"/keys/{KID}/revocation", {"reason": ""}, "registrar", MALFORMED),
    ("identity", "POST", f"/keys/{KID}/revocation", {"reason": "a" * 257}, "registrar", MALFORMED),
    ("identity", "POST", f"/keys/{KID}/revocation", {"reason": "lost", "revoked_at": 0}, "registrar", MALFORMED),
    ("identity", "POST", f"/keys/{KID}/revocation", {"reason": "lost"}, "registrar", ABSENT),
    ("identity", "POST", "/keys/short/revocation", {"reason": "lost"}, "registrar", MALFORMED),
    ("identity", "GET", f"/keys?after={'a' * 44}", None, "", MALFORMED),
    ("identity", "POST", "/oidc/token", {"grant_type": "password"}, "", MALFORMED),
    ("identity", "POST", "/guardianships", {"guardian": CANARY, "ward": CANARY}, "citizen", FORBIDDEN),
    ("identity", "POST", "/guardianships", {"guardian": CANARY, "ward": CANARY, "by": "x"}, "registrar", MALFORMED),
    ("identity", "PUT", "/catalogue/purposes/x", {"title_zh": "无", "title_en": "None"}, "officer", FORBIDDEN),
    ("identity", "PUT", "/catalogue/purposes/x", {"title_zh": "a\u202eb", "title_en": "None"}, "registrar", MALFORMED),
    # The registry.
    ("registry", "POST", "/filings", filed(MEMBER), "", UNAUTHENTICATED),
    ("registry", "POST", "/filings", filed(MEMBER), "auditor", FORBIDDEN),
    ("registry", "POST", "/filings", filed(MEMBER), "citizen", FORBIDDEN),
    ("registry", "POST", "/filings", filed(MEMBER | {"status": "suspended"}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"revision": 7}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"restricted": "no"}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"id": "CN-YA/GOV"}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"id": "CN-YA/GOV/.."}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"id": "CN-XX/GOV/nowhere"}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"id": "CN-YA/GOV/n\uff4fwhere"}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"name_zh": "a" * 129}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"name_zh": "one\ntwo"}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", filed(MEMBER | {"name_zh": "a\u202eb"}), "registrar", MALFORMED),
    ("registry", "POST", "/filings", b'{"id":"CN-YA/GOV/a","id":"CN-YA/GOV/b"}', "registrar", MALFORMED),
    ("registry", "POST", "/filings", b"[" * 50_000, "registrar", MALFORMED),
    ("registry", "POST", "/filings", b" " * 1_100_000, "registrar", TOO_LARGE),
    ("registry", "PUT", "/filings/1", {"document": MEMBER}, "registrar", MALFORMED),
    ("registry", "PUT", "/members", MEMBER, "registrar", (405, "method-not-allowed")),
    ("registry", "POST", "/filings/1/submission", {"reason": 1}, "registrar", MALFORMED),
    ("registry", "POST", "/filings/99999999999999999999/submission", {}, "registrar", MALFORMED),
    ("registry", "DELETE", "/members", None, "registrar", (405, "method-not-allowed")),
    ("registry", "GET", "/members?limit=0", None, "registrar", MALFORMED),
    ("registry", "GET", "/members?limit=-1", None, "registrar", MALFORMED),
    ("registry", "GET", "/members?limit=1000000000", None, "registrar", MALFORMED),
    ("registry", "GET", "/members", None, "citizen", FORBIDDEN),
    ("registry", "GET", "/accounts", None, "registrar", MALFORMED),
    ("registry", "POST", "/gateways/gateway-1/suspension", {"cause": "test"}, "operator", FORBIDDEN),
    ("registry", "POST", "/gateways/gateway-1/suspension", {"cause": ""}, "registrar", MALFORMED),
    ("registry", "POST", "/rights", {"document": {}, "grant": "a.b.c", "acceptance": "a.b.c"}, "registrar", MALFORMED),
    ("registry", "POST", "/rights", {"document": {}, "grant": "a", "acceptance": "b", "status": "x"}, "registrar", MALFORMED),
    ("registry", "POST", f"/rights/{RIGHT}/revocation", {"cause": "test"}, "integrator", FORBIDDEN),
    ("registry", "POST", f"/rights/{RIGHT}/revocation", {"cause": "test"}, "registrar", ABSENT),
    ("registry", "GET", "/rights/sha256:short", None, "registrar", MALFORMED),
    ("registry", "GET", "/snapshot/parts/" + "0" * 64, None, "", ABSENT),
    ("registry", "GET", "/snapshot/parts/..%2f..%2fsecrets", None, "", ABSENT),
    # The audit.
    ("audit", "POST", "/search", SEARCH, "", UNAUTHENTICATED),
    *(
        ("audit", "POST", "/search", SEARCH, who, FORBIDDEN)
        for who in ("citizen", "officer", "operator", "security", "registrar")
    ),
    ("audit", "POST", "/search", SEARCH | {"role": "auditor"}, "auditor", MALFORMED),
    ("audit", "POST", "/search", {"limit": 1}, "auditor", MALFORMED),
    ("audit", "POST", "/search", SEARCH | {"limit": 0}, "auditor", MALFORMED),
    ("audit", "POST", "/search", SEARCH | {"limit": 10**9}, "auditor", MALFORMED),
    ("audit", "POST", "/search", SEARCH | {"limit": "1"}, "auditor", MALFORMED),
    ("audit", "POST", "/search", SEARCH | {"case": "a" * 100_000}, "auditor", MALFORMED),
    ("audit", "POST", "/search", b"[" * 50_000, "auditor", MALFORMED),
    ("audit", "POST", "/search", b'{"reason":"a test\\u0000 of bad requests"}', "auditor", MALFORMED),
    ("audit", "POST", "/search", b'{"reason":"a test\\ud800 of bad requests"}', "auditor", MALFORMED),
    ("audit", "GET", "/entries/1", None, "", UNAUTHENTICATED),
    ("audit", "GET", "/entries/1", None, "auditor", MALFORMED),
    ("audit", "GET", "/entries/0", None, "auditor", MALFORMED),
    ("audit", "GET", f"/entries/{2**60}", None, "auditor", MALFORMED),
    ("audit", "GET", "/entries/first", None, "auditor", MALFORMED),
    ("audit", "GET", "/log/tile/entries/000", None, "", UNAUTHENTICATED),
    ("audit", "GET", "/log/tile/entries/000", None, "officer", FORBIDDEN),
    ("audit", "GET", "/log/tile/0/..%2f..%2fcheckpoint", None, "", ABSENT),
    ("audit", "GET", "/log/tile/64/000", None, "", ABSENT),
    ("audit", "GET", "/log/tile/0/999", None, "", ABSENT),
    ("audit", "POST", "/log/proof", {"entry": "!!!!"}, "", MALFORMED),
    ("audit", "POST", "/log/proof", {"entry": "AAAA"}, "", ABSENT),
    ("audit", "POST", "/log/proof", {"entry": "AAAA", "index": 0}, "", MALFORMED),
    ("audit", "POST", "/log/proof", {"entry": "A" * 200_000}, "", MALFORMED),
    # The gateway.
    (GATEWAY, "POST", "/explain", {"request_id": "a"}, "", UNSIGNED),
    (GATEWAY, "POST", "/explain", {"request_id": "a"}, "auditor", UNSIGNED),
    (GATEWAY, "POST", "/explain", {"request_id": "a"}, f"key:{GATEWAY}", ABSENT),
    (GATEWAY, "POST", "/explain", {"request_id": "no-such-request"}, "key:transfer", ABSENT),
    (GATEWAY, "POST", "/explain", {"request_id": "a", "consumer": BANK}, "key:transfer", MALFORMED),
    (GATEWAY, "POST", "/explain", {"request_id": "a" * 129}, "key:transfer", MALFORMED),
    (GATEWAY, "POST", "/explain", {"request_id": "a b"}, "key:transfer", MALFORMED),
    (GATEWAY, "POST", "/explain", {"request_id": 1}, "key:transfer", MALFORMED),
    (GATEWAY, "POST", "/explain", b'{"request_id":"a","request_id":"b"}', "key:transfer", MALFORMED),
    (GATEWAY, "POST", "/explain", b"[" * 50_000, "key:transfer", MALFORMED),
    (GATEWAY, "GET", "/explain", None, "key:transfer", (405, "method-not-allowed")),
    (GATEWAY, "GET", "/docs", None, "", ABSENT),
    (GATEWAY, "GET", "/openapi.json", None, "", ABSENT),
]


def named(case: tuple[str, str, str, object, str, tuple[int, str]]) -> str:
    component, method, path, body, by, (_, code) = case
    said = body.decode("latin-1") if isinstance(body, bytes) else json.dumps(body)
    return f"{component} {method} {path[:40]} {said[-40:]} by {by or 'nobody'}: {code}"


@pytest.mark.parametrize("case", CALLS, ids=[f"{number} {named(case)}" for number, case in enumerate(CALLS)])
def test_a_bad_call_is_refused_with_its_code(caller: Caller, case: tuple[str, str, str, object, str, tuple[int, str]]) -> None:
    component, method, path, body, by, refusal = case
    answer = caller.call(component, method, path, body, by=by)
    assert (answer.status_code, answer.json()["code"]) == refusal
    assert answer.headers["content-type"] == "application/problem+json"
    assert CANARY not in answer.text
    assert not [word for word in ("Traceback", "sqlalchemy", "asyncpg", "pydantic", "SELECT") if word in answer.text]


def unsigned_token(caller: Caller) -> str:
    head = b64url(canonical({"alg": "none", "typ": ACCESS_TOKEN_TYPE, "kid": caller.issuer.kid}))
    return f"{head}.{b64url(canonical(caller.claims('auditor')))}."


def shared_secret_token(caller: Caller) -> str:
    jwk = caller.issuer.public_jwk
    x, y = (int.from_bytes(b64url_decode(jwk[name])) for name in ("x", "y"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = b64url(canonical({"alg": "HS256", "typ": ACCESS_TOKEN_TYPE, "kid": caller.issuer.kid}))
    text = f"{head}.{b64url(canonical(caller.claims('auditor')))}"
    return f"{text}.{b64url(hmac.digest(secret, text.encode('ascii'), hashlib.sha256))}"


def issued(typ: str = ACCESS_TOKEN_TYPE, key: SigningKey | None = None, **claims: object) -> Callable[[Caller], str]:
    return lambda caller: sign_compact(key or caller.issuer, typ, caller.claims("auditor", **claims))


TOKENS: dict[str, Callable[[Caller], str]] = {
    "no signature": unsigned_token,
    "a shared secret": shared_secret_token,
    "a key of its own": issued(key=SigningKey.generate()),
    "an ID token": issued("JWT"),
    "another issuer": issued(iss="http://127.0.0.1:1/oidc"),
    "another audience": issued(aud="another"),
    "no audience": issued(aud=[]),
    "an end that has passed": issued(exp=1),
    "no end": issued(exp=None),
    "an end in words": issued(exp="tomorrow"),
    "a beginning to come": issued(nbf=4_000_000_000),
    "roles that are no list": issued(roles="auditor"),
    "nobody": issued(sub=None),
    "its own key along": lambda caller: sign_compact(
        caller.issuer, ACCESS_TOKEN_TYPE, caller.claims("auditor"), jwk=caller.issuer.public_jwk
    ),
    "an address of keys": lambda caller: sign_compact(
        caller.issuer, ACCESS_TOKEN_TYPE, caller.claims("auditor"), jku="http://127.0.0.1:1/jwks"
    ),
    "no dots": lambda _: "auditor",
    "five thousand characters": lambda caller: caller.token("auditor") + "A" * 5000,
}


@pytest.mark.invariant("I-39")
@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize(
    ("component", "method", "path", "body"), [("audit", "POST", "/search", SEARCH), ("registry", "GET", "/members", None)]
)
def test_a_bad_token_is_nobodys(caller: Caller, name: str, component: str, method: str, path: str, body: object) -> None:
    answer = caller.call(component, method, path, body, by=f"token:{TOKENS[name](caller)}")
    assert (answer.status_code, answer.json()["code"]) == UNAUTHENTICATED
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_good_token_is_somebodys(caller: Caller) -> None:
    again = sign_compact(caller.issuer, ACCESS_TOKEN_TYPE, caller.claims("auditor"))
    assert caller.call("audit", "POST", "/search", SEARCH, by=f"token:{again}").status_code == 200


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "password", "username": "auditor", "password": "wrong"},
        {"grant_type": "password", "username": "nobody", "password": "wrong"},
        {"grant_type": "password", "username": "auditor' OR '1'='1", "password": "' OR '1'='1"},
    ],
    ids=["a wrong password", "nobody", "SQL"],
)
def test_a_wrong_log_in_does_not_say_what_was_wrong(caller: Caller, form: dict[str, str]) -> None:
    answer = caller.http.post(f"{caller.url('identity')}/oidc/token", data=form)
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (
        *UNAUTHENTICATED,
        "account or password is wrong",
    )


@pytest.mark.parametrize(
    "form",
    ["grant_type=client_credentials", "grant_type=password&username=a&username=b&password=c", "%ff", "", "a=" + "b" * 100_000],
    ids=["another grant", "a name twice", "no text", "nothing", "too long"],
)
def test_a_log_in_that_is_no_form_is_refused(caller: Caller, form: str) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = caller.http.post(f"{caller.url('identity')}/oidc/token", content=form.encode("ascii"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == MALFORMED


def test_the_reason_of_a_look_is_one_line_of_text(caller: Caller) -> None:
    for reason in ("a", "a" * 501, quote("one\ntwo"), quote("a\x00bcdef"), "%ff%fe%fd%fc"):
        answer = caller.call("audit", "GET", "/entries/1", by="auditor", headers={"exchange-reason": reason})
        assert (answer.status_code, answer.json()["code"]) == MALFORMED


def test_a_subject_does_not_stand_in_a_url(caller: Caller) -> None:
    """Whoever tries to search by the query finds that nobody listens there."""
    answer = caller.call("audit", "POST", "/search?" + urlencode({"subject": CANARY}), {"limit": 1}, by="auditor")
    assert (answer.status_code, answer.json()["code"]) == MALFORMED
    assert CANARY not in answer.text


@pytest.mark.invariant("I-32")
def test_no_log_of_the_control_plane_holds_the_number_that_was_sent(exchange: SmallExchange, caller: Caller) -> None:
    for body in (CONSENT | {"state": "granted"}, CONSENT | {"items": [CANARY]}, b"no JSON " + CANARY.encode()):
        caller.call("identity", "POST", "/consents", body, by="key:transfer")
    logs = [*exchange.home.logs.glob("*.log"), exchange.postgres.log]
    assert [log.name for log in logs if CANARY[:17] in log.read_text(encoding="utf-8", errors="replace")] == []
