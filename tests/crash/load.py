"""A light load that goes on whatever dies, and remembers everything that it was promised."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx2

from deploy.home import CONSUMER
from deploy.session import Session
from exchange.problem import Problem
from gateway.client import SD_JWT, Fetched, Wanted, prepare, read_answer
from tests.crash.questions import about_contributions, about_deed_tax, about_name, new_consent

SECONDS = 10
PAUSE_SECONDS = 0.2
"""Between two requests of one client, so that the machine has time for those who come back."""


@dataclass(slots=True)
class Promises:
    """What was acknowledged, and what should never have happened."""

    receipts: list[Fetched] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    """Request ids of answers with data of which at least the first byte was seen."""
    granted: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How much was promised so far."""
        return len(self.receipts) + len(self.granted) + len(self.withdrawn)


class Load:
    """Clients that ask, and a citizen who consents and withdraws."""

    def __init__(self, session: Session, subject: str, seed: int) -> None:
        """All requests are about `subject`; `seed` decides who asks whom for what."""
        self.promises = Promises()
        self._session, self._subject, self._dice = session, subject, random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, clients: int) -> None:
        """Begin."""
        work = [*(self._ask for _ in range(clients)), self._consent_and_withdraw]
        self._tasks = [asyncio.create_task(self._go_on(each)) for each in work]

    async def stop(self) -> None:
        """End; whatever is under way is left unfinished, as it would be if this client died too. Raises what went wrong."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def until_promised(self, count: int) -> None:
        """Return when that much more was promised. Raises what ended the load."""
        goal = self.promises.count + count
        while self.promises.count < goal:
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def _go_on(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Problem as problem:
                self.promises.refused[problem.code] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self) -> None:
        """One question; whoever gets no clear answer asks again under the same id, and must not get the data twice."""
        question = self._dice.choice((about_name, about_deed_tax))(self._subject)
        gateways = self._dice.sample(self._session.gateways, 2)
        request_id = None
        for gateway in gateways:
            fetched, request_id = await self._fetch(gateway, replace(question, request_id=request_id))
            if fetched is not None:
                return

    async def _consent_and_withdraw(self) -> None:
        """A consent that is given, used, withdrawn: each step is remembered as soon as it was acknowledged."""
        consent = await new_consent(self._session, self._subject)
        self.promises.granted.append(consent)
        question = about_contributions(self._subject, consent)
        with suppress(Problem):
            await self._fetch(self._dice.choice(self._session.gateways), question)
        while True:
            with suppress(Problem):
                await self._session.identity.withdraw_consent(await self._session.token("citizen"), consent)
                break
            await asyncio.sleep(PAUSE_SECONDS)
        self.promises.withdrawn.append(consent)
        for gateway in self._session.gateways:
            with suppress(Problem):
                fetched, _ = await self._fetch(gateway, question)
                if fetched is not None:
                    self.promises.broken.append(f"released after the withdrawal of {consent}")

    async def _fetch(self, gateway: str, question: Wanted) -> tuple[Fetched | None, str]:
        """The verified answer, None if the connection was lost. Raises the problem that was answered."""
        snapshot = self._session.trust.current()
        prepared = prepare(CONSUMER, self._session.key(), question, now=self._session.clock.now())
        request_id = prepared.asked.request_id
        headers = [*prepared.request.headers, ("accept", SD_JWT)]
        raw = await self._exchange(gateway, prepared.request.path, headers, prepared.request.body, request_id)
        if raw is None:
            return None, request_id
        status, body = raw
        fetched = read_answer(status, body, prepared, snapshot, now=self._session.clock.now())
        self.promises.receipts.append(fetched)
        return fetched, request_id

    async def _exchange(
        self, gateway: str, path: str, headers: list[tuple[str, str]], body: bytes, request_id: str
    ) -> tuple[int, bytes] | None:
        """Status and body, on a connection of its own; None if no whole answer came. Remembers the first byte."""
        parts = urlsplit(gateway)
        lines = [f"POST {path} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}", "connection: close"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers), "", ""])
        writer = None
        try:
            async with asyncio.timeout(SECONDS):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(head.encode("ascii") + body)
                status_line = await reader.readline()
                if b" 200 " in status_line:
                    self.promises.begun.add(request_id)
                answer = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in answer.decode("latin-1").lower().split("\r\n") if ": " in line)
                return int(status_line.split(b" ")[1]), await reader.readexactly(int(fields["content-length"]))
        except (OSError, asyncio.IncompleteReadError, TimeoutError, IndexError, httpx2.HTTPError):
            return None
        finally:
            if writer is not None:
                writer.close()
