"""The conformance report: what the checker found when it ran a service in the sandbox, signed by the checker's own key.

A report is about one document. It is made in the sandbox, whose services have another instance code: so the digest leaves the
instance out, and everything else in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchange.canonical import b64url, canonical, sha256
from exchange.jws import sign_compact, verify_compact
from exchange.keys import SigningKey, VerifyKey
from exchange.problem import Problem

REPORT_TYPE = "exchange-conformance+jwt"
REPORT_SECONDS = 30 * 86_400
MAX_AHEAD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Verified:
    """已验证的检测报告. What a report says; `issued_at` in unix seconds."""

    service: str
    schema_version: int
    passed: bool
    issued_at: int
    failed: tuple[str, ...]


def document_digest(document: Mapping[str, Any]) -> str:
    """b64url SHA-256 over a service form's canonical bytes, its identifier without the instance."""
    _, _, local = str(document["id"]).partition("/")
    return b64url(sha256(canonical({**document, "id": local})))


def sign_report(key: SigningKey, document: Mapping[str, Any], checks: list[dict[str, Any]], *, now: int) -> str:
    """The compact JWS of a report: `checks` are {code, passed, …}; it passes if there is one and all of them do."""
    claims = {
        "service": document["id"],
        "schema_version": document["schema_version"],
        "document": document_digest(document),
        "passed": bool(checks) and all(check["passed"] for check in checks),
        "checks": checks,
        "iat": now,
    }
    return sign_compact(key, REPORT_TYPE, claims)


def verify_report(token: str, checker: VerifyKey, document: Mapping[str, Any], *, now: float) -> Verified:
    """The report, if it is the checker's and about exactly this document. Raises `signature-invalid` or `conflict`."""
    claims = verify_compact(token, typ=REPORT_TYPE, key_of=checker.if_named).claims()
    issued = claims.get("iat")
    if claims.get("document") != document_digest(document):
        raise Problem("conflict", "the conformance report is about another document: check again what is filed")
    if type(issued) is not int or not issued - MAX_AHEAD_SECONDS <= now < issued + REPORT_SECONDS:
        raise Problem("conflict", "the conformance report is older than 30 days: check again")
    checks = claims.get("checks")
    rows = checks if isinstance(checks, list) else []
    failed = tuple(str(row.get("code")) for row in rows if isinstance(row, dict) and row.get("passed") is not True)
    passed = claims.get("passed") is True and bool(rows) and not failed
    return Verified(str(claims.get("service")), int(claims.get("schema_version", 0)), passed, issued, failed)


def require_passed(token: str | None, checker: VerifyKey | None, document: Mapping[str, Any], *, now: float) -> Verified:
    """The report that lets a data set be published. Raises `conflict` with what is missing, or `signature-invalid`."""
    if checker is None:
        raise Problem("conflict", "no conformance checker is registered here, so no data set can be published")
    if token is None:
        raise Problem("conflict", "a data set is published with a passing report of `yitong service check`")
    report = verify_report(token, checker, document, now=now)
    if not report.passed:
        raise Problem("conflict", f"the conformance check failed: {', '.join(report.failed[:20]) or 'nothing was checked'}")
    return report
