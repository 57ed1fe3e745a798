"""What each component may say and hear on the bus, tried against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from departments.client import DEPARTMENTS
from deploy.nats.users import PERMISSIONS
from exchange.subjects import CHECKPOINT_PUBLISHED, CONSENT_CHANGED, KEYS_CHANGED, SNAPSHOT_CHANGED
from tests.support.bus import TestBus

REQUEST = "ex.v1.req.CN-YA.GOV.{}.population.resident-identity"
EVENT = "ex.v1.evt.CN-YA.GOV.{}.population.address-changed"
STREAM = "EVT-CN-YA-GOV-{}"
COMPONENTS = [permission.name for permission in PERMISSIONS]
GATEWAYS = ("gateway-1", "gateway-2")
ANNOUNCEMENTS = {
    KEYS_CHANGED: ("identity",),
    CONSENT_CHANGED: ("identity",),
    SNAPSHOT_CHANGED: ("registry",),
    CHECKPOINT_PUBLISHED: ("integrator",),
}
# Nobody may say these: JetStream's and the server's own subjects, other people's inboxes, and everything outside the plan.
NEVER_SAID = (
    "$JS.API.INFO",
    "$JS.API.STREAM.CREATE.x",
    "$JS.ACK.x.y.1.1.1.1.1",
    "$SYS.REQ.SERVER.PING",
    "$SRV.PING",
    "other",
    "ex.v2.x",
)
# How streams and consumers are made, changed, read and thrown away; `{}` is the stream.
JETSTREAM_API = (
    *(f"$JS.API.STREAM.{verb}.{{}}" for verb in ("CREATE", "UPDATE", "DELETE", "PURGE", "INFO", "SNAPSHOT", "RESTORE")),
    *(f"$JS.API.STREAM.{verb}.{{}}" for verb in ("MSG.GET", "MSG.DELETE", "LEADER.STEPDOWN", "PEER.REMOVE")),
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.TEMPLATE.CREATE.{}",
    "$JS.API.DIRECT.GET.{}",
    "$JS.API.DIRECT.GET.{}.ex.v1.evt.x",
    "$JS.API.CONSUMER.CREATE.{}",
    "$JS.API.CONSUMER.CREATE.{}.reader",
    "$JS.API.CONSUMER.CREATE.{}.reader.ex.v1.evt.x",
    "$JS.API.CONSUMER.DURABLE.CREATE.{}.reader",
    *(f"$JS.API.CONSUMER.{verb}.{{}}.reader" for verb in ("DELETE", "INFO", "MSG.NEXT", "PAUSE", "UNPIN", "LEADER.STEPDOWN")),
    "$JS.API.CONSUMER.NAMES.{}",
    "$JS.API.CONSUMER.LIST.{}",
    "$JS.API.META.LEADER.STEPDOWN",
    "$JS.API.SERVER.REMOVE",
    "$JS.API.ACCOUNT.PURGE.EXCHANGE",
    "$JS.ACK.{}.reader.1.1.1.1.1",
    "$JS.FC.{}.reader.1",
    "$JS.SNAPSHOT.ACK.{}.1.1",
)
NEVER_HEARD = (
    ">",
    "$JS.>",
    "$SYS.>",
    "_INBOX.>",
    "_INBOX.*.>",
    "_INBOX.gateway.>",
    "ex.>",
    "ex.v1.req.>",
    "ex.v1.*.>",
    "ex.v1.evt.>",
)


@dataclass(slots=True)
class Trial:
    """A connection that takes note of what the server refuses it."""

    client: Client
    refusals: list[str] = field(default_factory=list)

    async def may_publish(self, subject: str, headers: dict[str, str] | None = None) -> bool:
        return await self._tried(lambda: self.client.publish(subject, b"trial", headers=headers))

    async def may_subscribe(self, subject: str, queue: str = "") -> bool:
        return await self._tried(lambda: self.client.subscribe(subject, queue=queue))

    async def _tried(self, attempt: Callable[[], Awaitable[object]]) -> bool:
        before = len(self.refusals)
        await attempt()
        # The server answers in order, so its refusal comes before the answer to a later ping. The first flush may send its
        # ping ahead of what is waiting to be sent; the second comes after it.
        await self.client.flush()
        await self.client.flush()
        return len(self.refusals) == before


@asynccontextmanager
async def speaking_as(bus: TestBus, component: str) -> AsyncIterator[Trial]:
    refusals: list[str] = []

    async def note(error: Exception) -> None:
        refusals.append(str(error))

    client = await bus.connect(component, error_cb=note)
    try:
        yield Trial(client, refusals)
    finally:
        await client.close()


@pytest.mark.invariant("I-50")
@pytest.mark.parametrize("component", COMPONENTS)
async def test_a_component_says_only_what_is_its_own(nats_server: TestBus, component: str) -> None:
    allowed = {
        **dict.fromkeys(NEVER_SAID, ()),
        **{REQUEST.format(member): GATEWAYS for member in DEPARTMENTS},
        **{EVENT.format(member): (member,) for member in DEPARTMENTS},
        **dict.fromkeys((EVENT.format("nobody"), "ex.v1.evt.CN-YB.GOV.tax.taxation.x", "ex.v1.evt.x"), ()),
        **{f"_INBOX.{name}.abc": () for name in ("tax", "identity", "registry", "integrator")},
        **dict.fromkeys(("_INBOX.gateway.1.abc", "_INBOX.gateway.2.abc"), DEPARTMENTS),
        **ANNOUNCEMENTS,
    }
    async with speaking_as(nats_server, component) as trial:
        got = {subject: await trial.may_publish(subject) for subject in allowed}
    assert got == {subject: component in speakers for subject, speakers in allowed.items()}


@pytest.mark.invariant("I-50")
@pytest.mark.parametrize("component", COMPONENTS)
async def test_a_component_hears_only_what_is_meant_for_it(nats_server: TestBus, component: str) -> None:
    everybody_told = (*GATEWAYS, *DEPARTMENTS, "deliverer")
    inboxes = {name: nats_server.inbox_prefix(name) for name in COMPONENTS}
    allowed = {
        **dict.fromkeys(NEVER_HEARD, ()),
        **{EVENT.format(member): () for member in DEPARTMENTS},
        **{f"ex.v1.evt.CN-YA.GOV.{member}.>": () for member in DEPARTMENTS},
        **{REQUEST.format(member): (member,) for member in DEPARTMENTS},
        **{f"ex.v1.req.CN-YA.GOV.{member}.>": (member,) for member in DEPARTMENTS},
        **{f"{inbox}.>": (name,) for name, inbox in inboxes.items()},
        "ex.v1.ctl.>": everybody_told,
        KEYS_CHANGED: (*everybody_told, "registry"),
    }
    async with speaking_as(nats_server, component) as trial:
        got = {subject: await trial.may_subscribe(subject) for subject in allowed}
        if component in DEPARTMENTS:
            assert await trial.may_subscribe(REQUEST.format(component), queue="providers")
    assert got == {subject: component in hearers for subject, hearers in allowed.items()}


@pytest.mark.invariant("I-50")
@pytest.mark.parametrize("component", DEPARTMENTS)
async def test_a_department_makes_reads_and_removes_no_stream_and_no_consumer(nats_server: TestBus, component: str) -> None:
    """I-50: not of its own stream either; whoever keeps the streams does that."""
    other = next(member for member in DEPARTMENTS if member != component)
    tried = [subject.format(STREAM.format(member)) for subject in JETSTREAM_API for member in (component, other)]
    async with speaking_as(nats_server, component) as trial:
        allowed = [subject for subject in tried if await trial.may_publish(subject)]
        assert allowed == []
        assert await trial.may_publish(EVENT.format(component)), "what was refused is the subject, not the speaker"


@pytest.mark.invariant("I-50")
async def test_the_deliverer_keeps_the_members_streams_and_no_others(nats_server: TestBus) -> None:
    """I-50: what it may say to JetStream, word for word; nothing by which one message is taken out, or altered."""
    may = [
        *("STREAM.CREATE.{}", "STREAM.DELETE.{}", "STREAM.INFO.{}"),
        *("CONSUMER.CREATE.{}", "CONSUMER.CREATE.{}.reader", "CONSUMER.CREATE.{}.reader.ex.v1.evt.x"),
        *("CONSUMER.DELETE.{}.reader", "CONSUMER.INFO.{}.reader"),
    ]
    async with speaking_as(nats_server, "deliverer") as trial:
        for member in DEPARTMENTS:
            stream = STREAM.format(member)
            allowed = {subject for subject in JETSTREAM_API if await trial.may_publish(subject.format(stream))}
            assert allowed == {f"$JS.API.{call}" for call in may} | {"$JS.FC.{}.reader.1"}
            assert not await trial.may_publish(EVENT.format(member))
        for other in ("EVT-CN-YA-GOV-nobody", "EVT-CN-YB-GOV-tax", "KV_other"):
            assert [subject for subject in JETSTREAM_API if await trial.may_publish(subject.format(other))] == []


@pytest.mark.invariant("I-50")
@pytest.mark.parametrize("only", [False, True])
async def test_a_department_sends_no_trace_where_it_may_not_speak(nats_server: TestBus, only: bool) -> None:
    """I-50: the server tells the path of a message to whatever subject its headers name (CVE-2026-33249, CVE-2026-58254)."""
    own = "_INBOX.gateway.1.trace"
    listeners = {
        "_INBOX.social-security.trace": "social-security",
        "_INBOX.registry.trace": "registry",
        KEYS_CHANGED: "gateway-2",
        REQUEST.format("public-security"): "public-security",
        own: "gateway-1",
    }
    headers = {"Nats-Trace-Only": "true"} if only else {}
    async with AsyncExitStack() as stack:
        tax = await stack.enter_async_context(speaking_as(nats_server, "tax"))
        ears = {}
        for subject, name in listeners.items():
            listener = await stack.enter_async_context(speaking_as(nats_server, name))
            assert await listener.may_subscribe(subject)
            ears[subject] = (listener.client, await listener.client.subscribe(subject))
            await listener.client.flush()
        for subject in (*ears.keys() - {own}, "$JS.API.STREAM.NAMES", EVENT.format("social-security"), "other"):
            await tax.may_publish(EVENT.format("tax"), {"Nats-Trace-Dest": subject, **headers})
        # Where it may speak a trace does arrive, so the others were no idle tries; and by then they would have come.
        await tax.may_publish(EVENT.format("tax"), {"Nats-Trace-Dest": own, **headers})
        assert b"CN-YA.GOV.tax" in (await ears[own][1].next_msg(timeout=10)).data
        for client, _ in ears.values():
            await client.flush()
        assert {subject: heard.pending_msgs for subject, (_, heard) in ears.items()} == dict.fromkeys(ears, 0)


async def test_a_request_is_answered_and_nobody_else_reads_the_answer(nats_server: TestBus) -> None:
    async with (
        speaking_as(nats_server, "gateway-1") as asking,
        speaking_as(nats_server, "gateway-2") as other,
        speaking_as(nats_server, "tax") as tax,
    ):
        subject = REQUEST.format("tax")
        heard = await tax.client.subscribe(subject, queue="providers")
        await tax.client.flush()
        assert not await other.may_subscribe("_INBOX.gateway.1.>")
        waiting = asyncio.ensure_future(asking.client.request(subject, b"question", timeout=5))
        question = await heard.next_msg(timeout=5)
        assert question.reply.startswith("_INBOX.gateway.1.")
        await question.respond(b"answer")
        assert (await waiting).data == b"answer"


async def test_who_proves_no_key_is_not_on_the_bus(nats_server: TestBus, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.write_text("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY")
    with pytest.raises(nats.errors.Error):
        await nats.connect(nats_server.url, allow_reconnect=False)
    with pytest.raises(nats.errors.Error):
        await nats.connect(nats_server.url, nkeys_seed=str(stranger), allow_reconnect=False)


def test_no_user_may_answer_on_any_subject_it_is_told(nats_server: TestBus) -> None:
    config = (nats_server.server.directory / "nats-server.conf").read_text()
    assert "allow_responses" not in config
    assert "no_auth_user" not in config
    assert "http" not in config
    assert "sync_interval: always" in config
