"""A process of a department that has its key and its place on the bus, and says whatever a test wants it to say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from nats.aio.msg import Msg

from deploy.home import GATEWAYS, INSTANCE
from exchange import bus
from exchange.call import ProviderCall, open_call
from exchange.canonical import b64url, b64url_decode, canonical
from exchange.clock import SystemClock
from exchange.envelope import Tag, verify_request
from exchange.identifiers import MemberId
from exchange.keys import SigningKey
from exchange.record import RECORD_TYPE, Answer, RecordClaims, issue_record
from exchange.subjects import reply_inbox, requests_of_member
from tests.crash.breakable import BreakableExchange
from tests.crash.questions import DEED_TAX

MEMBER = "tax"
CONSUMER = f"{INSTANCE}/GOV/real-estate/transfer"
# Values that the tests look for where they must not be.
CERTIFICATE, AMOUNT = "QS-7731-CANARY", "48812.37-CANARY"


@dataclass(frozen=True, slots=True)
class Heard:
    """A call as the department got it, and what an honest department would say to it."""

    key: SigningKey
    call: ProviderCall
    request: str
    """base64url SHA-256 of the signature base."""
    claims: RecordClaims
    answer: Answer

    def record(self, *, key: SigningKey | None = None, answer: Answer | None = None, **claims: Any) -> str:
        """A record, honest but for what is named."""
        return issue_record(key or self.key, replace(self.claims, **claims), answer or self.answer)

    def resigned(self, change: Callable[[dict[str, Any]], None], *, header: dict[str, Any] | None = None) -> str:
        """A record of which the signed part was changed before it was signed."""
        jwt, *disclosures = self.record().split("~")
        payload: dict[str, Any] = json.loads(b64url_decode(jwt.split(".")[1]))
        change(payload)
        return "~".join([self.sign(canonical(payload), header), *disclosures])

    def sign(self, payload: bytes, header: dict[str, Any] | None = None) -> str:
        """A compact JWS of the department's key under a header of one's own choice."""
        head = {"alg": self.key.alg, "kid": self.key.kid, "typ": RECORD_TYPE, **(header or {})}
        text = f"{b64url(canonical(head))}.{b64url(payload)}"
        return f"{text}.{b64url(self.key.sign(text.encode('ascii')))}"


Lie = Callable[[Heard], "str | bytes | None"]
"""What is answered; None: nothing."""


@dataclass(slots=True)
class Liar:
    """Answers with `lie`; `before` is awaited first."""

    exchange: BreakableExchange
    lie: Lie = lambda heard: heard.record()
    before: Callable[[Heard], Awaitable[None]] | None = None
    again: Lie | None = None
    """A second answer to the same call."""

    async def hear(self, message: Msg) -> None:
        """The subscription callback."""
        heard = self._understand(message)
        message.headers = None  # or they would be sent back, on top of an answer that is as large as may be
        if self.before is not None:
            await self.before(heard)
        for lie in (self.lie, self.again):
            said = None if lie is None else lie(heard)
            if said is not None:
                await message.respond(said if isinstance(said, bytes) else said.encode("utf-8"))

    def _understand(self, message: Msg) -> Heard:
        home, clock = self.exchange.home, SystemClock()
        gateways = {key.kid: key.public for key in map(home.key, GATEWAYS)}
        call, gateway = open_call(message.data, (message.headers or {})[bus.SIGNATURE_HEADER], gateways.get)
        consumer = home.key("transfer").public
        signed = verify_request(call.request, tag=Tag.REQUEST, key_of=lambda _: consumer, now=clock.now())
        subject = json.loads(call.request.body)["subject"]
        request = b64url(signed.digest)
        claims = RecordClaims(
            issuer=DEED_TAX.rpartition("/")[0],
            audience=CONSUMER,
            service=DEED_TAX,
            schema=1,
            request=request,
            record_id="record-of-a-liar",
            issued_at=int(clock.now()),
            gateway_key=gateway.jwk,
            found=True,
        )
        masked, facts = {"certificate_number": "**********"}, {"deed_tax_paid": {"args": {}, "holds": True}}
        answer = Answer(subject, {"paid_on": "2026-03-04"}, masked, facts)
        return Heard(home.key(MEMBER), call, request, claims, answer)


@asynccontextmanager
async def lying(exchange: BreakableExchange) -> AsyncIterator[Liar]:
    """A liar at the department's place on the bus; the department's own process must be gone."""
    client = await bus.connect(
        exchange.nats.url, seed_file=exchange.home.secrets / f"{MEMBER}.nkey", inbox=reply_inbox(MEMBER), name="liar"
    )
    try:
        liar = Liar(exchange)
        await client.subscribe(requests_of_member(MemberId(INSTANCE, "GOV", MEMBER)), queue=MEMBER, cb=liar.hear)
        # The client's ping overtakes what it has not written yet: by the second one the subscription has been.
        await client.flush()
        await client.flush()
        yield liar
    finally:
        await client.close()
