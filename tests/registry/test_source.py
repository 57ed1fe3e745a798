"""How a process comes to the newest snapshot: fetched once, announced over the bus, refused when it does not verify."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.postgres.roles import Database
from exchange.clock import ManualClock
from exchange.problem import Problem
from exchange.subjects import KEYS_CHANGED
from registry.client import SnapshotSource
from registry.snapshot import FIXED_PARTS, PURPOSES
from tests.registry.paper import CONSUMER, NOW, PROVIDER_MEMBER, PROVIDER_PART, PURPOSE, SERVICE, Paper
from tests.registry.town import Town, open_town
from tests.support.bus import TestBus
from tests.support.waiting import until

CAUSE = "an investigation"


class Shelf:
    """A server of manifests and parts, which notes what is asked of it and serves what the test puts there."""

    def __init__(self, paper: Paper) -> None:
        self.paper, self.version = paper, 1
        self.asked: list[str] = []
        self.clock = ManualClock(NOW)
        self.spoil: Callable[[str, bytes], bytes] = lambda _path, body: body
        self.status = 200

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        self.asked.append(path)
        if path == "/snapshot":
            body = self.paper.token(self.version, at=int(self.clock.now())).encode("ascii")
        else:
            parts = {part.sha256: self.paper.parts[part.name] for part in self.paper.manifest().parts}
            body = parts[path.rpartition("/")[2]]
        return httpx2.Response(self.status, content=self.spoil(path, body))

    def source(self, **more: Any) -> SnapshotSource:
        """A reader of this shelf."""
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self))
        return SnapshotSource("http://registry.test/", self.paper.anchor.public, http, self.clock, **more)


@pytest.fixture
def shelf() -> Shelf:
    """Give a server with a small registry on paper."""
    return Shelf(Paper())


async def test_before_the_first_snapshot_there_is_none(shelf: Shelf) -> None:
    source = shelf.source()
    assert not source.is_current
    with pytest.raises(Problem, match="registry-stale"):
        source.current()


async def test_parts_that_have_not_changed_are_not_fetched_again(shelf: Shelf) -> None:
    source = shelf.source()
    await source.refresh()
    assert len(shelf.asked) == 1 + len(FIXED_PARTS) + 1
    shelf.asked.clear()
    shelf.clock.advance(60)
    await source.refresh()
    assert shelf.asked == ["/snapshot"]
    assert source.current().expires_at == NOW + 660
    shelf.asked.clear()
    shelf.paper.lines.append(shelf.paper.line(application="another"))
    shelf.paper.write()
    shelf.version = 2
    await source.refresh()
    assert len(shelf.asked) == 2
    assert source.current().right_count == 2


async def test_a_reader_of_one_provider_fetches_no_other(shelf: Shelf) -> None:
    shelf.paper.parts["provider:CN-YA/GOV/tax"] = shelf.paper.parts[PROVIDER_PART]
    snapshot = await shelf.source(provider=PROVIDER_MEMBER).refresh()
    assert len(shelf.asked) == 1 + len(FIXED_PARTS) + 1
    assert snapshot.rights(CONSUMER, SERVICE)


async def test_an_expired_snapshot_counts_for_nothing(shelf: Shelf) -> None:
    source = shelf.source()
    await source.refresh()
    shelf.clock.advance(599)
    assert source.current().version == 1
    shelf.clock.advance(1)
    assert not source.is_current
    with pytest.raises(Problem, match="expired"):
        source.current()


SPOILT: dict[str, Callable[[str, bytes], bytes]] = {
    "a part is altered": lambda path, body: body if path == "/snapshot" else body[:-1] + b"x",
    "a part is longer": lambda path, body: body if path == "/snapshot" else body + b" ",
    "a part is cut": lambda path, body: body if path == "/snapshot" else body[:-1],
    "a part is empty": lambda path, body: body if path == "/snapshot" else b"",
    "the manifest is altered": lambda path, body: body[:-2] if path == "/snapshot" else body,
    "the manifest is no text": lambda path, body: b"\xff" if path == "/snapshot" else body,
    "the manifest is huge": lambda path, body: b"a" * 3_000_000 if path == "/snapshot" else body,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
async def test_what_does_not_verify_leaves_the_snapshot_before_in_place(
    shelf: Shelf, spoil: Callable[[str, bytes], bytes]
) -> None:
    fresh = shelf.source()
    source = shelf.source()
    await source.refresh()
    shelf.paper.parts[PURPOSES] = b'{"purposes":[]}'
    shelf.version, shelf.spoil = 2, spoil
    for reader in (source, fresh):
        with pytest.raises(Problem) as refused:
            await reader.refresh()
        assert refused.value.code == "registry-stale"
    assert source.current().version == 1
    assert source.current().purpose(PURPOSE) is not None
    assert not fresh.is_current
    shelf.spoil = lambda _path, body: body
    assert (await source.refresh()).purpose(PURPOSE) is None


async def test_a_server_that_fails_is_no_snapshot(shelf: Shelf) -> None:
    shelf.status = 503
    with pytest.raises(Problem, match="registry-stale"):
        await shelf.source().refresh()


async def test_a_source_starts_without_the_registry_and_finds_it_later(shelf: Shelf) -> None:
    shelf.status = 503
    source = shelf.source(poll_seconds=0.01)
    await source.start()
    try:
        assert not source.is_current
        shelf.status = 200
        await asyncio.to_thread(until, lambda: source.is_current)
    finally:
        await source.stop()


async def test_the_manifest_is_signed_anew_before_it_expires(database: Database, tmp_path: Path) -> None:
    async with open_town(database, tmp_path, poll_seconds=0.01, resign_seconds=0.01) as town:
        source = town.source(poll_seconds=0.01)
        await source.start()
        try:
            first = source.current()
            town.office.clock.advance(599)
            await asyncio.to_thread(until, lambda: source.current().expires_at == first.expires_at + 599)
            assert source.current().version == first.version
        finally:
            await source.stop()


# --- over the bus


@pytest.fixture
async def busy_town(database: Database, tmp_path: Path, nats_server: TestBus) -> AsyncIterator[Town]:
    """Give a registry on a real bus."""
    bus: dict[str, Any] = {"nats_url": nats_server.url, "nats_seed_file": nats_server.seed_file("registry")}
    async with open_town(database, tmp_path, **bus) as town:
        yield town


async def test_an_announcement_brings_a_change_at_once(busy_town: Town, nats_server: TestBus) -> None:
    gateway = await nats_server.connect("gateway-1")
    source = busy_town.source(poll_seconds=3600)
    await source.start(gateway)
    try:
        assert source.current().members["CN-YA/GOV/tax"].status.value == "active"
        await gateway.flush()  # the subscription stands
        await busy_town.client.suspend(await busy_town.token(), "members", "CN-YA/GOV/tax", CAUSE)
        await asyncio.to_thread(until, lambda: source.current().members["CN-YA/GOV/tax"].status.value == "suspended")
    finally:
        await source.stop()
        await gateway.close()


async def test_a_change_of_keys_on_the_bus_makes_the_registry_look(busy_town: Town, nats_server: TestBus) -> None:
    key = await busy_town.office.enrolled(CONSUMER)
    assert (await busy_town.source().refresh()).key(key.kid) is None
    identity = await nats_server.connect("identity")
    source = busy_town.source(poll_seconds=0.05)
    await source.start()
    try:
        await identity.publish(KEYS_CHANGED, b"{}")
        await identity.flush()
        await asyncio.to_thread(until, lambda: source.current().key(key.kid) is not None)
    finally:
        await source.stop()
        await identity.close()
