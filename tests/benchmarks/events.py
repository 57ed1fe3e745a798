"""From a department's outbox to a subscriber's inbox: how many a second, at what cost, how soon, and how soon harm is found out.

Everything is the real thing: the register's change and its event in one commit, the relay, the stream on disk, intake, decision,
fence, signature, the subscriber's verification, and an inbox of PostgreSQL that commits.

    .venv/bin/python -m tests.benchmarks.events --quick
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from rich.console import Console

from departments.life_event import LifeEvent, apply_event
from departments.market_regulation.data_sets import BUSINESS_LICENCE
from deploy.home import INSTANCE
from deploy.postgres.sql import blocking
from deploy.session import open_session
from exchange.identifiers import parse_member_id, parse_subsystem_id
from exchange.subjects import event_subject
from gateway.client import Inbox, create_inbox
from gateway.delivery.streams import stream_config
from tests.benchmarks.event_figures import EventFigures, Flow
from tests.benchmarks.figures import Latency, latency_of
from tests.benchmarks.stage import Stage, open_stage
from tests.benchmarks.usage import Meter
from tests.events.scene import CHANGED, LICENCE, REGULATION, SOCIAL, TAX, Heard, Scene

INBOXES = "bench_inboxes"
READER = "subscriber"
COMPONENTS = (REGULATION, "nats", "deliverer", "integrator", "postgres")


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured."""

    events: int
    rounds: int
    fans: Sequence[int]
    fan_deliveries: int
    latency_events: int
    latency_rate: float


QUICK = Extent(events=1_500, rounds=1, fans=(1, 10), fan_deliveries=1_000, latency_events=60, latency_rate=20.0)
USUAL = Extent(events=4_000, rounds=3, fans=(1, 10, 100), fan_deliveries=4_000, latency_events=300, latency_rate=20.0)


def measure_events(stage: Stage, extent: Extent, say: Callable[[str], None]) -> EventFigures:
    """Everything about events on a whole exchange."""
    return blocking(_measure(stage, extent, say))


async def _measure(stage: Stage, extent: Extent, say: Callable[[str], None]) -> EventFigures:
    figures = EventFigures()
    async with _scene(stage) as scene:
        firms = await _firms(scene)
        for number in range(extent.rounds):
            say(f"events: {extent.events} from outbox to inbox, {number + 1} of {extent.rounds}")
            written, flow = await _flow(stage, scene, firms, extent.events, [await _subscription(scene, "full")])
            figures.written = written
            figures.flows.append(flow)
        for form in ("full", "thin"):
            flows = figures.fan_out[form] = []
            for fan in extent.fans:
                say(f"events: {form}, to {fan} subscriptions")
                made = [await _subscription(scene, form, firms) for _ in range(fan)]
                events = max(20, extent.fan_deliveries // fan)
                flows.append((await _flow(stage, scene, firms, events, made))[1])
        say("events: latency")
        figures.latency_rate = extent.latency_rate
        figures.latency = await _latency(scene, firms, extent.latency_events, extent.latency_rate)
        say("events: what happens to a stream, and how soon it is known")
        figures.found = {name: await _found(scene, harm) for name, harm in HARMS.items()}
    return figures


@contextlib.asynccontextmanager
async def _scene(stage: Stage) -> AsyncIterator[Scene]:
    if stage.exchange is None:
        raise ValueError("there is no exchange on this stage")
    server = stage.postgres.superuser_url
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {INBOXES}")
    await connection.close()
    async with (
        open_session(stage.exchange.home) as session,
        asyncpg.create_pool(_inboxes(stage), min_size=1, max_size=2) as pool,
    ):
        await create_inbox(pool)
        yield Scene(stage.exchange, session, pool)


def _inboxes(stage: Stage) -> str:
    return f"{stage.postgres.superuser_url.rpartition('/')[0]}/{INBOXES}"


async def _firms(scene: Scene) -> list[str]:
    async with _register(scene) as connection:
        return [row["subject"] for row in await connection.fetch("SELECT subject FROM business_licence ORDER BY subject")]


@contextlib.asynccontextmanager
async def _register(scene: Scene) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(scene.exchange.database().url("yitong_market_regulation"))
    try:
        yield connection
    finally:
        await connection.close()


async def _subscription(scene: Scene, form: str, people: Sequence[str] = ()) -> Heard:
    if form == "full":
        return await scene.subscribe(TAX, types=(CHANGED,))
    heard = await scene.subscribe(SOCIAL, types=(CHANGED,), form="thin", everybody=False)
    await heard.subscriber.change_people(heard.identifier, list(people))
    return heard


async def _flow(stage: Stage, scene: Scene, firms: Sequence[str], count: int, to: Sequence[Heard]) -> tuple[float, Flow]:
    """Fill the outbox while the department's process stands still, then let it go; changes a second, and what came of it."""
    scene.exchange.supervisor.kill(REGULATION, signal.SIGSTOP)
    try:
        written = await _fill(scene, firms, count)
        reader = await _start_reader(stage, to, count)
        meter = Meter({name: pid for name, pid in stage.pids().items() if name in COMPONENTS} | {READER: reader.pid})
        before, began = meter.read(), time.monotonic()
    finally:
        scene.exchange.supervisor.kill(REGULATION, signal.SIGCONT)
    told = json.loads(await _line(reader))
    spent = meter.read().since(before)
    assert reader.stdin is not None
    reader.stdin.write(b"\n")
    await reader.wait()
    for heard in to:
        await heard.subscriber.end(heard.identifier)
    deliveries = count * len(to)
    if told["effects"] != deliveries:
        raise RuntimeError(f"{told['effects']} effects of {deliveries} deliveries")
    return written, Flow(len(to), count, told["done_at"] - began, {name: 1000 * s / deliveries for name, s in spent.items()})


async def _fill(scene: Scene, firms: Sequence[str], count: int) -> float:
    key, snapshot = scene.session.home.key(REGULATION), scene.session.trust.current()
    async with _register(scene) as connection:
        began = time.monotonic()
        for number in range(count):
            event = LifeEvent(str(uuid.uuid4()), CHANGED, firms[number % len(firms)], {"scope": f"经营范围{number}"})
            now_ms = scene.session.clock.now_ms()
            async with connection.transaction():
                await apply_event(
                    connection, event, BUSINESS_LICENCE, instance=INSTANCE, snapshot=snapshot, key=key, now_ms=now_ms
                )
        return count / (time.monotonic() - began)


async def _start_reader(stage: Stage, to: Sequence[Heard], count: int) -> asyncio.subprocess.Process:
    assert stage.exchange is not None
    order = {
        "root": str(stage.exchange.root),
        "inboxes": _inboxes(stage),
        "system": to[0].subscriber.consumer,
        "subscriptions": [heard.identifier for heard in to],
        "count": count,
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.benchmarks.event_reader", stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    await _line(process)
    return process


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    if not line:
        raise RuntimeError("the subscriber's process ended early")
    return line


async def _latency(scene: Scene, firms: Sequence[str], count: int, rate: float) -> Latency:
    """From the department's call, its commit included, to the commit of the inbox; events at a steady rate."""
    heard = await _subscription(scene, "full")
    inbox, begun, taken = Inbox(scene.inboxes, heard.identifier), dict[str, float](), dict[str, float]()

    async def nothing(_connection: object, _delivery: object) -> None:
        return

    async def listen() -> None:
        while len(taken) < count:
            page, heard.cursor = await heard.subscriber.pull(heard.identifier, heard.cursor, limit=100, wait=20)
            await inbox.handle(page, nothing)
            taken.update({delivery.place.event_id: time.monotonic() for delivery in page})

    listening = asyncio.create_task(listen())
    door, first = scene.session.department(REGULATION), time.monotonic() + 0.5
    for number in range(count):
        await asyncio.sleep(max(0.0, first + number / rate - time.monotonic()))
        name = str(uuid.uuid4())
        begun[name] = time.monotonic()
        await door.say(CHANGED, firms[number % len(firms)], {"scope": f"经营范围{number}"}, identifier=name)
    await listening
    await heard.subscriber.end(heard.identifier)
    return latency_of(taken[name] - at for name, at in begun.items())


async def _remove(scene: Scene) -> None:
    async with scene.on_the_bus("deliverer") as thief:
        await thief.jetstream().delete_stream(scene.stream())


async def _set_back(scene: Scene) -> None:
    async with scene.on_the_bus("deliverer") as thief:
        await thief.jetstream().delete_stream(scene.stream())
        await thief.jetstream().add_stream(stream_config(parse_member_id(f"{INSTANCE}/GOV/{REGULATION}"), 1))


async def _forge(scene: Scene) -> None:
    async with scene.on_the_bus(REGULATION) as thief:
        subject = event_subject(parse_subsystem_id(LICENCE.rpartition("/")[0]), CHANGED)
        await thief.jetstream().publish(subject, b"forged", stream=scene.stream())


HARMS: Mapping[str, Callable[[Scene], Any]] = {"removed": _remove, "set back": _set_back, "forged": _forge}


async def _found(scene: Scene, harm: Callable[[Scene], Any]) -> float:
    """Seconds from the deed to the finding in the log. Its publisher stands still, so that it cannot make it good first."""
    before = len(await scene.findings(""))
    scene.exchange.supervisor.kill(REGULATION, signal.SIGSTOP)
    try:
        await harm(scene)
        began = time.monotonic()
        while len(await scene.findings("")) == before:
            if time.monotonic() - began > 60:
                raise RuntimeError("nothing was found out")
            await asyncio.sleep(0.02)
        return time.monotonic() - began
    finally:
        scene.exchange.supervisor.kill(REGULATION, signal.SIGCONT)


def main() -> None:
    """Only the events."""
    console = Console() if sys.stdout.isatty() else Console(width=140)
    extent = QUICK if "--quick" in sys.argv else USUAL
    with open_stage(people=1000, whole=True) as stage:
        measure_events(stage, extent, console.print).show(console)


if __name__ == "__main__":
    main()
