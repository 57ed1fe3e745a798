"""The way into identity for other packages: what they may import, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from exchange.canonical import b64url_decode, canonical, parse_json
from exchange.clock import Clock, rfc3339
from exchange.envelope import HttpRequest, Tag, sign_request
from exchange.keys import SigningKey
from exchange.problem import PROBLEMS, Problem
from identity.certificates import make_request
from identity.grant import GRANT_TYPE, sign_grant, verify_grant
from identity.model import (
    ConsentGrant,
    ConsentState,
    ConsentTerms,
    Grantor,
    GrantorKind,
    KeyState,
    KeyUse,
    Mode,
    RegisteredKey,
    UseLimit,
    covers,
    parse_key,
    subject_commitment,
)

__all__ = [
    "GRANT_TYPE",
    "ConsentGrant",
    "ConsentSource",
    "ConsentState",
    "ConsentTerms",
    "Grantor",
    "GrantorKind",
    "HandedConsent",
    "IdentityClient",
    "KeyState",
    "KeyUse",
    "Mode",
    "RegisteredKey",
    "UseLimit",
    "covers",
    "make_request",
    "sign_grant",
    "subject_commitment",
    "verify_grant",
]

_SEGMENT: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,63}")
_TIMEOUT_SECONDS: Final = 5.0
_GRANT_TIMEOUT_SECONDS: Final = 2.0
_UNTIL: Final[Mapping[str, Any]] = {"kind": "until"}


@dataclass(frozen=True, slots=True)
class HandedConsent:
    """转交的同意. A grant as identity hands it to a gateway: the JWS, the blind that opens its subject, its state now."""

    grant_jws: str
    blind: bytes
    state: str


class ConsentSource:
    """同意来源. A gateway's read-only way to the grants; nothing is kept, since only the fence makes a grant count."""

    def __init__(self, url: str, http: httpx2.AsyncClient, key: SigningKey, gateway_id: str, clock: Clock) -> None:
        """`key` is registered for `gateway_id` with use gateway."""
        self._wire = _Wire(url, http, clock)
        self._key, self._gateway_id = key, gateway_id

    async def get(self, consent_id: str) -> HandedConsent | None:
        """The grant of a consent; None where there is none. Raises `identity-unavailable` when that cannot be learnt."""
        try:
            answer = await self._wire.signed(
                self._key, self._gateway_id, "GET", f"/consents/{_segment(consent_id)}/grant", seconds=_GRANT_TIMEOUT_SECONDS
            )
            return HandedConsent(str(answer["grant"]), b64url_decode(answer["blind"]), ConsentState(answer["state"]).value)
        except Problem as problem:
            if problem.code == "not-found":
                return None
            raise Problem("identity-unavailable", reason=f"{problem.code} {problem.reason}") from None
        except (KeyError, TypeError, ValueError):
            raise Problem("identity-unavailable", reason="the grant came in another shape") from None

    async def report_used_up(self, consent_id: str) -> None:
        """Tell identity that the fence has no use left for a consent. Raises what identity answers."""
        await self._wire.signed(self._key, self._gateway_id, "POST", f"/consents/{_segment(consent_id)}/used-up")


class IdentityClient:
    """身份服务客户端. Keys, log-in, consents and titles. Every call raises Problem as identity answered it.

    A `token` is a person's access token; a `key` signs for `caller`, the value of X-Road-Client.
    """

    def __init__(self, url: str, http: httpx2.AsyncClient, clock: Clock) -> None:
        """`url` is identity's base URL."""
        self._wire = _Wire(url, http, clock)
        self._clock = clock

    async def log_in(self, account: str, password: str) -> str:
        """An access token of the development issuer."""
        form = {"grant_type": "password", "username": account, "password": password}
        answer = await self._wire.send("POST", "/oidc/token", form=form)
        return str(answer["access_token"])

    # Keys

    async def list_keys(self) -> list[RegisteredKey]:
        """All registered keys."""
        keys: list[RegisteredKey] = []
        after: str | None = ""
        while after is not None:
            page = await self._wire.send("GET", f"/keys?after={after}")
            keys += [parse_key(row) for row in page["keys"]]
            after = page["next"]
        return keys

    async def find_key(self, kid: str) -> RegisteredKey:
        """One registered key. Raises `not-found`."""
        return parse_key(await self._wire.send("GET", f"/keys/{_segment(kid)}"))

    async def authority(self) -> str:
        """The certificate (PEM) of the authority that signs the keys' certificates."""
        return str(await self._wire.send("GET", "/authority"))

    async def enrol_key(self, token: str, key: SigningKey, owner: str, use: KeyUse) -> RegisteredKey:
        """Enrol a key with proof of possession. Raises `conflict` if it was ever enrolled before."""
        body = {"owner": owner, "use": use.value, "csr": make_request(key, owner)}
        return parse_key(await self._wire.send("POST", "/keys", token=token, body=body))

    async def rotate_key(self, old: SigningKey, new: SigningKey, owner: str) -> RegisteredKey:
        """Enrol the next key of an owner, signed for by the one that is active; that one stays valid."""
        body = {"csr": make_request(new, owner)}
        return parse_key(await self._wire.signed(old, owner, "POST", f"/keys/{old.kid}/rotation", body))

    async def revoke_key(self, by: str | SigningKey, kid: str, reason: str) -> RegisteredKey:
        """Revoke a key, by a person's token or the registry's key: nothing is released on it once this has returned."""
        path, body = f"/keys/{_segment(kid)}/revocation", {"reason": reason}
        if isinstance(by, str):
            return parse_key(await self._wire.send("POST", path, token=by, body=body))
        return parse_key(await self._wire.signed(by, "registry", "POST", path, body))

    # Consents

    async def ask_consent(
        self,
        consumer: str,
        key: SigningKey,
        *,
        subject: str,
        service: str,
        purpose: str,
        items: Sequence[str] = (),
        facts: Mapping[str, Sequence[int]] | None = None,
        use: Mapping[str, Any] = _UNTIL,
        mode: str = "view",
        valid_seconds: int = 86_400,
        **more: Any,
    ) -> dict[str, Any]:
        """Ask a person for consent; `facts` gives each name the arguments that may be asked, `more` are further members."""
        body = {
            "subject": subject,
            "service": service,
            "purpose": purpose,
            "items": list(items),
            "facts": {name: list(values) for name, values in (facts or {}).items()},
            "use": dict(use),
            "mode": mode,
            "valid_until": rfc3339(self._clock.now() + valid_seconds),
            **more,
        }
        answer: dict[str, Any] = await self._wire.signed(key, consumer, "POST", "/consents", body)
        return answer

    async def show_consent(self, token: str, consent_id: str) -> dict[str, Any]:
        """A consent with its texts, for the person who answers."""
        answer: dict[str, Any] = await self._wire.send("GET", f"/consents/{_segment(consent_id)}", token=token)
        return answer

    async def follow_consent(self, consumer: str, key: SigningKey, consent_id: str) -> dict[str, Any]:
        """A consent, for the consumer that asked."""
        answer: dict[str, Any] = await self._wire.signed(key, consumer, "GET", f"/consents/{_segment(consent_id)}")
        return answer

    async def list_consents(self, token: str, *, state: str | None = None, cursor: str | None = None) -> dict[str, Any]:
        """A page of the person's own consents and those of wards: `consents` and `next`."""
        query = "&".join(f"{name}={value}" for name, value in (("state", state), ("cursor", cursor)) if value is not None)
        answer: dict[str, Any] = await self._wire.send("GET", f"/consents?{query}", token=token)
        return answer

    async def grant_consent(self, token: str, consent_id: str, *, text_hash: str, language: str) -> dict[str, Any]:
        """Grant what was shown."""
        body = {"text_hash": text_hash, "language": language}
        return await self._answer(token, consent_id, "grant", body)

    async def decline_consent(self, token: str, consent_id: str) -> dict[str, Any]:
        """Decline."""
        return await self._answer(token, consent_id, "decline")

    async def withdraw_consent(self, token: str, consent_id: str) -> dict[str, Any]:
        """Withdraw: nothing is released on it once this has returned."""
        return await self._answer(token, consent_id, "withdrawal")

    async def _answer(self, token: str, consent_id: str, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = await self._wire.send("POST", f"/consents/{_segment(consent_id)}/{verb}", token=token, body=body)
        return answer

    async def deletion_duties(
        self, consumer: str, key: SigningKey, *, is_open: bool | None = None, after: int = 0
    ) -> dict[str, Any]:
        """A page of what a consumer has to delete: `duties` and `next`."""
        wanted = "" if is_open is None else f"&open={str(is_open).lower()}"
        answer: dict[str, Any] = await self._wire.signed(key, consumer, "GET", f"/deletion-duties?after={after}{wanted}")
        return answer

    async def confirm_deletion(
        self, consumer: str, key: SigningKey, consent_id: str, outcome: str, legal_basis: str | None = None
    ) -> dict[str, Any]:
        """As the consumer: `deleted`, or `kept-by-law` with the law."""
        body = {"outcome": outcome, **({} if legal_basis is None else {"legal_basis": legal_basis})}
        path = f"/consents/{_segment(consent_id)}/deletion"
        answer: dict[str, Any] = await self._wire.signed(key, consumer, "POST", path, body)
        return answer

    async def show_deletion(self, token: str, consent_id: str) -> dict[str, Any]:
        """What became of the data of a withdrawn consent, for the person."""
        answer: dict[str, Any] = await self._wire.send("GET", f"/consents/{_segment(consent_id)}/deletion", token=token)
        return answer

    async def begin_guardianship(self, token: str, guardian: str, ward: str) -> str:
        """Record, as a registrar, who answers for a minor; the reference that the guardian's grants carry."""
        answer = await self._wire.send("POST", "/guardianships", token=token, body={"guardian": guardian, "ward": ward})
        return str(answer["reference"])

    async def end_guardianship(self, token: str, guardian: str, ward: str) -> None:
        """Record, as a registrar, that it has ended."""
        await self._wire.send("POST", "/guardianships/end", token=token, body={"guardian": guardian, "ward": ward})

    # Titles for the texts, by the registry's key or a registrar's token

    async def save_titles(self, kind: str, code: str, entry: Mapping[str, Any], by: str | SigningKey) -> None:
        """Tell people's names for a thing: `kind` is services | consumers | purposes, `by` a token or the registry's key.

        `entry`: title_zh, title_en; a consumer's contact; a service's provider_zh, provider_en, subject_kind,
        items {name: title_zh, title_en, classification}, facts {name: title_zh, title_en, parameter, allowed}.
        """
        path = f"/catalogue/{kind}/{code}"
        if isinstance(by, str):
            await self._wire.send("PUT", path, token=by, body=entry)
        else:
            await self._wire.signed(by, "registry", "PUT", path, entry)


@dataclass(frozen=True, slots=True)
class _Wire:
    """One identity process and how it is spoken to."""

    url: str
    http: httpx2.AsyncClient
    clock: Clock

    async def signed(
        self,
        key: SigningKey,
        caller: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        seconds: float = _TIMEOUT_SECONDS,
    ) -> Any:
        target = httpx2.URL(self.url.rstrip("/") + path)
        raw_path, _, query = target.raw_path.decode("ascii").partition("?")
        content = b"" if body is None else canonical(dict(body))
        headers = [("x-road-client", caller), *([("content-type", "application/json")] if content else [])]
        request = HttpRequest(method, raw_path, query, target.netloc.decode("ascii"), headers, content)
        signed = sign_request(key, request, tag=Tag.CONTROL, now=self.clock.now())
        return await self._exchange(method, target, list(signed.headers), content, seconds)

    async def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Any:
        headers = [("authorization", f"Bearer {token}")] if token is not None else []
        content = b"" if body is None else canonical(dict(body))
        if form is not None:
            content = str(httpx2.QueryParams(dict(form))).encode("ascii")
            headers.append(("content-type", "application/x-www-form-urlencoded"))
        elif content:
            headers.append(("content-type", "application/json"))
        return await self._exchange(method, httpx2.URL(self.url.rstrip("/") + path), headers, content, _TIMEOUT_SECONDS)

    async def _exchange(
        self, method: str, target: httpx2.URL, headers: list[tuple[str, str]], content: bytes, seconds: float
    ) -> Any:
        try:
            answer = await self.http.request(method, target, headers=headers, content=content, timeout=seconds)
        except httpx2.HTTPError as error:
            raise Problem("identity-unavailable", reason=type(error).__name__) from None
        if answer.is_success:
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return (parse_json(answer.content, max_bytes=8_388_608) if is_json else answer.text) if answer.content else None
        raise _problem_of(answer)


def _problem_of(answer: httpx2.Response) -> Problem:
    try:
        document = parse_json(answer.content)
        code = document["code"]
        more = {name: document[name] for name in ("state", "ask_again_at") if name in document}
        return Problem(code if code in PROBLEMS else "internal", str(document.get("detail", "")), **more)
    except (Problem, KeyError, TypeError):
        return Problem("identity-unavailable", reason=f"status {answer.status_code}")


def _segment(text: str) -> str:
    """An id as one segment of a path. Raises `not-found` for what can be none."""
    if not _SEGMENT.fullmatch(text):
        raise Problem("not-found")
    return text
