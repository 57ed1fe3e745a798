"""Existing systems on loopback, well-behaved or not, canaries that only listen for whoever should never come, and an adapter."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry

from departments.adapter import Adapter
from departments.adapting.back_end import BackEndSystem
from departments.adapting.reading import Allowances, read_declaration
from departments.client import Declaration
from departments.provider import AccessRow
from exchange.address import AddressRules
from exchange.pinned_transport import Resolve

HOST = "back-end.test"
SUBJECT = "341503198803051023"
NAME = "段正淳"
RECORD: dict[str, Any] = {"id": SUBJECT, "name": NAME}
LOOPBACK = "127.0.0.1"
ALLOWED = Allowances(http=True, loopback=True)

DECLARATION = """\
member: civil-affairs
subsystem: marriage
backend:
  base_url: {base_url}
  addresses: [{pins}]
  {more}
  connect_ms: {connect_ms}
  read_ms: {read_ms}
  total_ms: {total_ms}
  max_answer_bytes: 65536
  authentication: {authentication}
data_sets:
  - service: marriage
    schema_version: 1
    title_zh: 婚姻
    title_en: Marriage
    subject_kind: person
    sharing_class: unconditional
    items:
      name: {{title_zh: 姓名, title_en: Name, classification: 2, mask: name, type: text, source: civil-affairs}}
      note: {{title_zh: 备注, title_en: Note, classification: 2, mask: hide, type: text, source: civil-affairs}}
    call: {call}
    answer:
      subject: /id
      no_record: [{{status: 404}}]
      values:
        name: {{pointer: /name}}
        note: {{pointer: /note, absent: "null"}}
"""
CALL = "{method: GET, path: /people, query: {id: '{subject}'}}"


def declared(
    base_url: str,
    *,
    pins: str = "127.0.0.1/32",
    more: str = "",
    connect_ms: int = 5_000,
    read_ms: int = 20_000,
    total_ms: int = 20_000,
    authentication: str = "{kind: none}",
    call: str = CALL,
) -> Declaration:
    """A small declaration of a back end, as it would be loaded from a file."""
    text = DECLARATION.format(
        base_url=base_url,
        pins=pins,
        more=more,
        connect_ms=connect_ms,
        read_ms=read_ms,
        total_ms=total_ms,
        authentication=authentication,
        call=call,
    )
    found = read_declaration(text.encode(), Path("/nowhere/adapter.yaml"), ALLOWED)
    assert isinstance(found, Declaration), "\n".join(map(str, found))
    return found


@dataclass(slots=True)
class Visit:
    """One request that a back end has read, and the connection on which it answers."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter
    server: BackEndServer

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.split(b"\r\n", 1)[0].decode("ascii")

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}

    async def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(raw)
        await self.writer.drain()
        self.server.sent += len(raw)

    async def answer(
        self, body: bytes | None = None, *, status: str = "200 OK", kind: str = "application/json", headers: str = ""
    ) -> None:
        """Send a whole answer; by default the record."""
        content = json.dumps(RECORD, ensure_ascii=False).encode() if body is None else body
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
        await self.send(head.encode("utf-8") + content)


Behave: TypeAlias = Callable[[Visit], Awaitable[None]]


@dataclass(slots=True)
class BackEndServer:
    """A server that behaves as a function says, connection by connection, and counts."""

    behave: Behave
    connections: int = 0
    sent: int = 0
    visits: list[Visit] = field(default_factory=list)
    port: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its base URL, by a name that only a test's resolver knows."""
        return f"http://{HOST}:{self.port}"

    @property
    def is_idle(self) -> bool:
        """Whether every connection has been dealt with."""
        return not self._tasks

    def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task that ends with the server."""
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            visit = Visit(head, b"", writer, self)
            visit.body = await reader.readexactly(int(visit.headers.get("content-length", 0)))
            self.visits.append(visit)
            await self.behave(visit)
        writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def stop(self) -> None:
        """End what is still being served."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def serving(
    behave: Behave, *, at: Sequence[str] = (LOOPBACK,), port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[BackEndServer]:
    """A server at one port of some loopback addresses."""
    server = BackEndServer(behave, port=port)
    async with AsyncExitStack() as stack:
        for address in at:
            listening = await asyncio.start_server(server.connect, address, server.port, ssl=tls)
            server.port = listening.sockets[0].getsockname()[1]
            stack.callback(listening.close)
        stack.push_async_callback(server.stop)
        yield server


async def well(visit: Visit) -> None:
    """Answer with the record."""
    await visit.answer()


def resolving(*answers: Sequence[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives each of the answers once and then the last for ever, and the names that it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


class NoRecords:
    """Access records where nobody records."""

    async def record(self, row: AccessRow) -> bool:
        """Nobody comes here."""
        raise AssertionError(row)

    async def ready(self) -> bool:
        """Always."""
        return True


@dataclass(frozen=True, slots=True)
class Asking:
    """An adapter over a back end, as a provider uses it."""

    adapter: Adapter
    declaration: Declaration
    system: BackEndSystem
    metrics: CollectorRegistry

    async def read(self, *names: str) -> Any:
        """The named values of the subject."""
        return await self.adapter.read(self.declaration.data_sets[0], SUBJECT, names or ("name",))


@asynccontextmanager
async def asking(
    declaration: Declaration,
    *,
    rules: AddressRules | None = None,
    resolve: Resolve | None = None,
    connections: int = 32,
) -> AsyncIterator[Asking]:
    """An adapter whose back end is found at 127.0.0.1 unless a resolver or rules say otherwise."""
    rules = rules or AddressRules(declaration.back_end.pins, allow_loopback=True)
    resolve = resolve or resolving([LOOPBACK])[0]
    system = BackEndSystem(declaration.back_end, rules, connections=connections, resolve=resolve)
    metrics = CollectorRegistry()
    try:
        yield Asking(Adapter(declaration, system, NoRecords(), metrics), declaration, system, metrics)
    finally:
        await system.aclose()
