"""The relay against three real servers of which one is killed, stopped or wiped: every event stands there once, in order."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from nats.errors import Error as NatsError
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError

from departments.outbox import Lag, read_from, read_lag, say
from departments.relay import Relay, Step
from deploy.nats.cluster import MEMBERS, NatsCluster
from deploy.nats.users import NatsUser, department, load_users
from deploy.postgres.roles import Database
from deploy.servers import NatsServer
from exchange.record import Answer
from tests.departments.test_outbox import KEY, SUBJECT, claims
from tests.departments.test_relay import KEEPER, NAME, Scene, require_whole
from tests.support.bus import connect_as, until_made
from tests.support.waiting import until_yes

SAID = 500
# As a provider is connected: nothing is kept for later while its server is away, and another one is sought at once.
AS_PROVIDER = {"pending_size": 0, "reconnect_time_wait": 0.2, "connect_timeout": 2, "dont_randomize": True}


@dataclass(slots=True, kw_only=True)
class ClusterScene(Scene):
    """A department and the keeper of its stream, which three servers hold."""

    cluster: NatsCluster
    users: tuple[NatsUser, ...]
    replicas: int = MEMBERS

    async def info(self) -> StreamInfo | None:
        """What is known of the stream, None while nobody leads it."""
        try:
            return await self.keeper.jetstream(timeout=0.5).stream_info(NAME)
        except (NatsError, TimeoutError):
            return None

    async def leader(self) -> NatsServer:
        """Who leads the stream, as soon as somebody does."""
        found: list[NatsServer] = []

        async def is_led() -> bool:
            info = await self.info()
            if info and info.cluster and info.cluster.leader:
                found.append(self.cluster.member(info.cluster.leader))
            return bool(found) and found[-1].is_running()

        await until_yes(is_led)
        return found[-1]

    async def other(self) -> NatsServer:
        """One that does not lead."""
        leader = await self.leader()
        return next(member for member in self.cluster.members if member is not leader)

    async def until_current(self, members: Iterable[NatsServer]) -> None:
        """These have everything that the stream holds."""
        names = {member.server_name for member in members}

        async def are_current() -> bool:
            info = await self.info()
            if info is None or info.cluster is None:
                return False
            current = {each.name for each in info.cluster.replicas or [] if each.current and not each.lag and not each.offline}
            return names <= current | {info.cluster.leader}

        await until_yes(are_current)

    async def until_led_by(self, member: NatsServer) -> None:
        """The stream is led by this member: what is read from now on is its copy."""
        order = json.dumps({"placement": {"preferred": member.server_name}}).encode()

        async def leads() -> bool:
            if await self.leader() is member:
                return True
            try:
                await self.keeper.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{NAME}", order, timeout=0.5)
            except (NatsError, TimeoutError):
                return False
            return await self.leader() is member

        await until_yes(leads)

    async def speak_through(self, member: NatsServer) -> None:
        """The department's connection goes to this member, as long as it is there."""
        await self.department.close()
        self.department = await connect_as(self.users[0], sorted(self.cluster.urls, key=member.url.__ne__), **AS_PROVIDER)

    async def message(self, number: int) -> str | None:
        """What the member that leads has at this number."""
        try:
            return ((await self.keeper.jetstream().get_msg(NAME, seq=number)).data or b"").decode("ascii")
        except NotFoundError:
            return None

    async def said(self) -> dict[int, str]:
        """The outbox."""
        async with self.pool.acquire() as connection:
            return {kept.sequence: kept.event for kept in await read_from(connection, 1, 10 * SAID)}

    async def lag(self) -> Lag:
        """How far publishing has come."""
        async with self.pool.acquire() as connection:
            return await read_lag(connection)

    async def tell(self, first: int, last: int) -> None:
        """Events of these numbers, both included, said in one transaction."""
        async with self.pool.acquire() as connection, connection.transaction():
            for number in range(first, last + 1):
                await say(connection, KEY, claims(number), Answer(SUBJECT, {}, {}, {}), at_ms=1)


@pytest.fixture
async def scene(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ClusterScene]:
    """Give a department, and an empty stream on a cluster that the test may break."""
    # What a killed server took and did not answer is waited for; two seconds are plenty here, and there are many kills.
    monkeypatch.setattr("departments.relay.ACKNOWLEDGED_SECONDS", 2.0)
    users = load_users(tmp_path / "secrets", [department("tax"), KEEPER])
    cluster = NatsCluster(tmp_path / "cluster", users)
    cluster.start()
    client, keeper = [await connect_as(user, cluster.urls, **AS_PROVIDER) for user in users]
    async with asyncpg.create_pool(database.url("yitong_tax"), min_size=1, max_size=8) as pool:
        made = ClusterScene(pool, client, keeper, cluster=cluster, users=users)
        await until_made(made.make_stream)
        await made.until_current(cluster.members)
        yield made
    await made.department.close()
    await keeper.close()
    cluster.stop()


async def publish_up_to(scene: ClusterScene, relay: Relay, last: int) -> list[Step]:
    """Rounds until the bus has taken event `last`, whatever happens to it meanwhile."""
    steps = []

    async def has_taken() -> bool:
        steps.append(await relay.run_once())
        return (await scene.lag()).published >= last

    await until_yes(has_taken)
    return steps


async def said_and_published(scene: ClusterScene, relay: Relay, first: int, last: int) -> list[Step]:
    """Events are said, and then taken by the bus."""
    await scene.tell(first, last)
    return await publish_up_to(scene, relay, last)


async def until_said_again(scene: ClusterScene, relay: Relay, last: int) -> None:
    """The relay hears that its last event is gone, and says what is missing up to it."""

    async def went_back() -> bool:
        return (await relay.probe()).went_back

    async def is_there() -> bool:
        await relay.run_once()
        info = await scene.info()
        return info is not None and info.state.last_seq >= last

    await until_yes(went_back)
    await until_yes(is_there)


async def until_stored(scene: ClusterScene, number: int) -> None:
    """The stream holds an event, which its relay may not have heard yet."""

    async def is_stored() -> bool:
        info = await scene.info()
        return info is not None and info.state.last_seq >= number

    await until_yes(is_stored)


async def require_whole_on_every_member(scene: ClusterScene, count: int, *, first: int = 1) -> None:
    """Each member's own copy holds event n at number n, once, in one chain, and nothing else."""
    await scene.until_current(scene.cluster.members)
    for member in scene.cluster.members:
        await scene.until_led_by(member)
        await require_whole(scene, count, first=first)


Pick = Callable[[ClusterScene], Awaitable[NatsServer]]
WHO: dict[str, Pick] = {"who leads": ClusterScene.leader, "who does not lead": ClusterScene.other}


@pytest.mark.invariant("I-47")
@pytest.mark.invariant("I-49")
@pytest.mark.parametrize("speaker", WHO.values(), ids=[f"speaking to {name}" for name in WHO])
async def test_a_leader_killed_while_publishing_takes_no_event_with_it(scene: ClusterScene, speaker: Pick) -> None:
    """I-47, I-49: killed with hundreds of events on their way; nothing that was acknowledged has to be said again."""
    await scene.tell(1, 2 * SAID)
    leader = await scene.leader()
    await scene.speak_through(await speaker(scene))
    publishing = asyncio.create_task(publish_up_to(scene, scene.relay(), 2 * SAID))
    await until_stored(scene, 1)
    leader.kill()
    assert (await scene.lag()).published < 2 * SAID, "it was in the midst of it"
    assert not any(step.went_back for step in await publishing)
    leader.start()
    await require_whole_on_every_member(scene, 2 * SAID)


@pytest.mark.invariant("I-47")
@pytest.mark.invariant("I-49")
@pytest.mark.parametrize("loses_disk", [False, True], ids=["stopped and started", "killed and wiped"])
@pytest.mark.parametrize("who", WHO.values(), ids=WHO)
async def test_a_member_that_was_away_is_told_everything_by_the_other_two(
    scene: ClusterScene, who: Pick, loses_disk: bool
) -> None:
    """I-47, I-49: events are published before, while it is away, and while it learns what it missed; it ends with all of them."""
    relay, member = scene.relay(), await who(scene)
    steps = await said_and_published(scene, relay, 1, SAID)
    if loses_disk:
        member.kill()
        shutil.rmtree(member.store)
    else:
        member.stop()
    steps += await said_and_published(scene, relay, SAID + 1, 2 * SAID)
    # An empty member and one that lags would be a majority that has forgotten; so these two are heard first.
    await scene.until_current(other for other in scene.cluster.members if other is not member)
    member.start()
    steps += await said_and_published(scene, relay, 2 * SAID + 1, 3 * SAID)
    assert not any(step.went_back for step in steps)
    await require_whole_on_every_member(scene, 3 * SAID)


@pytest.mark.invariant("I-47")
async def test_without_a_majority_nothing_counts_as_published_and_nothing_is_there_twice_afterwards(scene: ClusterScene) -> None:
    """I-47: what the last member took and could not get confirmed may be in the stream later or not; it is there once."""
    relay, last = scene.relay(), await scene.leader()
    await said_and_published(scene, relay, 1, 20)
    await scene.speak_through(last)
    relay.stream = scene.department.jetstream()
    others = [member for member in scene.cluster.members if member is not last]
    for member in others:
        member.kill()
    await scene.tell(21, 60)
    assert await relay.run_once() == Step(0)
    assert (await scene.lag()).published == 20
    for member in others:
        member.start()
    await publish_up_to(scene, relay, 60)
    await require_whole_on_every_member(scene, 60)


@pytest.mark.invariant("I-49")
async def test_an_empty_member_and_one_that_was_away_forget_nothing_when_the_third_comes_back(scene: ClusterScene) -> None:
    """I-49: they are two of three and neither has what was acknowledged; they take nothing new before who has it is there."""
    relay, leader = scene.relay(), await scene.leader()
    late, other = (member for member in scene.cluster.members if member is not leader)
    await said_and_published(scene, relay, 1, 20)
    await scene.until_current(scene.cluster.members)
    late.kill()
    await said_and_published(scene, relay, 21, 60)
    other.kill()
    leader.kill()
    shutil.rmtree(leader.store)
    late.start()
    leader.start()
    await scene.tell(61, 80)
    assert await relay.run_once() == Step(0)
    other.start()
    assert not any(step.went_back for step in await publish_up_to(scene, relay, 80))
    await require_whole_on_every_member(scene, 80)


@pytest.mark.invariant("I-49")
async def test_a_cluster_that_lost_every_disk_is_filled_again_from_the_outbox(scene: ClusterScene) -> None:
    """I-49: the stream's keeper makes it anew, and the next word of the relay tells it that everything is gone."""
    relay = scene.relay()
    await said_and_published(scene, relay, 1, SAID)
    for member in scene.cluster.members:
        member.kill()
        shutil.rmtree(member.store)
    scene.cluster.start()

    async def is_made() -> bool:
        try:
            await scene.make_stream()
        except (NatsError, TimeoutError):
            return await scene.info() is not None
        return True

    await until_yes(is_made)
    await scene.leader()
    await until_said_again(scene, relay, SAID)
    await require_whole_on_every_member(scene, SAID)


@pytest.mark.invariant("I-49")
async def test_a_bit_flipped_on_a_disk_leaves_a_hole_that_shows_and_is_filled_from_the_outbox(scene: ClusterScene) -> None:
    """I-49: the cluster does not mend it, and says all is there; but its reader gets no altered event, and misses a number."""
    relay, member = scene.relay(), await scene.other()
    await said_and_published(scene, relay, 1, SAID)
    await scene.until_current(scene.cluster.members)
    member.stop()
    for block in (member.store / "jetstream" / "EXCHANGE" / "streams" / NAME / "msgs").glob("*.blk"):
        content = bytearray(block.read_bytes())
        content[len(content) // 2] ^= 1
        block.write_bytes(content)
    member.start()
    await scene.until_current(scene.cluster.members)
    await scene.until_led_by(member)
    kept = {number: await scene.message(number) for number in range(1, SAID + 1)}
    holes = [number for number, text in kept.items() if text is None]
    said = await scene.said()
    assert holes
    assert {number: said[number] for number in kept.keys() - set(holes)} == {n: text for n, text in kept.items() if text}
    # The reader, which knows the chain up to the hole, has the stream made anew from there.
    await scene.lose_stream(first=holes[0])
    await scene.leader()
    await until_said_again(scene, relay, SAID)
    await require_whole_on_every_member(scene, SAID, first=holes[0])
