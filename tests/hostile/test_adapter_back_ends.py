"""Back ends as one would not wish them, each a real server: whatever they do ends in a clear problem, never in half a record."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable

import pytest

from exchange.breaker import LEAST_CALLS
from exchange.problem import Problem
from tests.support.back_ends import NAME, RECORD, SUBJECT, Behave, Visit, asking, declared, resolving, serving, well
from tests.support.waiting import until_async

GOOD = json.dumps(RECORD, ensure_ascii=False).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
THREE_GIGABYTES = 3 * 2**30
PIECE = b" " * 65_536
ENOUGH = 32 * 2**20
"""More than the buffers of two sockets hold, and a hundredth of what is on offer."""


@pytest.fixture(scope="session", autouse=True)
def slow_senders() -> None:
    """No exchange is needed here."""


def saying(raw: bytes) -> Behave:
    """Send these bytes and close."""

    async def behave(visit: Visit) -> None:
        await visit.send(raw)

    return behave


def answering(body: bytes, **more: str) -> Behave:
    """Send a whole answer with this body."""

    async def behave(visit: Visit) -> None:
        await visit.answer(body, **more)

    return behave


def with_length(length: object, body: bytes = GOOD) -> Behave:
    """Say another length than that of the body."""
    return saying(OK + f"Content-Length: {length}\r\n\r\n".encode() + body)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks."""
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in chunks) + end


def without_end(piece: Callable[[], bytes], *, first: bytes = b"", pause: float = 0.0) -> Behave:
    """Send pieces up to three gigabytes, which nobody should wait for."""

    async def behave(visit: Visit) -> None:
        await visit.send(first)
        while visit.server.sent < THREE_GIGABYTES:
            await visit.send(piece())
            await asyncio.sleep(pause)

    return behave


async def silence(_visit: Visit) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def hang_up(visit: Visit) -> None:
    """Reset the connection without a word."""
    visit.writer.transport.abort()


async def break_off(visit: Visit) -> None:
    """Send half of the answer, then reset the connection."""
    await visit.send(OK + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD[: len(GOOD) // 2])
    visit.writer.transport.abort()


BOMB = gzip.compress(b'{"id": "' + b" " * 50_000_000 + b'"}')
DUPLICATE = json.dumps({**RECORD, "x": 1}, ensure_ascii=False).replace('"x": 1', f'"name": "{NAME}二"').encode()

FAILED: dict[str, Behave] = {
    # HTTP that is none
    "hangs up": hang_up,
    "closes without a word": saying(b""),
    "noise": saying(bytes(range(256)) * 40),
    "a greeting of another protocol": saying(b"220 mail.example ESMTP\r\n"),
    "HTTP/0.9": saying(GOOD),
    "HTTP/2": saying(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": saying(b"\x15\x03\x01\x00\x02\x02\x28"),
    "a status that is none": saying(b"HTTP/1.1 2OO OK\r\n\r\n" + GOOD),
    "a header without a colon": saying(OK + b"nonsense\r\n\r\n" + GOOD),
    "a header of a megabyte": saying(OK + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n" + GOOD),
    "a hundred thousand headers": saying(OK + b"X: a\r\n" * 100_000 + b"\r\n" + GOOD),
    # lengths that lie
    "says more than it sends": with_length(len(GOOD) + 1),
    "says less than it sends": with_length(len(GOOD) - 1),
    "says nothing but the half": saying(OK + b"\r\n" + GOOD[: len(GOOD) // 2]),
    "a length below nothing": with_length(-1),
    "a length with a sign": with_length(f"+{len(GOOD)}"),
    "a length in words": with_length("all"),
    "a length of a hundred digits": with_length("9" * 100),
    "two lengths": with_length(f"{len(GOOD)}\r\nContent-Length: {len(GOOD) - 1}"),
    "breaks off": break_off,
    "a chunk that is shorter than it says": saying(OK + chunked(end=b"ffff\r\n" + GOOD)),
    "a chunk of a size that is none": saying(OK + chunked(end=b"xyz\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    "a chunk of a size below nothing": saying(OK + chunked(end=b"-1\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    "a chunk longer than it says": saying(OK + chunked(end=b"4\r\n" + GOOD + b"\r\n0\r\n\r\n")),
    "chunks without a last one": saying(OK + chunked(GOOD, end=b"")),
    "chunks in a coding": saying(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + gzip.compress(GOOD)),
    # compressed, though nobody asked
    "gzip": answering(gzip.compress(GOOD), headers="Content-Encoding: gzip\r\n"),
    "a gzip bomb": answering(BOMB, headers="Content-Encoding: gzip\r\n"),
    "a bomb twice": answering(gzip.compress(BOMB), headers="Content-Encoding: gzip, gzip\r\n"),
    "a bomb in two headers": answering(BOMB, headers="Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"),
    "deflate": answering(zlib.compress(GOOD), headers="Content-Encoding: deflate\r\n"),
    "zstd": answering(GOOD, headers="Content-Encoding: zstd\r\n"),
    "a bomb that says nothing": answering(BOMB),
    # another type, another charset
    "a page": answering(b"<html>\xe6\xae\xb5\xe6\xad\xa3\xe6\xb7\xb3</html>", kind="text/html"),
    "JSON that says it is text": answering(GOOD, kind="text/plain"),
    "no type": saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD),
    "two types": answering(GOOD, headers="Content-Type: text/html\r\n"),
    "says GBK": answering(json.dumps(RECORD, ensure_ascii=False).encode("gbk"), kind="application/json; charset=gbk"),
    "is GBK": answering(json.dumps(RECORD, ensure_ascii=False).encode("gbk")),
    "is UTF-16": answering(json.dumps(RECORD).encode("utf-16")),
    "begins with a byte order mark": answering(b"\xef\xbb\xbf" + GOOD),
    # JSON that is none, or that two readers read differently
    "nothing": answering(b""),
    "half": answering(GOOD[:-2]),
    "a name twice": answering(DUPLICATE),
    "something behind it": answering(GOOD + b"{}"),
    "a comment": answering(GOOD[:-1] + b"/* */}"),
    "a comma too many": answering(GOOD[:-1] + b",}"),
    "NaN": answering(GOOD[:-1] + b',"n": NaN}'),
    "a number without end": answering(GOOD[:-1] + b',"n": ' + b"9" * 10_000 + b"}"),
    "U+0000": answering(GOOD[:-1] + b',"n": "\\u0000"}'),
    "half a surrogate": answering(GOOD[:-1] + b',"n": "\\ud800"}'),
    "too deep": answering(b'{"n": ' + b"[" * 20 + b"]" * 20 + b"," + GOOD[1:]),
    "brackets only": answering(b"[" * 60_000),
    "a list": answering(b"[" + GOOD + b"]"),
    "a text": answering(json.dumps(NAME).encode()),
    # a status that is no answer about a person
    "created": answering(GOOD, status="201 Created"),
    "a part": answering(GOOD, status="206 Partial Content", headers="Content-Range: bytes 0-10/100\r\n"),
    "no content": saying(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "not modified": saying(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "another protocol": saying(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + GOOD),
    "who are you": answering(GOOD, status="401 Unauthorized", headers='WWW-Authenticate: Basic realm="x"\r\n'),
    "not you": answering(GOOD, status="403 Forbidden"),
    "not now": answering(GOOD, status="429 Too Many Requests", headers="Retry-After: 1\r\n"),
    "broken": answering(GOOD, status="500 Internal Server Error"),
    "away": answering(GOOD, status="503 Service Unavailable"),
    # an answer about somebody else
    "somebody else": answering(json.dumps({**RECORD, "id": "341503199001010013"}).encode()),
    "nobody": answering(json.dumps({"name": NAME}).encode()),
    "a number for the name": answering(json.dumps({**RECORD, "name": True}).encode()),
    "no name": answering(json.dumps({"id": SUBJECT}).encode()),
}  # fmt: skip


def require_silent(problem: Problem) -> None:
    """What is said and what is logged names nobody and repeats nothing of an answer."""
    for word in (SUBJECT, NAME, "341503199001010013", "html"):
        assert word not in problem.reason
        assert word not in problem.detail
    assert problem.reason
    assert problem.__cause__ is None
    assert problem.__suppress_context__ or problem.__context__ is None


@pytest.mark.invariant("I-8")
@pytest.mark.parametrize("behave", FAILED.values(), ids=FAILED)
async def test_an_answer_that_is_none_is_a_failure_and_nothing_of_it_passes(behave: Behave) -> None:
    async with serving(behave) as server, asking(declared(server.url)) as way:
        with pytest.raises(Problem) as problem:
            await way.read("name", "note")
        assert problem.value.code == "provider-failed"
        require_silent(problem.value)
        assert server.connections == 1
        assert way.metrics.get_sample_value("back_end_answers_total", {"service": "marriage", "code": "provider-failed"}) == 1


async def test_the_same_server_answering_well_is_believed() -> None:
    """The negative control of the table above."""
    for behave in (well, answering(GOOD), saying(OK + chunked(GOOD[:5], GOOD[5:])), saying(OK + b"\r\n" + GOOD)):
        async with serving(behave) as server, asking(declared(server.url)) as way:
            assert await way.read("name", "note") == {"name": NAME, "note": None}
    async with serving(answering(b"", status="404 Not Found")) as server, asking(declared(server.url)) as way:
        assert await way.read("name") is None


TOO_LARGE: dict[str, Behave] = {
    "three gigabytes, and says so": without_end(lambda: PIECE, first=OK + b"Content-Length: %d\r\n\r\n" % THREE_GIGABYTES),
    "three gigabytes in chunks": without_end(
        lambda: b"10000\r\n" + PIECE + b"\r\n", first=OK + b"Transfer-Encoding: chunked\r\n\r\n"
    ),
    "three gigabytes until it closes": without_end(lambda: PIECE, first=OK + b"\r\n"),
    "three gigabytes in one chunk": without_end(
        lambda: PIECE, first=OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % THREE_GIGABYTES
    ),
    "one byte too many": answering(b" " * 65_537),
}


@pytest.mark.invariant("I-43")
@pytest.mark.parametrize("behave", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_what_is_too_large_is_not_read_to_its_end(behave: Behave) -> None:
    async with serving(behave) as server, asking(declared(server.url)) as way:
        with pytest.raises(Problem) as problem:
            await way.read()
        assert problem.value.code == "too-large"
        require_silent(problem.value)
        await until_async(lambda: server.is_idle)
        assert server.sent < ENOUGH


SLOW: dict[str, Behave] = {
    "never answers": silence,
    "drips its headers": without_end(lambda: b"X: a\r\n", first=OK, pause=0.02),
    "drips one header": without_end(lambda: b"a", first=OK + b"X: ", pause=0.02),
    "drips its body": without_end(lambda: b" ", first=OK + b"Content-Length: 60000\r\n\r\n", pause=0.02),
    "drips in chunks": without_end(lambda: b"1\r\n \r\n", first=OK + b"Transfer-Encoding: chunked\r\n\r\n", pause=0.02),
    "drips within the size of a chunk": without_end(lambda: b"a", first=OK + b"Transfer-Encoding: chunked\r\n\r\n1;", pause=0.02),
    "wait, wait, wait": without_end(lambda: b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.02),
    "hints without end": without_end(lambda: b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", pause=0.02),
    "stops in the middle": without_end(lambda: b"", first=OK + b"Content-Length: 60000\r\n\r\n" + GOOD, pause=0.02),
}


@pytest.mark.invariant("I-43")
@pytest.mark.parametrize("behave", SLOW.values(), ids=SLOW)
async def test_who_is_slow_is_given_up(behave: Behave) -> None:
    async with serving(behave) as server, asking(declared(server.url, connect_ms=300, read_ms=300, total_ms=600)) as way:
        with pytest.raises(Problem) as problem:
            await way.read()
        assert problem.value.code == "deadline-exceeded"
        require_silent(problem.value)
        assert way.system.state["under_way"] == 0


async def test_nobody_there_is_said_as_such() -> None:
    async with serving(well) as server:
        port = server.port
    async with asking(declared(f"http://back-end.test:{port}")) as way:
        with pytest.raises(Problem) as problem:
            await way.read()
        assert problem.value.code == "provider-unavailable"
        require_silent(problem.value)
        assert not await way.adapter.back_end_reachable()


@pytest.mark.parametrize("found", [[], None], ids=["no address", "no answer"])
async def test_a_name_that_leads_nowhere_is_said_as_such(found: list[str] | None) -> None:
    async def lost(_host: str, _port: int) -> list[str]:
        raise OSError("Temporary failure in name resolution")

    resolve = lost if found is None else resolving(found)[0]
    async with asking(declared("http://back-end.test:1"), resolve=resolve) as way:
        with pytest.raises(Problem) as problem:
            await way.read()
        assert problem.value.code == "provider-unavailable"
        assert not await way.adapter.back_end_reachable()


async def test_a_resolver_that_never_answers_is_given_up() -> None:
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with asking(declared("http://back-end.test:1", connect_ms=100), resolve=never) as way:
        with pytest.raises(Problem) as problem:
            await way.read()
        assert problem.value.code == "provider-unavailable"
        assert not await way.adapter.back_end_reachable()


# --- a back end in trouble costs nobody


@pytest.mark.invariant("I-54")
async def test_a_back_end_that_keeps_failing_is_left_alone() -> None:
    async with serving(answering(b"{}", status="500 Oh")) as server, asking(declared(server.url)) as way:
        for _ in range(LEAST_CALLS):
            with pytest.raises(Problem, match="provider-failed"):
                await way.read()
        assert server.connections == LEAST_CALLS
        for _ in range(50):
            with pytest.raises(Problem, match="provider-unavailable"):
                await way.read()
        assert server.connections == LEAST_CALLS
        assert way.system.state["held_back"] is True
        assert not await way.adapter.back_end_reachable()
        assert server.connections == LEAST_CALLS


async def test_answers_that_are_no_records_do_not_count_as_its_being_down() -> None:
    """Who asks for a broken record must not close the way to all the others."""
    async with serving(answering(b"{}")) as server, asking(declared(server.url)) as way:
        for _ in range(2 * LEAST_CALLS):
            with pytest.raises(Problem, match="provider-failed"):
                await way.read()
        assert server.connections == 2 * LEAST_CALLS
        assert await way.adapter.back_end_reachable()


@pytest.mark.invariant("I-54")
async def test_a_back_end_that_hangs_holds_a_bounded_number_of_calls() -> None:
    async with serving(silence) as server, asking(declared(server.url), connections=3) as way:
        waiting = [asyncio.create_task(way.read()) for _ in range(3)]
        await until_async(lambda: len(server.visits) == 3)
        with pytest.raises(Problem, match="overloaded"):
            await way.read()
        assert server.connections == 3
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert way.system.state["under_way"] == 0


async def test_a_back_end_that_answers_again_is_asked_again() -> None:
    async with asking(declared("http://back-end.test:9"), resolve=resolving([])[0]) as way:
        with pytest.raises(Problem, match="provider-unavailable"):
            await way.read()
    async with serving(well) as server, asking(declared(server.url)) as way:
        assert await way.read() == {"name": NAME}
        assert way.system.state["seconds_since_answer"] == 0
        before = server.connections
        assert await way.adapter.back_end_reachable()
        assert server.connections == before  # it has answered lately: no need to knock
        assert way.metrics.get_sample_value("back_end_reachable") == 1
