"""Bad requests, byte by byte, against a real gateway: each gets its code, nothing of it is told on, the next one is served."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tests.hostile.conftest import SmallExchange
from tests.hostile.corpus_body import BODIES, HEADERS, Case
from tests.hostile.corpus_http import CHUNKS, FRAMING, METHODS, ODD, PROTOCOLS, TARGETS
from tests.hostile.corpus_signature import SIGNATURES, mirrored, resigned
from tests.hostile.forge import CANARY, OTHER_CANARY, Forge
from tests.hostile.raw import PARSER, Answer, Line, connected, say

CASES: list[Case] = [*BODIES, *HEADERS, *SIGNATURES, *TARGETS, *METHODS, *FRAMING, *CHUNKS, *PROTOCOLS]
# The parser believes that another protocol begins here, and reads nothing more.
LEFT_WAITING = {"an offer to speak otherwise", "an offer of a web socket"}


def is_served(line: Line, forge: Forge) -> bool:
    """Whether a request in order is answered on this connection."""
    line.send(forge.wire(forge.signed(forge.body(subject=forge.subject))))
    answer = line.answer()
    return answer is not None and answer.status == 200 and answer.document["found"] is True


def require_clear_problem(answer: Answer, status: int) -> None:
    """A problem document, whole, that tells nothing of what was sent, and nothing of us."""
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-road-error"] == answer.document["type"]
    assert answer.document["status"] == status
    assert answer.document["data_left"] is False
    assert not [word for word in (b"Traceback", b".py", b"asyncpg", b"audit.", b"nats") if word in answer.body]


@pytest.mark.invariant("I-42")
@pytest.mark.parametrize(("name", "make", "status", "code"), CASES, ids=[name for name, *_ in CASES])
def test_a_bad_request_gets_its_code_and_the_next_request_its_answer(
    door: str, forge: Forge, name: str, make: Callable[[Forge], bytes], status: int, code: str
) -> None:
    with connected(door) as line:
        line.send(make(forge))
        answer = line.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (status, code)
        if code != PARSER:
            require_clear_problem(answer, status)
        if answer.headers.get("connection") == "close":
            assert line.is_closed()
        elif name not in LEFT_WAITING:
            assert is_served(line, forge)
    with connected(door) as another:
        assert is_served(another, forge)


def test_the_corpus_has_no_case_twice() -> None:
    names = [name for name, *_ in CASES] + [name for name, _ in ODD]
    assert len(names) == len(set(names)) >= 120


@pytest.mark.parametrize(("name", "make"), ODD, ids=[name for name, _ in ODD])
def test_what_is_odd_but_in_order_is_answered(door: str, forge: Forge, name: str, make: Callable[[Forge], bytes]) -> None:
    with connected(door) as line:
        line.send(make(forge))
        answer = line.answer()
        assert answer is not None
        assert answer.status == 200, answer.body
        assert is_served(line, forge)


@pytest.mark.invariant("I-38")
def test_a_signature_and_its_mirror_image_are_one_request(door: str, forge: Forge) -> None:
    """Who sees (r, s) can make (r, n - s), which holds as well: it must not fetch the data again."""
    images: list[bytes] = []

    def keep(raw: bytes) -> bytes:
        images.append(raw)
        return raw

    request = resigned(forge, keep)
    assert (first := say(door, forge.wire(request))) is not None
    assert first.status == 200
    text = base64.b64encode(mirrored(images[0])).decode("ascii")
    twin = forge.with_signature(request, request.values("signature-input")[0], f"exchange=:{text}:")
    assert (second := say(door, forge.wire(twin))) is not None
    assert (second.status, second.code) == (409, "request-replayed")


def test_a_method_that_is_not_allowed_is_told_which_one_is(door: str, forge: Forge) -> None:
    for method in ("GET", "HEAD"):
        request = forge.wire(line=f"{method} {forge.plain().path} HTTP/1.1")
        assert (answer := say(door, request, to_head=method == "HEAD")) is not None
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.invariant("I-32")
async def test_no_log_and_no_leaf_holds_the_number_that_was_asked_for(exchange: SmallExchange, door: str, forge: Forge) -> None:
    for make in (make for _, make, *_ in (*HEADERS, *TARGETS)):
        say(door, make(forge))
    logs = [*exchange.home.logs.glob("*.log"), exchange.postgres.log, exchange.nats.log]
    assert any(b"refused" in log.read_bytes() for log in logs)
    assert [log.name for log in logs if _holds_a_number(log)] == []
    connection = await asyncpg.connect(exchange.database().owner_url)
    try:
        for number in (CANARY, OTHER_CANARY, forge.subject):
            query = "SELECT count(*) FROM audit.entry WHERE position($1::bytea IN leaf) > 0"
            assert await connection.fetchval(query, number.encode("ascii")) == 0
    finally:
        await connection.close()


def _holds_a_number(log: Path) -> bool:
    text = log.read_text(encoding="utf-8", errors="replace")
    return any(number in text for number in (CANARY, OTHER_CANARY, CANARY[:17]))
