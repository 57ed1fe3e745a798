"""Endpoints for what the registry and the registrar tell identity: titles for the texts, and guardianships."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from exchange.identifiers import parse_person_id, parse_service_id, parse_subsystem_id
from exchange.tokens import Person, Role, require_role
from exchange.web import problem_responses
from identity.callers import KEPT, SIGNED, Form, StrictRoute, TheDesks, registry_calling
from identity.model import MAX_FACTS

TheRegistry = Annotated[str, Depends(registry_calling)]
TheRegistrar = Annotated[Person, Depends(require_role(Role.REGISTRAR))]
Code = Annotated[str, Path(max_length=324, description="An identifier in its slash form")]
# One line without control characters or marks that turn the direction of writing: a title must not forge the text around it.
Line = Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class TitleForm(Form):
    """名称. In both languages, one line each."""

    title_zh: Line
    title_en: Line


class ItemForm(TitleForm):
    """数据项. `classification` 3 is sensitive, and the text says so."""

    classification: int = Field(ge=1, le=3)


class FactForm(TitleForm):
    """核验项. Its parameter and the arguments that may be asked at all."""

    parameter: Name | None = None
    allowed: list[int] = Field(default=[], max_length=32)


class ServiceForm(TitleForm):
    """共享服务. What a person is told about a service; `provider` is the member that answers."""

    provider_zh: Line
    provider_en: Line
    subject_kind: Literal["person", "enterprise"]
    items: dict[Name, ItemForm] = Field(max_length=256)
    facts: dict[Name, FactForm] = Field(max_length=MAX_FACTS)


class ConsumerForm(TitleForm):
    """需求部门. Who asks, and how they are reached (个人信息保护法 art. 23); may be empty."""

    contact: Line | Literal[""] = ""


class TitleView(BaseModel):
    """名称. In both languages."""

    title_zh: str
    title_en: str


class GuardianshipForm(Form):
    """监护关系. ID numbers of guardian and ward."""

    guardian: str = Field(min_length=18, max_length=18, repr=False)
    ward: str = Field(min_length=18, max_length=18, repr=False)


class GuardianshipView(BaseModel):
    """监护关系. The reference that grants by the guardian carry."""

    reference: str


router = APIRouter(tags=["catalogue"], route_class=StrictRoute)
_SAVED: dict[str, Any] = {"status_code": 204, "responses": problem_responses(*SIGNED, "unauthenticated", *KEPT)}


@router.put("/catalogue/services/{service:path}", **_SAVED)
async def save_service(service: Code, form: ServiceForm, held: TheDesks, caller: TheRegistry) -> None:
    """Add or replace what people are told about a service; by the registry (signed) or a registrar."""
    await held.titles.save("service", str(parse_service_id(service)), form.model_dump(), by=caller)


@router.put("/catalogue/consumers/{consumer:path}", **_SAVED)
async def save_consumer(consumer: Code, form: ConsumerForm, held: TheDesks, caller: TheRegistry) -> None:
    """Add or replace what people are told about a subsystem that asks; by the registry (signed) or a registrar."""
    await held.titles.save("consumer", str(parse_subsystem_id(consumer)), form.model_dump(), by=caller)


@router.put("/catalogue/purposes/{purpose}", **_SAVED)
async def save_purpose(
    purpose: Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")], form: TitleForm, held: TheDesks, caller: TheRegistry
) -> None:
    """Add or replace what people are told about a purpose; by the registry (signed) or a registrar."""
    await held.titles.save("purpose", purpose, form.model_dump(), by=caller)


_TOLD: dict[str, Any] = {"response_model": TitleView, "responses": problem_responses("malformed-request", "not-found")}


@router.get("/catalogue/services/{service:path}", **_TOLD)
async def tell_service(service: Code, held: TheDesks) -> Any:
    """What a service is called; for everybody, as people are told it."""
    return await held.titles.find("service", str(parse_service_id(service)))


@router.get("/catalogue/consumers/{consumer:path}", **_TOLD)
async def tell_consumer(consumer: Code, held: TheDesks) -> Any:
    """What a subsystem that asks is called."""
    return await held.titles.find("consumer", str(parse_subsystem_id(consumer)))


@router.get("/catalogue/purposes/{purpose}", **_TOLD)
async def tell_purpose(purpose: Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$")], held: TheDesks) -> Any:
    """What a purpose is called."""
    return await held.titles.find("purpose", purpose)


@router.post(
    "/guardianships",
    status_code=201,
    response_model=GuardianshipView,
    responses=problem_responses("malformed-request", "unauthenticated", "forbidden", *KEPT),
)
async def begin_guardianship(form: GuardianshipForm, held: TheDesks, registrar: TheRegistrar) -> dict[str, str]:
    """Record who answers for a minor; by a registrar."""
    guardian, ward = parse_person_id(form.guardian), parse_person_id(form.ward)
    return {"reference": (await held.guardianships.begin(guardian, ward, by=registrar.account)).reference}


@router.post(
    "/guardianships/end",
    status_code=204,
    responses=problem_responses("malformed-request", "unauthenticated", "forbidden", "not-found", *KEPT),
)
async def end_guardianship(form: GuardianshipForm, held: TheDesks, registrar: TheRegistrar) -> None:
    """Record that it has ended; by a registrar."""
    await held.guardianships.end(parse_person_id(form.guardian), parse_person_id(form.ward), by=registrar.account)
