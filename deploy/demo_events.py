"""What happens to a firm and to a person, and who learns it: by events, under the same decisions, fence and log as questions."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import nats

from audit.client import EntryKind, SearchRequest
from deploy.home import DELIVERER, INSTANCE
from deploy.story import OFFICER, RECOVERY_SECONDS, Story, StoryError
from exchange.delivery import Delivery
from exchange.identifiers import parse_member_id
from exchange.problem import Problem
from exchange.subjects import event_stream, reply_inbox
from gateway.client import Cursor, Fetched, Inbox, Subscriber, Wanted, create_inbox, reference
from registry.client import RegistryClient

REGULATION, SECURITY, SOCIAL = "market-regulation", "public-security", "social-security"
LICENCE = f"{INSTANCE}/GOV/{REGULATION}/enterprise/business-licence"
IDENTITY = f"{INSTANCE}/GOV/{SECURITY}/population/resident-identity"
TAX_SYSTEM, SOCIAL_SYSTEM = f"{INSTANCE}/GOV/tax/taxation", f"{INSTANCE}/GOV/{SOCIAL}/insurance"
CLOSURE, PENSION = "enterprise-closure", "pension-verification"
CASE: Final = "2026-0418"
INBOXES: Final = "social_security_inboxes"


@dataclass(slots=True)
class Hearing:
    """收听. One subscription, its key for references, and how far it has been read."""

    subscriber: Subscriber
    identifier: str
    key: str
    cursor: Cursor = field(default_factory=Cursor)

    async def take(self, count: int) -> list[Delivery]:
        """The next `count` deliveries, each verified and in its place. Raises StoryError when they do not come."""
        found: list[Delivery] = []
        deadline = time.monotonic() + RECOVERY_SECONDS
        while len(found) < count:
            if time.monotonic() > deadline:
                raise StoryError(f"{len(found)} of {count} deliveries came")
            page, self.cursor = await self.subscriber.pull(self.identifier, self.cursor, limit=count - len(found), wait=5)
            found += page
        return found

    async def from_the_beginning(self) -> list[Delivery]:
        """Everything once more."""
        page, _ = await self.subscriber.pull(self.identifier, limit=512)
        return page


async def strike_off_a_firm(story: Story) -> None:
    """Tax sees what its right gives in full; social security only that something happened, and asks."""
    firm = story.cast.abnormal_firm
    tax = await _subscribe(story, TAX_SYSTEM, LICENCE, ["enterprise.deregistered"], CLOSURE, form="full", everybody=True)
    social = await _subscribe(story, SOCIAL_SYSTEM, LICENCE, ["enterprise.deregistered"], CLOSURE)
    await social.subscriber.change_people(social.identifier, [firm.id, story.cast.buying_firm.id])
    await story.session.department(REGULATION).say("enterprise.deregistered", firm.id, {"status": "注销"})
    [full] = await tax.take(1)
    values = {} if full.event is None else full.event.values("items")
    story.require(
        (values.get("name"), values.get("status")) == (firm.name, "注销"),
        f"税务收到完整事件：{firm.name}，{values.get('status')}（只含授权的 {len(values)} 项）",
        f"tax is told in full: {firm.name}, {values.get('status')} (the {len(values)} items of its right, no others)",
    )
    [thin] = await social.take(1)
    known = {reference(social.key, each): each for each in (firm.id, story.cast.buying_firm.id)}
    told = thin.told
    story.require(
        thin.event is None and told is not None and known.get(told.subject_ref or "") == firm.id,
        "社保只收到“名单上的某户有变动”，自行认出是哪一户",
        "social security is told no value: somebody on its list; it knows whom",
    )
    asked = await _ask(story, Wanted(LICENCE, firm.id, CLOSURE, items=["status"], officer=OFFICER, case=CASE))
    story.require(
        asked.data["status"] == "注销", "并按普通请求核验：已注销", "and asks as anybody would: struck off, signed by its source"
    )


async def record_a_death(story: Story) -> None:
    """Social security learns it, asks, and stops the pension: once, though it is told three times."""
    person = story.cast.pensioner
    social = await _subscribe(story, SOCIAL_SYSTEM, IDENTITY, ["resident.deceased"], PENSION)
    await social.subscriber.change_people(social.identifier, [person.id])
    today = time.strftime("%Y-%m-%d", time.gmtime(story.session.clock.now()))
    await story.session.department(SECURITY).say("resident.deceased", person.id, {"deceased_on": today})
    deliveries = await social.take(1)
    wanted = Wanted(IDENTITY, person.id, PENSION, facts={"id_is_valid": {}}, officer=OFFICER, case=CASE)
    asked = await _ask(story, wanted)
    story.require(
        asked.facts["id_is_valid"] is False, "社保核验：身份证已失效", "social security asks: the ID card is no longer valid"
    )
    stopped: list[int] = []

    async def stop_pension(_connection: object, delivery: Delivery) -> None:
        stopped.append(delivery.place.sequence)
        door, name = story.session.department(SOCIAL), delivery.place.event_id
        await door.say("insurance.ended", person.id, {"status": "终止参保"}, identifier=name)

    async with _inboxes(story) as pool:
        inbox = Inbox(pool, social.identifier)
        for _ in range(3):
            await inbox.handle(deliveries, stop_pension)
    story.require(stopped == [1], "养老金停发：同一事件投递三次，只停一次", "the pension is stopped: told three times, done once")


async def suspend_a_right(story: Story) -> None:
    """The next delivery says only that something is withheld, and so does everything that is read again."""
    firm = story.cast.buying_firm
    registry = RegistryClient(story.session.urls["registry"], story.session.http)
    token = await story.session.token("registrar")
    [right] = story.session.trust.current().rights(TAX_SYSTEM, LICENCE)
    tax = await _subscribe(story, TAX_SYSTEM, LICENCE, ["enterprise.changed"], CLOSURE, form="full", everybody=True)
    await _say(story, firm.id, "软件开发")
    await tax.take(1)
    await registry.suspend_right(token, right.id, "demonstration")
    await _say(story, firm.id, "软件开发；技术咨询")
    [withheld] = await tax.take(1)
    again = [delivery.withheld for delivery in await tax.from_the_beginning()]
    story.require(
        withheld.withheld == "right-missing" and again == ["right-missing"] * 2,
        "授权中止：下一次投递只有编号与原因，重读旧事件亦然",
        "the right is suspended: the next delivery is a number and a reason, and so is what is read again",
    )
    await registry.lift_right(token, right.id)

    async def shown() -> bool:
        return [delivery.withheld for delivery in await tax.from_the_beginning()] == [None, None]

    story.require(await _until(shown), "恢复后可按原编号补读", "lifted: the same numbers can be read")


async def lose_nothing(story: Story) -> None:
    """The publisher's process is killed and its stream removed from the bus: every event comes, once, and the log says so."""
    firm, supervisor = story.cast.buying_firm, story.exchange.supervisor
    tax = await _subscribe(story, TAX_SYSTEM, LICENCE, ["enterprise.changed"], CLOSURE, form="full", everybody=True)
    said = [await _say(story, firm.id, "餐饮服务")]
    await tax.take(1)
    said.append(await _say(story, firm.id, "餐饮服务；住宿"))
    supervisor.kill(REGULATION, signal.SIGKILL)
    await _delete_stream(story)
    await asyncio.to_thread(supervisor.wait_ended, REGULATION)
    said.append(await _say(story, firm.id, "餐饮服务；住宿；会议"))
    await tax.take(2)
    heard = [delivery.place.event_id for delivery in await tax.from_the_beginning()]
    story.require(
        heard == said,
        f"发布进程被杀、事件流被删：{len(said)} 个事件一个不少、不重、不乱",
        f"the publisher is killed and its stream removed: {len(said)} events, none lost, repeated or out of order",
    )
    audit = story.session.audit(await story.session.token("auditor"))

    async def recorded() -> bool:
        request = SearchRequest(reason="demonstration", kind=EntryKind.CONFIG)
        return any([line async for line in audit.search_all(request) if str(line.leaf["what"]).startswith("stream-lost:")])

    story.require(await _until(recorded), "日志已记：事件流丢失并重建", "the log says that the stream was lost and made anew")


STEPS: Final[Sequence[tuple[str, str, Callable[[Story], Awaitable[None]]]]] = (
    ("企业注销：订阅部门即时获知", "A firm is struck off: who subscribed learns it", strike_off_a_firm),
    ("居民死亡：社保停发养老金", "A person dies: social security stops the pension", record_a_death),
    ("授权中止：停止投递", "A right is suspended: deliveries stop", suspend_a_right),
    ("进程被杀、事件流被删：不丢不重", "A killed publisher, a removed stream: nothing is lost", lose_nothing),
)


async def _subscribe(
    story: Story, system: str, service: str, types: Sequence[str], purpose: str, *, form: str = "thin", everybody: bool = False
) -> Hearing:
    subscriber = story.session.subscriber(system)
    made = await subscriber.subscribe(service, types, purpose, form=form, everybody=everybody, officer=OFFICER, case=CASE)
    return Hearing(subscriber, made["id"], made["key"])


async def _ask(story: Story, wanted: Wanted) -> Fetched:
    """A normal request of social security; its receipt is kept with the others."""
    fetched = await story.session.consumer(SOCIAL_SYSTEM).fetch(wanted)
    story.learned.append(fetched)
    return fetched


async def _say(story: Story, firm: str, scope: str) -> str:
    """The event's id. Said again under the same id while the department's process is away, it still happens once."""
    name, door = str(uuid.uuid4()), story.session.department(REGULATION)

    async def said() -> bool:
        with contextlib.suppress(Problem):
            await door.say("enterprise.changed", firm, {"scope": scope}, identifier=name)
            return True
        return False

    if not await _until(said):
        raise StoryError("the department's process did not come back")
    return name


async def _until(ask: Callable[[], Awaitable[bool]]) -> bool:
    """Ask again until the answer is yes, or for RECOVERY_SECONDS."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not await ask():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


async def _delete_stream(story: Story) -> None:
    """What somebody could do who has stolen the deliverer's credential for the bus."""
    client = await nats.connect(
        story.exchange.nats.url,
        nkeys_seed=str(story.session.home.secrets / f"{DELIVERER}.nkey"),
        inbox_prefix=f"{reply_inbox(DELIVERER)}.thief".encode("ascii"),
    )
    try:
        await client.jetstream().delete_stream(event_stream(parse_member_id(f"{INSTANCE}/GOV/{REGULATION}")))
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def _inboxes(story: Story) -> AsyncIterator[asyncpg.Pool[Any]]:
    """The subscriber's own database, in which effects and numbers stand together."""
    server = story.exchange.postgres.superuser_url
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {INBOXES}")
    finally:
        await connection.close()
    async with asyncpg.create_pool(f"{server.rpartition('/')[0]}/{INBOXES}", min_size=1, max_size=2) as pool:
        await create_inbox(pool)
        yield pool
