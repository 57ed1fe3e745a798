"""What a client does to a connection hurts that connection only."""

from __future__ import annotations

import pytest

from tests.hostile.conftest import ROOM
from tests.hostile.corpus_body import members
from tests.hostile.forge import Forge
from tests.hostile.raw import PARSER, Line, connected
from tests.hostile.test_door import is_served
from tests.support.waiting import until


@pytest.mark.invariant("I-43")
def test_slow_senders_keep_nobody_out(door: str, forge: Forge, slow_senders: list[Line]) -> None:
    assert len(slow_senders) > ROOM
    with connected(door) as line:
        assert is_served(line, forge)


def test_requests_sent_at_once_are_answered_in_their_order(door: str, forge: Forge) -> None:
    requests = [forge.signed(forge.body(subject=forge.subject), add=[("x-road-id", f"in-order-{n}")]) for n in range(5)]
    with connected(door) as line:
        line.send(b"".join(forge.wire(request) for request in requests))
        answers = [line.answer() for _ in requests]
        assert [answer.headers["x-road-id"] for answer in answers if answer] == [f"in-order-{n}" for n in range(5)]
        assert is_served(line, forge)


def test_a_good_request_behind_a_bad_one_is_answered(door: str, forge: Forge) -> None:
    _, bad, status, code = members("nothing asked for", items=...)
    with connected(door) as line:
        line.send(bad(forge) + forge.wire())
        first, second = line.answer(), line.answer()
        assert first is not None
        assert second is not None
        assert (first.status, first.code, second.status) == (status, code, 200)


def test_noise_behind_a_good_request_ends_the_connection(door: str, forge: Forge) -> None:
    with connected(door) as line:
        line.send(forge.wire())
        assert (first := line.answer()) is not None
        line.send(bytes(range(128, 256)))
        assert (second := line.answer()) is not None
        assert (first.status, second.status, second.code) == (200, 400, PARSER)
        assert line.is_closed()


def test_a_body_longer_than_announced_is_not_taken_for_a_request(door: str, forge: Forge) -> None:
    """The parser ends the connection at once, so the answer to the request before the noise may be lost with it."""
    with connected(door) as line:
        line.send(forge.wire(body=forge.body() + b'{"subject": "smuggled"}'))
        answers = [line.answer(), line.answer()]
        assert [(answer.status, answer.code) for answer in answers if answer][-1] == (400, PARSER)
        assert line.is_closed()
    with connected(door) as line:
        assert is_served(line, forge)


@pytest.mark.parametrize("part", [1, 40, 400, -1], ids=["a byte", "a line", "some headers", "all but a byte"])
def test_who_hangs_up_midway_leaves_nothing_behind(door: str, forge: Forge, part: int) -> None:
    with connected(door) as line:
        line.send(forge.wire()[:part])
        line.send_no_more()
    with connected(door) as line:
        assert is_served(line, forge)


def test_who_hangs_up_before_the_answer_leaves_the_gateway_working(door: str, forge: Forge) -> None:
    for _ in range(2 * ROOM):
        with connected(door) as line:
            line.send(forge.wire(forge.signed(forge.body(subject=forge.subject))))
    # As long as it works on those, it may say that it has too much to do.
    until(lambda: is_served_anew(door, forge))


def is_served_anew(door: str, forge: Forge) -> bool:
    with connected(door) as line:
        return is_served(line, forge)


def test_idle_connections_keep_nobody_out(door: str, forge: Forge) -> None:
    lines = [Line(door) for _ in range(200)]
    try:
        with connected(door) as line:
            assert is_served(line, forge)
    finally:
        for line in lines:
            line.close()
