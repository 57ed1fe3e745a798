"""The gateway's smaller parts: the second lock, outcomes, strangers, the hash of a request."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.clock import ManualClock
from exchange.envelope import HttpRequest
from exchange.keys import SigningKey
from exchange.problem import Problem
from exchange.record import Answer, Record, RecordClaims, issue_record, verify_record
from gateway.answer_headers import hash_request
from gateway.mask import keep_permitted
from gateway.model import Permit
from gateway.outcomes import Outcomes, Ranges, ranges_of
from gateway.strangers import BURST, Strangers
from tests.gateway.test_decide import statutory

PROVIDER, GATEWAY = SigningKey.generate(), SigningKey.generate()


def record(items: dict[str, object], masked: dict[str, object], facts: dict[str, object]) -> Record:
    claims = RecordClaims("p", "c", "s", 1, "r", "j", 1, GATEWAY.public.jwk, found=True)
    issued = issue_record(PROVIDER, claims, Answer("11010519491231002X", items, masked, facts))
    return verify_record(issued, PROVIDER.public.if_named)


def permit(items: dict[str, str], facts: dict[str, dict[str, int]]) -> Permit:
    return Permit(items, facts, replace(statutory), None, 0.0, witnessed=False)


names = st.sampled_from(["a", "b", "c", "d"])


@pytest.mark.invariant("I-30")
@given(
    given_items=st.dictionaries(names, st.sampled_from(["full", "masked"])),
    given_facts=st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([12, 24])),
    wanted=st.dictionaries(names, st.sampled_from(["full", "masked"])),
    wanted_facts=st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([12, 24])),
)
def test_nothing_but_what_the_permit_names_passes_the_second_lock(
    given_items: dict[str, str], given_facts: dict[str, int], wanted: dict[str, str], wanted_facts: dict[str, int]
) -> None:
    """Whatever a provider sends beyond the permit is dropped, what it leaves out is said, and the signature still holds."""
    made = record(
        {name: "v" for name, form in given_items.items() if form == "full"},
        {name: "*" for name, form in given_items.items() if form == "masked"},
        {name: {"args": {"n": n}, "holds": True} for name, n in given_facts.items()},
    )
    shown = keep_permitted(made, permit(wanted, {name: {"n": n} for name, n in wanted_facts.items()}))
    kept = verify_record(shown.presentation, PROVIDER.public.if_named)
    assert set(kept.values("items")) == {n for n, f in wanted.items() if f == "full" and given_items.get(n) == f}
    assert set(kept.values("masked")) == {n for n, f in wanted.items() if f == "masked" and given_items.get(n) == f}
    assert set(kept.values("facts")) == {n for n, k in wanted_facts.items() if given_facts.get(n) == k}
    answered = {*kept.values("items"), *kept.values("masked"), *kept.values("facts")}
    assert set(shown.withheld) == {*wanted, *wanted_facts} - answered


@given(st.sets(st.integers(min_value=1, max_value=200)))
def test_ranges_of_serials_say_exactly_those_serials(serials: set[int]) -> None:
    ranges = ranges_of(serials)
    assert {serial for first, last in ranges for serial in range(first, last + 1)} == serials
    assert all(first <= last for first, last in ranges)
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(ranges))


async def test_outcomes_that_could_not_be_written_are_kept_for_the_next_time() -> None:
    written: list[tuple[Ranges, Sequence[int]]] = []
    is_broken = True

    async def write(sent: Ranges, aborted: Sequence[int]) -> None:
        if is_broken:
            raise Problem("audit-unavailable")
        written.append((sent, aborted))

    async def unsettled() -> Sequence[int]:
        return ()

    outcomes = Outcomes(write, unsettled)
    outcomes.sent([1, 2, 4])
    outcomes.aborted([3])
    await outcomes.flush()
    assert written == []
    is_broken = False
    await outcomes.flush()
    await outcomes.flush()
    assert written == [(((1, 2), (4, 4)), [3])]


@pytest.mark.invariant("I-6")
async def test_strangers_are_recorded_singly_up_to_a_rate_and_then_counted() -> None:
    entries: list[tuple[str, str, int]] = []

    async def write(code: str, source: str, count: int) -> None:
        entries.append((code, source, count))

    clock = ManualClock(1_790_000_000.0)
    strangers = Strangers(write, clock)
    for _ in range(BURST + 30):
        await strangers.note(Problem("signature-invalid"), "192.0.2.1")
    await strangers.note(Problem("malformed-request"), "192.0.2.2")
    assert len(entries) == BURST + 1
    await strangers.flush()
    assert entries[-1] == ("signature-invalid", "192.0.2.1", 30)
    assert sum(count for _, _, count in entries) == BURST + 31
    clock.advance(60)
    await strangers.flush()
    await strangers.note(Problem("signature-invalid"), "192.0.2.1")
    assert entries[-1] == ("signature-invalid", "192.0.2.1", 1)


def test_request_hash_is_x_roads_formula() -> None:
    """The worked vector of X-Road's own RestRequest class, with its names as they were received there."""
    headers = [
        ("accept", "application/json"),
        ("X-Road-Client", "DEV/COM/4321/TestClient"),
        ("x-road-request-id", "78b890f3-0000-4000-8000-000000000001"),
        ("x-road-id", "DEV-11111111-2222-4333-8444-555555555555"),
    ]
    request = HttpRequest("GET", "/r1/DEV/COM/1234/TestService/mock1/v1/bar", "quu=1", "", headers, b"")
    expected = "xxPSvMGcli5w77LZtIAHMGYOfsHb+m+/e5IHw5uAnjig1bnLK/NMiWdW+PM3eAcHUkp8pOnSQeAbFtAbap3SEA=="
    assert hash_request(request) == expected
