"""Telling identity what services, consumers and purposes are called, for the text that a person is shown before consenting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from exchange.canonical import canonical, sha256
from exchange.keys import SigningKey
from identity.client import IdentityClient
from registry import store
from registry.model import Kind, Member, ServiceEntry


class TitleCourier:
    """名称送达. Sends what identity has not been sent since this process began; identity passes over what it knows."""

    def __init__(self, engine: AsyncEngine, identity: IdentityClient, key: SigningKey, version: Callable[[], int]) -> None:
        """`key` is the registry's own, enrolled at identity for the use `registry`; `version` is that of the snapshot."""
        self._engine, self._identity, self._key, self._version = engine, identity, key, version
        self._sent: dict[tuple[str, str], bytes] = {}
        self._delivered = 0

    async def deliver(self) -> None:
        """Send every title that has changed. Raises what identity answers; what was sent until then counts."""
        version = self._version()
        if version == self._delivered:  # titles are part of what a version is made of
            return
        for place, entry in (await self._titles()).items():
            digest = sha256(canonical(dict(entry)))
            if self._sent.get(place) != digest:
                await self._identity.save_titles(*place, entry, self._key)
                self._sent[place] = digest
        self._delivered = version

    async def _titles(self) -> dict[tuple[str, str], Mapping[str, Any]]:
        async with self._engine.connect() as connection:
            kinds = (Kind.MEMBER, Kind.SUBSYSTEM, Kind.PURPOSE, Kind.SERVICE)
            entries = {kind: [found.entity for found in await store.load_entries(connection, kind)] for kind in kinds}
        members = {member.id: member for member in entries[Kind.MEMBER] if isinstance(member, Member)}
        titles: dict[tuple[str, str], Mapping[str, Any]] = {}
        for entity in entries[Kind.SUBSYSTEM] + entries[Kind.PURPOSE]:
            if isinstance(entity, ServiceEntry):
                continue
            plain = {"title_zh": entity.name_zh, "title_en": entity.name_en}
            is_consumer = entity in entries[Kind.SUBSYSTEM]
            titles["consumers" if is_consumer else "purposes", entity.id] = {**plain, "contact": ""} if is_consumer else plain
        for entity in entries[Kind.SERVICE]:
            if isinstance(entity, ServiceEntry) and (provider := members.get(entity.provider)) is not None:
                titles["services", entity.id] = _service_titles(entity, provider)
        return titles


def _service_titles(service: ServiceEntry, provider: Member) -> dict[str, Any]:
    return {
        "title_zh": service.title_zh,
        "title_en": service.title_en,
        "provider_zh": provider.name_zh,
        "provider_en": provider.name_en,
        "subject_kind": service.subject_kind.value,
        "items": {
            name: {"title_zh": item.title_zh, "title_en": item.title_en, "classification": item.classification}
            for name, item in service.items.items()
        },
        "facts": {
            name: {
                "title_zh": fact.title_zh,
                "title_en": fact.title_en,
                "parameter": fact.parameter,
                "allowed": list(fact.allowed),
            }
            for name, fact in service.fact_entries.items()
        },
    }
