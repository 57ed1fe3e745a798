"""The circuit breaker, beside a model of what it promises."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchange.breaker import LEAST_CALLS, OPEN_SECONDS, WINDOW_SECONDS, Breaker, Ticket


def call(breaker: Breaker, now: float, *, succeeded: bool | None) -> bool:
    """Whether a call is let through; if so it ends at once."""
    ticket = breaker.admit(now)
    if ticket is not None:
        breaker.note(ticket, now, succeeded=succeeded)
    return ticket is not None


def failing(calls: int, *, of: int = 0, at: float = 0.0) -> Breaker:
    """A breaker that has seen so many failures of so many calls, the failures last."""
    breaker = Breaker()
    for number in range(of or calls):
        assert call(breaker, at, succeeded=number < (of or calls) - calls)
    return breaker


def test_it_opens_when_half_of_twenty_calls_fail_and_not_before() -> None:
    assert not failing(LEAST_CALLS - 1).is_open(0)
    assert not failing(LEAST_CALLS // 2 - 1, of=LEAST_CALLS).is_open(0)
    assert failing(LEAST_CALLS // 2, of=LEAST_CALLS).is_open(0)
    assert failing(LEAST_CALLS).is_open(0)


def test_failures_older_than_the_window_do_not_count() -> None:
    breaker = failing(LEAST_CALLS - 1)
    assert call(breaker, WINDOW_SECONDS, succeeded=False)
    assert not breaker.is_open(WINDOW_SECONDS)
    breaker = failing(LEAST_CALLS - 1)
    assert call(breaker, WINDOW_SECONDS - 0.01, succeeded=False)
    assert breaker.is_open(WINDOW_SECONDS - 0.01)


def test_after_the_pause_one_probe_goes_and_no_second_beside_it() -> None:
    breaker = failing(LEAST_CALLS)
    assert breaker.admit(OPEN_SECONDS - 0.01) is None
    assert not breaker.is_open(OPEN_SECONDS)
    probe = breaker.admit(OPEN_SECONDS)
    assert probe is not None
    assert probe.is_probe
    assert breaker.admit(OPEN_SECONDS + 1) is None
    breaker.note(probe, OPEN_SECONDS + 1, succeeded=True)
    assert call(breaker, OPEN_SECONDS + 1, succeeded=True)


def test_a_probe_that_fails_opens_it_again_and_one_that_was_cancelled_lets_the_next_go() -> None:
    breaker = failing(LEAST_CALLS)
    assert call(breaker, OPEN_SECONDS, succeeded=None)
    assert call(breaker, OPEN_SECONDS, succeeded=False)
    assert breaker.is_open(2 * OPEN_SECONDS - 0.01)
    assert not call(breaker, 2 * OPEN_SECONDS - 0.01, succeeded=True)
    assert call(breaker, 2 * OPEN_SECONDS, succeeded=True)
    assert call(breaker, 2 * OPEN_SECONDS, succeeded=True)


def test_what_began_before_it_opened_changes_nothing_after() -> None:
    breaker = Breaker()
    early = [breaker.admit(0) for _ in range(2 * LEAST_CALLS)]
    for ticket in early[:LEAST_CALLS]:
        assert ticket is not None
        breaker.note(ticket, 0, succeeded=False)
    assert breaker.is_open(0)
    for ticket in early[LEAST_CALLS:]:
        assert ticket is not None
        breaker.note(ticket, 1, succeeded=True)
    assert breaker.is_open(1)


def test_what_says_nothing_about_the_back_end_is_not_counted() -> None:
    breaker = Breaker()
    for _ in range(10 * LEAST_CALLS):
        assert call(breaker, 0, succeeded=None)
    assert not failing(LEAST_CALLS - 1).is_open(0)


_EVENTS = st.lists(st.tuples(st.floats(0, 3), st.sampled_from([True, False, None])), max_size=150)


@given(_EVENTS)
def test_calls_one_after_another_are_held_back_exactly_as_promised(events: list[tuple[float, bool | None]]) -> None:
    breaker, now, open_until = Breaker(), 0.0, None
    seen: list[tuple[float, bool]] = []
    for pause, succeeded in events:
        now += pause
        admitted = call(breaker, now, succeeded=succeeded)
        assert admitted == (open_until is None or now >= open_until)
        if not admitted or succeeded is None:
            continue
        if open_until is not None:
            open_until, seen = (None if succeeded else now + OPEN_SECONDS), []
            continue
        seen = [(at, good) for at, good in [*seen, (now, succeeded)] if at > now - WINDOW_SECONDS]
        if len(seen) >= LEAST_CALLS and sum(not good for _, good in seen) * 2 >= len(seen):
            open_until, seen = now + OPEN_SECONDS, []


@given(st.lists(st.tuples(st.sampled_from(["admit", "good", "bad", "none", "wait"]), st.integers(0, 5)), max_size=120))
def test_however_calls_overlap_no_two_probes_are_under_way(steps: list[tuple[str, int]]) -> None:
    breaker, now = failing(LEAST_CALLS), 0.0
    under_way: list[Ticket] = []
    for step, number in steps:
        if step == "wait":
            now += number
        elif step == "admit":
            ticket = breaker.admit(now)
            if ticket is not None:
                under_way.append(ticket)
        elif under_way:
            ticket = under_way.pop(number % len(under_way))
            breaker.note(ticket, now, succeeded={"good": True, "bad": False, "none": None}[step])
        assert sum(ticket.is_probe for ticket in under_way) <= 1
