"""The signed form of a grant: a compact JWS by identity's key (RFC 7515)."""

from __future__ import annotations

from collections.abc import Callable

from exchange.jws import sign_compact, verify_compact
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem
from identity.model import ConsentGrant, parse_grant

GRANT_TYPE = "exchange-consent+jwt"


def sign_grant(key: SigningKey, grant: ConsentGrant) -> str:
    """The grant as a compact JWS."""
    return sign_compact(key, GRANT_TYPE, grant.claims())


def verify_grant(token: str, key_of: Callable[[str], VerifyKey | None]) -> ConsentGrant:
    """The grant of a compact JWS. `key_of` gives identity's key by kid, or None. Raises `signature-invalid`."""
    signed = verify_compact(token, typ=GRANT_TYPE, key_of=key_of)
    try:
        return parse_grant(signed.claims())
    except Problem:
        raise Problem("signature-invalid", reason="the consent grant is of the wrong shape") from None
