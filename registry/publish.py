"""Publishing the snapshot: parts are rebuilt when something in them has changed, the manifest is signed anew each minute."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from exchange.clock import Clock
from exchange.keys import SigningKey
from exchange.problem import Problem
from registry import store
from registry.model import Entity, KeyEntry, Kind
from registry.reading import parse_key_entry
from registry.snapshot import (
    AUTHORITIES,
    FIXED_PARTS,
    GATEWAYS,
    LIFE_SECONDS,
    MEMBERS,
    PROVIDER_PREFIX,
    PURPOSES,
    Authorities,
    Manifest,
    Part,
    authorities_part,
    gateways_part,
    members_part,
    part_of,
    provider_part,
    provider_part_name,
    purposes_part,
    sign_manifest,
)
from registry.store import PublishedVersion


class Announcer(Protocol):
    """Who tells the others that there is a new version."""

    async def announce(self, version: int) -> None:
        """Say so; never raises."""
        ...


class Publisher:
    """快照发布. Keeps the current manifest; versions lie in the database, so that a restart never goes back.

    Whoever calls `publish` or `raise_floor` is the sole writer at that moment (`store.sole_writer`).
    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        key: SigningKey,
        instance: str,
        authorities: Authorities,
        clock: Clock,
        announcer: Announcer,
    ) -> None:
        """`key` is the anchor of every reader's trust."""
        self._engine, self._key, self._clock, self._announcer = engine, key, clock, announcer
        self._instance, self._authorities = instance, authorities
        self._published: PublishedVersion | None = None
        self._manifest = ""
        self._expires_at = 0
        self._ended_until = 0

    @property
    def version(self) -> int:
        """The version that is published; 0 before the first."""
        return self._published.version if self._published else 0

    @property
    def is_current(self) -> bool:
        """Whether there is a manifest that readers would accept now."""
        return self._published is not None and self._clock.now() < self._expires_at

    def manifest(self) -> str:
        """The compact JWS of the current manifest. Raises `registry-stale` if there is none that still holds."""
        if not self.is_current:
            raise Problem("registry-stale", reason="nothing is published")
        return self._manifest

    async def next_version(self) -> int:
        """The number of the version that the next change of content will make."""
        async with self._engine.connect() as connection:
            return self._number_after(await store.load_version(connection))

    def _number_after(self, before: PublishedVersion | None) -> int:
        """The time in seconds, or one more than the last number where that is higher.

        So even a database that was restored from an older copy does not give other content a number that was used before.
        """
        return max(before.version + 1 if before else 1, int(self._clock.now()))

    async def publish(self, changed: Collection[str] | None = None, *, floor: int | None = None) -> int:
        """Rebuild the parts named in `changed` (None: all) and publish; the version that now counts.

        A new version is made if a part differs from the last, or if the last is below `floor`; manifests name the floor.
        Raises what the database raises; then the version before stands.
        """
        async with self._engine.begin() as connection:
            before = await store.load_version(connection)
            names = await self._all_names(connection) if changed is None or before is None else changed
            parts = {part.name: part for part in before.parts} if before else {}
            for name in names:
                parts[name] = await self._rebuild(connection, name)
            after = self._following(before, tuple(parts[name] for name in sorted(parts)), floor or 0)
            if before is None or after.version != before.version:
                await store.save_version(connection, after, int(self._clock.now()))
            elif after != before:
                await store.raise_version_floor(connection, after.version, after.floor)
        # A crash here leaves a version that nobody has seen: the next start publishes it.
        is_new = self.version != after.version
        self._published = after
        self.sign()
        if is_new:
            await self._announcer.announce(after.version)
        return after.version

    def _following(self, before: PublishedVersion | None, parts: tuple[Part, ...], floor: int) -> PublishedVersion:
        if before is not None and parts == before.parts and before.version >= floor:
            return PublishedVersion(before.version, max(before.floor, floor), parts)
        return PublishedVersion(max(self._number_after(before), floor), max(before.floor if before else 0, floor), parts)

    async def resign(self) -> None:
        """Sign the newest version for the next ten minutes, also one that another process has published meanwhile."""
        async with self._engine.connect() as connection:
            newest = await store.load_version(connection)
        if self._published is not None and newest is not None and newest.version >= self._published.version:
            self._published = newest
        self.sign()

    def sign(self) -> None:
        """Sign the manifest of the version that is published here."""
        if self._published is None:
            return
        now = int(self._clock.now())
        published = self._published
        manifest = Manifest(self._instance, published.version, now, now + LIFE_SECONDS, published.floor, published.parts)
        self._manifest, self._expires_at = sign_manifest(self._key, manifest), manifest.expires_at

    async def find_lapsed_parts(self) -> list[str]:
        """The parts in which a right has ended since the last call."""
        now = int(self._clock.now())
        async with self._engine.connect() as connection:
            members = await store.find_providers_of_ended_rights(connection, self._ended_until, now)
        self._ended_until = now
        return [provider_part_name(member) for member in members]

    async def _all_names(self, connection: AsyncConnection) -> list[str]:
        services = await store.load_entries(connection, Kind.SERVICE)
        providers = {"/".join(service.entity.id.split("/")[:3]) for service in services}
        self._ended_until = int(self._clock.now())
        return [*FIXED_PARTS, *sorted(map(provider_part_name, providers))]

    async def _rebuild(self, connection: AsyncConnection, name: str) -> Part:
        body = await self._body(connection, name)
        part = await asyncio.to_thread(part_of, name, body)
        await store.save_part(connection, part.sha256, body)
        return part

    async def _body(self, connection: AsyncConnection, name: str) -> bytes:
        if name == AUTHORITIES:
            return authorities_part(self._authorities)
        if name == PURPOSES:
            return purposes_part(await _entities(connection, Kind.PURPOSE))
        if name == MEMBERS:
            members, subsystems = await _entities(connection, Kind.MEMBER), await _entities(connection, Kind.SUBSYSTEM)
            return members_part(members, subsystems, await _keys(connection))
        if name == GATEWAYS:
            return gateways_part(await _entities(connection, Kind.GATEWAY), await _keys(connection))
        provider = name.removeprefix(PROVIDER_PREFIX)
        services = [registered.entity for registered in await store.load_services(connection, provider)]
        lines = await store.load_right_lines(connection, provider, int(self._clock.now()))
        return await asyncio.to_thread(provider_part, provider, services, lines)


async def _entities(connection: AsyncConnection, kind: Kind) -> list[Entity]:
    return [registered.entity for registered in await store.load_entries(connection, kind)]


async def _keys(connection: AsyncConnection) -> list[KeyEntry]:
    return [parse_key_entry(row) for row in await store.load_keys(connection)]
