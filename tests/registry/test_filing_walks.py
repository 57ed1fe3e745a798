"""Whatever is tried with a filing, by whomever: history is one way through the table, and two pairs of hands were in it."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exchange.clock import rfc3339
from exchange.problem import Problem
from registry.filings.model import MOVES, STANDING, FilingState
from tests.registry.test_filings import SYSTEM
from tests.registry.town import Town

_STEPS = ("submit", "withdraw", "return", "approve", "publish", "deprecate", "revive", "archive", "suspend", "lift")
_WHO = ("integrator", "registrar", "reviewer", "auditor")
_NUMBERS = count()


async def attempted(town: Town, filing: dict[str, Any], step: str, who: str) -> None:
    """Try a step as somebody; whether it may be taken is the registry's to say."""
    token, members = await town.token(who), {"reason": "a try"}
    if step == "deprecate":
        members |= {"until": rfc3339(int(town.office.clock.now()) + 100 * 86_400)}
    try:
        if step == "suspend":
            await town.client.suspend(token, "subsystems", filing["id"], "a try")
        elif step == "lift":
            await town.client.lift(token, "subsystems", filing["id"])
        else:
            await town.client.filings.take(token, filing, step, **members)
    except Problem as problem:
        if problem.code not in ("conflict", "forbidden", "not-found"):
            raise


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ways=st.lists(st.tuples(st.sampled_from(_STEPS), st.sampled_from(_WHO)), min_size=4, max_size=16))
async def test_what_counts_was_seen_by_two_and_moved_as_the_table_says(town: Town, ways: list[tuple[str, str]]) -> None:
    document = SYSTEM | {"id": f"{SYSTEM['id']}-{next(_NUMBERS)}"}
    auditor = await town.token("auditor")
    number = (await town.client.filings.draft(await town.token("integrator"), "subsystem", document))["number"]
    for step, who in ways:
        await attempted(town, await town.client.filings.show(auditor, number), step, who)
    shown = await town.client.filings.show(auditor, number)
    moves = shown["moves"]
    assert [move["before"] for move in moves] == [None, *(move["after"] for move in moves[:-1])]
    allowed = {(before.value, after.value) for (before, _), ends in MOVES.items() for after in ends}
    assert {(move["before"], move["after"]) for move in moves[1:]} <= allowed
    snapshot = await town.source().refresh()
    counts = FilingState(shown["state"]) in STANDING - {FilingState.SUSPENDED}
    assert snapshot.is_active(document["id"]) == counts
    if FilingState(shown["state"]) in STANDING:
        assert shown["approver"] not in (None, shown["submitter"])
