"""The gateway's control plane: it explains why a request was refused."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from exchange.canonical import parse_json
from exchange.control import signed_by
from exchange.envelope import SignedRequest
from exchange.identifiers import parse_request_id
from exchange.keys import VerifyKey
from exchange.web import prefers_chinese, problem_responses
from gateway.disclose import Gateway
from gateway.explain import explain
from gateway.facts import active_key
from gateway.metadata_api import Asking
from registry.client import Snapshot

router = APIRouter()


class Explain(BaseModel):
    """求解释. Which request is to be explained."""

    model_config = ConfigDict(strict=True, extra="forbid")

    request_id: str = Field(min_length=1, max_length=128)


class Check(BaseModel):
    """检查项. One check in the order in which they are made."""

    check: str
    passed: bool


class Explanation(BaseModel):
    """解释. What became of a request: the checks up to the first that failed, and what can be done about it."""

    request_id: str
    outcome: str
    code: str | None
    title: str | None
    advice: str | None
    names: list[str]
    at: str | None
    checks: list[Check]


class SigningDesk:
    """签名元数据窗口. Metadata at a gateway is for whoever signs the call, the lists too."""

    async def viewing(self, request: Request) -> Snapshot:
        """What is registered."""
        return (await self.asking(request)).snapshot

    async def asking(self, request: Request) -> Asking:
        """The call of a registered system."""
        gateway: Gateway = request.app.state.gateway
        caller, signed = await calling_system(request)
        return Asking(signed.request, caller, gateway.snapshots.current(), gateway.clock.now())


async def calling_system(request: Request) -> tuple[str, SignedRequest]:
    """The subsystem that signed the call with a key that is active now."""
    gateway: Gateway = request.app.state.gateway
    snapshot, now = gateway.snapshots.current(), gateway.clock.now()

    def key_of(kid: str, owner: str) -> VerifyKey | None:
        return active_key(snapshot, kid, owner=owner, now=now)

    caller, signed = await signed_by(request, key_of=key_of, now=now)
    if signed.request.body:
        parse_json(signed.request.body)  # refuses what two readers could read differently, a name twice for one
    return caller, signed


@router.post(
    "/explain",
    summary="Why was a request refused? Each check in order, up to the first that failed",
    responses=problem_responses("malformed-request", "signature-invalid", "signature-stale", "not-found", "audit-unavailable"),
)
async def post_explain(
    body: Explain, request: Request, caller: Annotated[tuple[str, SignedRequest], Depends(calling_system)]
) -> Explanation:
    """Only the consumer that made the request gets an answer; for everybody else it does not exist."""
    gateway: Gateway = request.app.state.gateway
    chinese = prefers_chinese(request.headers.get("accept-language", ""))
    found: dict[str, Any] = await explain(gateway, caller[0], parse_request_id(body.request_id), chinese=chinese)
    return Explanation(**found)
