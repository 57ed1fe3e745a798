"""A consumer and a provider that deal with sharing applications at a running registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from registry.client import AccessRight, Credential, Machine, sign_right
from tests.registry.town import CONSUMER, IDENTITY_SERVICE, Town, story_right

LICENCE = "CN-YA/GOV/market-regulation/enterprise/business-licence"
OWN = "CN-YA/GOV/real-estate/registration/ownership"
PAPERS = {"matter": "不动产转移登记", "necessity": "核验当事人身份", "office": "登记中心业务科", "protection": "专网，分级授权"}
DAY = 86_400


@dataclass(slots=True)
class Parties:
    """A consumer and a provider with their keys, and what they do with applications."""

    town: Town
    consumer: Machine
    provider: Machine

    @classmethod
    async def of(cls, town: Town, service: str = IDENTITY_SERVICE) -> Parties:
        """The consumer of the story and the provider of a service, both enrolled."""
        machines = [Machine(name, await town.office.enrolled(name)) for name in (CONSUMER, service.rpartition("/")[0])]
        await town.app.state.desk.registrar.refresh_keys()
        return cls(town, *machines)

    async def drafted(self, service: str = IDENTITY_SERVICE, **changed: Any) -> dict[str, Any]:
        document = {name: value for name, value in story_right(service).items() if name != "application"}
        return await self.town.client.applications.draft(self.consumer, document | changed, PAPERS)

    async def submitted(self, service: str = IDENTITY_SERVICE, *, sign: bool = False, **changed: Any) -> dict[str, Any]:
        draft = await self.drafted(service, **changed)
        acceptance = sign_right(draft["document"], self.consumer.key) if sign else None
        return await self.take(self.consumer, draft, "submit", acceptance=acceptance)

    async def reviewed(self, *, sign: bool = False, **changed: Any) -> dict[str, Any]:
        """An application that the provider has before it."""
        return await self.take("registrar", await self.submitted(sign=sign, **changed), "forward")

    async def take(self, who: str | Machine, application: dict[str, Any], step: str, **members: Any) -> dict[str, Any]:
        credential: Credential = who if isinstance(who, Machine) else await self.town.token(who)
        return await self.town.client.applications.take(credential, application, step, **members)

    async def grant(self, application: dict[str, Any], document: dict[str, Any] | None = None) -> dict[str, Any]:
        signature = sign_right(document or application["document"], self.provider.key)
        return await self.take(self.provider, application, "grant", grant=signature, document=document)

    async def accept(self, application: dict[str, Any]) -> dict[str, Any]:
        signature = sign_right(application["offered"], self.consumer.key)
        return await self.take(self.consumer, application, "accept", acceptance=signature)

    async def rights(self) -> dict[str, AccessRight]:
        """The consumer's rights on the service as gateways know them."""
        snapshot = await self.town.source().refresh()
        return {right.id: right for right in snapshot.rights(CONSUMER, IDENTITY_SERVICE)}

    async def refused(self) -> dict[str, Any]:
        return await self.take(self.provider, await self.reviewed(), "refuse", reason="the matter does not need it")

    async def show(self, who: str | Machine, number: int) -> dict[str, Any]:
        credential: Credential = who if isinstance(who, Machine) else await self.town.token(who)
        return await self.town.client.applications.show(credential, number)
