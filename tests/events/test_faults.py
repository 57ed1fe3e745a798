"""What is killed, stolen, forged, wiped or lost: found out, recorded, made good from the outbox, and no effect twice."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from nats.js.errors import APIError

from departments.outbox import read_from
from deploy.home import INSTANCE
from exchange.clock import SystemClock
from exchange.delivery import Delivery
from exchange.event import EventClaims, issue_event
from exchange.identifiers import parse_member_id, parse_subsystem_id
from exchange.keys import SigningKey
from exchange.record import Answer
from exchange.subjects import event_subject
from gateway.delivery.streams import stream_config
from gateway.inbox import Connection, Inbox
from tests.events.scene import CHANGED, LICENCE, REGULATION, TAX, Heard, Scene
from tests.support.left_log import require_whole_log
from tests.support.waiting import until_yes

ENTERPRISE = parse_subsystem_id(LICENCE.rpartition("/")[0])

KILLS = int(os.environ.get("YITONG_KILLS", "3"))
"""How often each process is killed; more by hand, for a figure."""


async def change(scene: Scene, *names: str) -> None:
    """One change of the buying firm's scope after the other."""
    for name in names:
        await scene.say(CHANGED, scene.exchange.cast.buying_firm.id, {"scope": name})


async def outbox(scene: Scene) -> list[str]:
    """Every event that market regulation has said, as it was signed."""
    connection = await asyncpg.connect(scene.exchange.database().url("yitong_market_regulation"))
    try:
        return [kept.event for kept in await read_from(connection, 1, 10_000)]
    finally:
        await connection.close()


async def require_all_heard(scene: Scene, heard: Heard, since: int) -> None:
    """Everything that was said since a sequence has come, once each and in the publisher's order."""
    said = [text.partition("~")[0] for text in (await outbox(scene))[since:]]
    got = [delivery.event.jwt for delivery in heard.deliveries if delivery.event]
    assert got == said


async def killed(scene: Scene, component: str) -> None:
    """The process is killed, and gone."""
    scene.exchange.supervisor.kill(component, signal.SIGKILL)
    await asyncio.to_thread(scene.exchange.supervisor.wait_ended, component)


@pytest.mark.invariant("I-47")
@pytest.mark.invariant("I-48")
@pytest.mark.parametrize("component", [REGULATION, "deliverer"])
@pytest.mark.timeout(120 + 20 * KILLS)
async def test_a_process_that_is_killed_loses_and_repeats_nothing(scene: Scene, component: str) -> None:
    """I-47, I-48: killed between a commit and its publication, and between publication and delivery."""
    heard, since = await scene.subscribe(TAX), len(await outbox(scene))
    for turn in range(KILLS):
        await change(scene, f"前{turn}")
        await killed(scene, component)
        await change(scene, f"后{turn}")

        async def pulled(wanted: int = 2 * turn + 2) -> None:
            await heard.pull(wanted - len(heard.deliveries))

        await scene.eventually(pulled)
    await require_all_heard(scene, heard, since)
    assert await heard.nothing_more()


@pytest.mark.invariant("I-49")
async def test_a_wiped_stream_is_found_out_recorded_and_made_good(scene: Scene) -> None:
    """I-49: removed altogether."""
    heard, since = await scene.subscribe(TAX), len(await outbox(scene))
    await change(scene, "一")
    await heard.pull(1)
    before = len(await scene.findings("stream-lost"))
    async with scene.on_the_bus("deliverer") as thief:
        await thief.jetstream().delete_stream(scene.stream())
    await until_yes(lambda: _more(scene, "stream-lost", before))
    await change(scene, "二")
    await heard.pull(1)
    await require_all_heard(scene, heard, since)


@pytest.mark.invariant("I-49")
async def test_a_stream_that_was_set_back_is_found_out_recorded_and_made_good(scene: Scene) -> None:
    """I-49: somebody restores an old copy of it, while its publisher stands still and cannot make it good by itself."""
    heard, since = await scene.subscribe(TAX), len(await outbox(scene))
    await change(scene, "一")
    await heard.pull(1)
    before = len(await scene.findings("stream-set-back"))
    scene.exchange.supervisor.kill(REGULATION, signal.SIGSTOP)
    try:
        async with scene.on_the_bus("deliverer") as thief:
            await thief.jetstream().delete_stream(scene.stream())
            await thief.jetstream().add_stream(stream_config(parse_member_id(f"{INSTANCE}/GOV/{REGULATION}"), 1))
        await until_yes(lambda: _more(scene, "stream-set-back", before))
    finally:
        scene.exchange.supervisor.kill(REGULATION, signal.SIGCONT)
    await change(scene, "二")
    await heard.pull(1)
    await require_all_heard(scene, heard, since)


@pytest.mark.invariant("I-49")
@pytest.mark.invariant("I-51")
async def test_a_byte_that_flipped_on_the_disk_of_the_bus_is_found_out_and_made_good(scene: Scene) -> None:
    """I-49, I-51: of an event that nobody has read yet, while the server is killed and starts from what its disk says."""
    heard, since = await scene.subscribe(TAX), len(await outbox(scene))
    await change(scene, "一")
    await heard.pull(1)
    before, door = await _noticed(scene), scene.session.department(REGULATION)

    async def published() -> bool:
        lag = await door.lag()
        return bool(lag["published"] == lag["said"])

    scene.exchange.supervisor.kill("deliverer", signal.SIGSTOP)
    try:
        await killed(scene, "nats")  # what the server pushes would lie in the reader's socket, safe from the disk
        await change(scene, "二", "三", "四")
        await until_yes(published)
        # The middle of the second of three: one event is lost, the ones after it are there.
        _flip_a_byte(scene, (await outbox(scene))[-2].encode("ascii")[:400])
        await killed(scene, "nats")
    finally:
        scene.exchange.supervisor.kill("deliverer", signal.SIGCONT)
    await heard.pull(3)
    await require_all_heard(scene, heard, since)

    async def is_noticed() -> bool:
        return await _noticed(scene) > before

    await until_yes(is_noticed)


async def _noticed(scene: Scene) -> int:
    """How often something was found out: by the deliverer, or by the relay where the server cut off what nobody had read."""
    lines = (scene.session.home.logs / f"{REGULATION}.log").read_text(encoding="utf-8").count("bus-has-lost-events")
    return len(await scene.findings("")) + lines


def _flip_a_byte(scene: Scene, within: bytes) -> None:
    """In the middle of these bytes, where they stand in the stream's files."""
    for block in (scene.exchange.nats.store / "jetstream" / "EXCHANGE" / "streams" / scene.stream() / "msgs").glob("*.blk"):
        at = block.read_bytes().find(within)
        if at >= 0:
            with block.open("r+b") as file:
                file.seek(at + len(within) // 2)
                [byte] = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1]))
            return
    raise AssertionError("the event stands in no file of the stream")


async def _more(scene: Scene, what: str, before: int) -> bool:
    return len(await scene.findings(what)) > before


@pytest.mark.invariant("I-51")
@pytest.mark.parametrize("forgery", ["nonsense", "another key", "wrong predecessor", "repeated", "jumped"])
async def test_a_stolen_bus_credential_forges_nothing(scene: Scene, forgery: str) -> None:
    """I-51: what stands in the stream and does not verify, or follow, is refused, recorded, and the real event comes."""
    heard, since = await scene.subscribe(TAX), len(await outbox(scene))
    await change(scene, "真一")
    await heard.pull(1)
    genuine = await outbox(scene)
    before = len(await scene.findings("event-"))
    made = _forged(scene, forgery, genuine)
    async with scene.on_the_bus(REGULATION) as thief:
        await thief.jetstream().publish(event_subject(ENTERPRISE, CHANGED), made.encode(), stream=scene.stream())
    await until_yes(lambda: _more(scene, "event-", before))
    await change(scene, "真二")
    await heard.pull(1)
    await require_all_heard(scene, heard, since)
    assert await heard.nothing_more()


def _forged(scene: Scene, forgery: str, genuine: list[str]) -> str:
    """What a thief of the department's bus credential could say without its signing key, or an old copy of its own key's work."""
    home, length = scene.session.home, len(genuine)
    if forgery == "nonsense":
        return "not an event"
    if forgery == "repeated":
        return genuine[-1]
    key = home.key(REGULATION) if forgery in {"wrong predecessor", "jumped"} else SigningKey.generate()
    claims = EventClaims(
        publisher=str(ENTERPRISE),
        service=LICENCE,
        schema=1,
        event_id="f" * 32,
        type=CHANGED,
        happened_at=int(SystemClock().now()),
        sequence=length + (2 if forgery == "jumped" else 1),
        previous="A" * 43,
    )
    return issue_event(key, claims, Answer(scene.exchange.cast.buying_firm.id, {"name": "假"}, {}, {}))


@pytest.mark.invariant("I-50")
async def test_a_stolen_bus_credential_opens_no_api(scene: Scene) -> None:
    """I-50: a department cannot even ask what its own stream holds."""
    async with scene.on_the_bus(REGULATION) as thief:
        for call in (thief.jetstream().stream_info, thief.jetstream().delete_stream, thief.jetstream().purge_stream):
            with pytest.raises((APIError, TimeoutError, Exception)):
                await asyncio.wait_for(call(scene.stream()), 1.0)


@pytest.mark.invariant("I-48")
@pytest.mark.invariant("I-52")
async def test_a_handler_that_always_fails_blocks_nothing_and_effects_happen_once(scene: Scene) -> None:
    """I-48, I-52: at most five tries, then the next; whatever is delivered again."""
    heard = await scene.subscribe(TAX)
    inbox, tried, effects = Inbox(scene.inboxes, heard.identifier), [], []
    await change(scene, "好一", "毒", "好二")

    async def handle(_connection: Connection, delivery: Delivery) -> None:
        assert delivery.event is not None
        tried.append(delivery.place.sequence)
        if delivery.place.sequence == 2:
            raise RuntimeError("poison")
        effects.append(delivery.place.sequence)

    await heard.pull(3)

    async def taken() -> bool:
        page, _ = await heard.subscriber.pull(heard.identifier, await inbox.cursor())
        return (await inbox.handle(page, handle)).sequence == 3

    await until_yes(taken)
    await inbox.handle(heard.deliveries, handle)
    assert (tried.count(2), effects) == (5, [1, 3])
    [dead] = await inbox.failures()
    assert (dead.sequence, dead.tries, dead.reason) == (2, 5, "RuntimeError")


async def test_the_log_holds_the_entry_of_each_delivery_and_what_became_of_it(scene: Scene) -> None:
    """The entry that a delivery holds is the one in the log, and each release was told as sent or aborted."""
    heard = await scene.subscribe(TAX)
    await change(scene, "查")
    [delivery] = await heard.pull(1)
    assert delivery.told is not None
    [entry] = await scene.log("SELECT serial, kind FROM audit.entry WHERE leaf = $1", delivery.told.entry)
    assert entry["kind"] == "release"

    async def settled() -> bool:
        told = await scene.log("SELECT FROM audit.outcome WHERE gateway = 'deliverer' AND sent @> $1::bigint", entry["serial"])
        return len(told) == 1

    await until_yes(settled)


@pytest.mark.invariant("I-32")
async def test_no_person_or_value_stands_in_a_log_line_or_a_subject(scene: Scene) -> None:
    """I-32: after everything that was killed, forged and refused here."""
    firm = scene.exchange.cast.buying_firm
    words = [firm.id, firm.name, "真一", "好一"]
    looked: dict[str, Any] = {}
    for path in [*scene.session.home.logs.glob("*.log*"), *scene.exchange.root.glob("nats/*.log")]:
        text = path.read_text(encoding="utf-8", errors="replace")
        looked[path.name] = len(text)
        assert not [word for word in words if word in text], path.name
    assert looked["deliverer.log"]


@pytest.mark.invariant("I-14")
async def test_the_log_that_these_faults_leave_is_accepted_by_programs_not_ours(scene: Scene, tmp_path: Path) -> None:
    """I-14: last, after everything that was killed, wiped and forged here."""
    assert await require_whole_log(scene.exchange, scene.session, tmp_path) > 0
