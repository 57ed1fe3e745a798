"""Who calls: a person by token, or a registered system or component by its signature."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as SQLTimeoutError

from exchange.canonical import parse_json
from exchange.clock import Clock
from exchange.control import signed_by
from exchange.envelope import Tag, parse_signature_input
from exchange.identifiers import parse_subsystem_id
from exchange.keys import VerifyKey
from exchange.problem import Problem
from exchange.tokens import Person, Role, authenticate
from identity.consent import ConsentRegister
from identity.deletion import DeletionRegister
from identity.guardianship import GuardianshipRegister
from identity.keys import KeyRegister
from identity.model import KeyUse, RegisteredKey
from identity.titles import TitleRegister


@dataclass(frozen=True, slots=True)
class Desks:
    """业务窗口. What the endpoints work with; made once at the start."""

    keys: KeyRegister
    consents: ConsentRegister
    guardianships: GuardianshipRegister
    titles: TitleRegister
    deletions: DeletionRegister
    authority_certificate: str
    clock: Clock


def desks(request: Request) -> Desks:
    """FastAPI dependency: what the process works with."""
    found: Desks = request.app.state.desks
    return found


TheDesks = Annotated[Desks, Depends(desks)]
KEPT = ("audit-unavailable", "identity-unavailable", "overloaded")
"""The problems of an endpoint that changes something: it may not be recorded."""
SIGNED = ("malformed-request", "signature-invalid", "signature-stale", "forbidden")
"""The problems of an endpoint that a machine signs for."""


class Form(BaseModel):
    """表单. What comes in: nothing but the named members, in their own types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StrictRoute(APIRoute):
    """严格路由. Refuses JSON that two readers could read differently, and says 503 while the database is away."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Parse the body strictly first; it is kept, so nothing is read twice."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            if body := await request.body():
                parse_json(body)
            try:
                return await handle(request)
            except (IntegrityError, ProgrammingError, DataError):
                raise
            except (DBAPIError, SQLTimeoutError, OSError) as error:
                raise Problem("identity-unavailable", "identity cannot reach its database", reason=type(error).__name__) from None

        return strict


async def signer(request: Request) -> RegisteredKey:
    """The active key that signed this control request, owned by the caller that X-Road-Client names.

    Raises `malformed-request`, `signature-stale`, `signature-invalid`.
    """
    held = desks(request)
    if (named := request.headers.get("signature-input")) is None:
        raise Problem("signature-invalid", "the request is not signed")
    caller = request.headers.get("x-road-client", "")
    key = await held.keys.find_active(parse_signature_input(named, Tag.CONTROL).keyid, caller)
    public = VerifyKey.from_jwk(key.jwk) if key is not None else None
    await signed_by(
        request,
        key_of=lambda kid, owner: public if key is not None and (kid, owner) == (key.kid, key.owner) else None,
        now=held.clock.now(),
    )
    if key is None:
        raise Problem("signature-invalid", reason="unknown key")
    return key


async def consumer_calling(request: Request) -> str:
    """FastAPI dependency: the subsystem that signed. Raises as `signer`, and `forbidden` for any other signer."""
    key = await signer(request)
    if key.use is not KeyUse.SUBSYSTEM:
        raise Problem("forbidden", "a subsystem signs this call")
    return str(parse_subsystem_id(key.owner))


async def gateway_calling(request: Request) -> str:
    """FastAPI dependency: the gateway that signed. Raises as `signer`, and `forbidden` for any other signer."""
    key = await signer(request)
    if key.use is not KeyUse.GATEWAY:
        raise Problem("forbidden", "a gateway signs this call")
    return key.owner


async def registry_calling(request: Request) -> str:
    """FastAPI dependency: the registry by its signature, or a registrar by token. Raises `forbidden` for others."""
    if is_person(request):
        person = await authenticate(request)
        if Role.REGISTRAR not in person.roles:
            raise Problem("forbidden", "the registry or a registrar does this")
        return person.account
    key = await signer(request)
    if key.use is not KeyUse.REGISTRY:
        raise Problem("forbidden", "the registry or a registrar does this")
    return key.owner


async def revoking(request: Request) -> Person:
    """FastAPI dependency: who may revoke keys, or the registry by its signature, in which an incident has stopped one.

    Raises `forbidden` for others; for whose keys is asked by the use case.
    """
    if is_person(request) or "signature-input" not in request.headers:
        person = await authenticate(request)
        if not person.roles.intersection({Role.REGISTRAR, Role.SECURITY, Role.INTEGRATOR}):
            raise Problem("forbidden", "a registrar, a security administrator or an integrator revokes keys")
        return person
    key = await signer(request)
    if key.use is not KeyUse.REGISTRY:
        raise Problem("forbidden", "of the machines only the registry revokes keys")
    return Person(key.owner, frozenset({Role.REGISTRAR}), None, None, "")


async def answering_person(request: Request) -> Person:
    """FastAPI dependency: a citizen or an enterprise's agent. Raises `unauthenticated`, `forbidden`."""
    person = await authenticate(request)
    if not person.roles.intersection({Role.CITIZEN, Role.AGENT}) or person.subject is None:
        raise Problem("forbidden", "people answer for themselves, their wards or their enterprise here")
    return person


def is_person(request: Request) -> bool:
    """Whether the call carries a token and not a signature."""
    return "authorization" in request.headers
