"""What became of a request, read from the log: the checks in order up to the first that failed, nothing after it."""

from __future__ import annotations

from typing import Any

from exchange.canonical import parse_json
from exchange.clock import rfc3339
from exchange.problem import PROBLEMS, Problem
from gateway.disclose import Gateway
from gateway.model import CHECKS


async def explain(gateway: Gateway, consumer: str, request_id: str, *, chinese: bool) -> dict[str, Any]:
    """The explanation of a request of `consumer`. Raises `not-found`, which another's request gives as well."""
    rid = gateway.scribe.rid(consumer, request_id)
    released = await gateway.releases.find_release(consumer, rid)
    denials = await gateway.releases.find_denials(consumer, rid)
    if released is None and not denials:
        raise Problem("not-found", "no request of this consumer has that id")
    if released is None or (denials and denials[0].serial > released.serial):
        return _denied(request_id, denials[0].at_ms, parse_json(denials[0].leaf), chinese=chinese)
    checks = [{"check": str(check), "passed": True} for check in CHECKS]
    return {
        "request_id": request_id, "outcome": "released", "code": None, "title": None, "advice": None,
        "names": [], "at": rfc3339(released.at_ms / 1000), "checks": checks,
    }  # fmt: skip


def _denied(request_id: str, at_ms: int, leaf: dict[str, Any], *, chinese: bool) -> dict[str, Any]:
    code = leaf["code"]
    kind = PROBLEMS[code]
    order = [str(check) for check in CHECKS]
    passed = order[: order.index(code)] if code in order else order
    return {
        "request_id": request_id,
        "outcome": "denied",
        "code": code,
        "title": kind.title_zh if chinese else kind.title_en,
        "advice": kind.advice_zh if chinese else kind.advice_en,
        "names": sorted(leaf.get("withheld", {})),
        "at": rfc3339(at_ms / 1000),
        "checks": [*({"check": check, "passed": True} for check in passed), {"check": code, "passed": False}],
    }
