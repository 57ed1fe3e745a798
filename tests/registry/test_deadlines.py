"""Terms: which days count, what the table says, and notices that everybody sees exactly once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.clock import CHINA
from exchange.problem import Problem
from registry.client import Machine
from registry.deadlines.calendar import BUILT_IN, WorkingCalendar, load_calendar
from registry.deadlines.clocks import Clocks
from registry.deadlines.model import Deadline, reckon
from registry.deadlines.policy import PolicyTable, Rule, load_policy
from tests.registry.town import CONSUMER, Town

CALENDAR = load_calendar()
ONE = timedelta(days=1)
DAYS = st.dates(date(2024, 1, 1), date(2027, 12, 31))
OWNER = "CN-YA/GOV/real-estate"


def at(text: str) -> int:
    """Unix seconds of a wall clock in China."""
    return int(datetime.fromisoformat(f"{text}+08:00").timestamp())


# --- working days


@pytest.mark.parametrize(("year", "count"), [(2024, 251), (2025, 248), (2026, 248)])
def test_a_year_has_as_many_working_days_as_was_announced(year: int, count: int) -> None:
    first = date(year, 1, 1)
    days = [first + timedelta(days=n) for n in range((date(year + 1, 1, 1) - first).days)]
    assert sum(map(CALENDAR.is_working, days)) == count
    assert all(map(CALENDAR.is_verified, days))


@pytest.mark.parametrize(
    ("day", "count", "last"),
    [
        # Spring festival 2026: the Saturday before is worked, nine days are off, the Saturday after is worked.
        ("2026-02-13", 1, "2026-02-14"),
        ("2026-02-14", 1, "2026-02-24"),
        ("2026-02-14", 5, "2026-02-28"),
        # National holidays 2025 with the mid-autumn feast in them: the first to the eighth of October.
        ("2025-09-30", 1, "2025-10-09"),
        ("2025-09-26", 3, "2025-09-30"),
        ("2024-12-31", 1, "2025-01-02"),
    ],
)
def test_holidays_and_exchanged_weekends_are_as_announced(day: str, count: int, last: str) -> None:
    assert CALENDAR.after(date.fromisoformat(day), count) == date.fromisoformat(last)


def test_beyond_what_is_known_there_are_weekends_and_a_mark() -> None:
    spring = date(2028, 1, 26)
    assert CALENDAR.is_working(spring)
    assert not CALENDAR.is_verified(spring)
    assert CALENDAR.after(date(2028, 1, 28), 1) == date(2028, 1, 31)
    assert not reckon(CALENDAR, 10, at("2026-12-30T10:00:00")).days_known
    assert reckon(CALENDAR, 10, at("2026-11-30T10:00:00")).days_known


@given(DAYS, st.integers(1, 40), st.integers(1, 40))
def test_working_days_are_counted_one_by_one(day: date, one: int, two: int) -> None:
    last = CALENDAR.after(day, one)
    assert CALENDAR.is_working(last)
    between = [day + timedelta(days=n) for n in range(1, (last - day).days + 1)]
    assert sum(map(CALENDAR.is_working, between)) == one
    assert CALENDAR.after(last, two) == CALENDAR.after(day, one + two)
    assert CALENDAR.after(day + ONE, one) >= last


@given(st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31)), st.integers(1, 60))  # noqa: DTZ001 - China's, made so below
def test_a_warning_stands_in_the_last_fifth_of_the_working_days(began: datetime, days: int) -> None:
    started = int(began.replace(tzinfo=CHINA).timestamp())
    span = reckon(CALENDAR, days, started)
    assert started < span.warn_at < span.due_at
    due = datetime.fromtimestamp(span.due_at, CHINA)
    assert (due.hour, due.minute, due.second) == (0, 0, 0)
    assert due.date() - ONE == CALENDAR.after(began.date(), days)
    # What is left when the warning comes is one fifth of the term, counted in working time.
    warned = datetime.fromtimestamp(span.warn_at, CHINA)
    rest = [warned.date() + timedelta(days=n) for n in range((due.date() - warned.date()).days)]
    into_day = warned.hour * 3600 + warned.minute * 60 + warned.second
    left = sum(map(CALENDAR.is_working, rest)) * 86_400 - (into_day if CALENDAR.is_working(warned.date()) else 0)
    assert abs(left * 5 - days * 86_400) < 5


WRONG_CALENDARS: dict[str, Any] = {
    "an object with years": [],
    "exactly year, notice": {"years": [{"year": 2026}]},
    "the notice is missing": {"years": [{"year": 2026, "notice": " ", "off": [], "worked": []}]},
    "2026-01-03 is off already": {"years": [{"year": 2026, "notice": "n", "off": ["2026-01-03"], "worked": []}]},
    "2026-01-05 is worked already": {"years": [{"year": 2026, "notice": "n", "off": [], "worked": ["2026-01-05"]}]},
    "stands there twice": {"years": [{"year": 2026, "notice": "n", "off": ["2026-01-05", "2026-01-05"], "worked": []}]},
    "of another year": {"years": [{"year": 2026, "notice": "n", "off": ["2025-01-01"], "worked": []}]},
    "a list of dates": {"years": [{"year": 2026, "notice": "n", "off": [1], "worked": []}]},
    "Invalid isoformat": {"years": [{"year": 2026, "notice": "n", "off": ["2026-02-30x"], "worked": []}]},
    "years of a calendar rise": {
        "years": [{"year": year, "notice": "n", "off": [], "worked": []} for year in (2026, 2025)],
    },
}


@pytest.mark.parametrize(("fault", "value"), WRONG_CALENDARS.items(), ids=WRONG_CALENDARS)
def test_a_calendar_with_a_fault_is_refused(tmp_path: Path, fault: str, value: Any) -> None:
    (tmp_path / "calendar.json").write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(ValueError, match=fault):
        load_calendar(tmp_path / "calendar.json")


# --- the table


def test_every_rule_has_a_term_and_none_is_said_to_be_verified_that_was_not() -> None:
    table = load_policy()
    assert set(table.terms) == set(Rule)
    assert not any(term.is_verified for term in table.terms.values())
    assert all(term.note for term in table.terms.values())


def test_an_operator_replaces_terms_by_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps([{"rule": "provision", "days": 5, "article": "第三条", "verified": True}]), encoding="utf-8")
    table = load_policy(path)
    assert (table.term(Rule.PROVISION).days, table.term(Rule.PROVISION).is_verified) == (5, True)
    assert table.term(Rule.SUPPLEMENT) == load_policy().term(Rule.SUPPLEMENT)


@pytest.mark.parametrize(
    ("fault", "rows"),
    [
        ("a list of rows", {}),
        ("one of the rules", [{"rule": "something", "days": 1}]),
        ("one of the rules", ["provision"]),
        ("days are 1 to", [{"rule": "provision", "days": 0}]),
        ("days are 1 to", [{"rule": "provision", "days": True}]),
        ("there is no dayz", [{"rule": "provision", "dayz": 1}]),
        ("true or false", [{"rule": "provision", "verified": 1}]),
        ("short texts", [{"rule": "provision", "note": "x" * 501}]),
        ("names its article", [{"rule": "supplement", "verified": True}]),
    ],
)
def test_a_policy_file_with_a_fault_is_refused(tmp_path: Path, fault: str, rows: Any) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(ValueError, match=fault):
        load_policy(tmp_path / "policy.json")


# --- clocks


@pytest.fixture
def clocks(town: Town) -> Clocks:
    kept: Clocks = town.app.state.clocks
    return kept


async def started(clocks: Clocks, matter: str = "matter 1", rule: Rule = Rule.CONDITIONAL_REPLY, owner: str = OWNER) -> Deadline:
    async with clocks.engine.begin() as connection:
        return await clocks.start(connection, matter, rule, owner, int(clocks.clock.now()))


async def shown(clocks: Clocks, matter: str = "matter 1") -> list[Deadline]:
    async with clocks.engine.connect() as connection:
        return await clocks.history(connection, matter)


async def notices(town: Town) -> list[str]:
    return [leaf["what"] for leaf in await town.leaves("config") if leaf["what"].startswith("deadline ")]


async def test_each_notice_is_given_once_whoever_watches_and_however_often(town: Town, clocks: Clocks) -> None:
    deadline = await started(clocks)
    other = Clocks(clocks.engine, clocks.journal, clocks.clock, clocks.calendar, clocks.policy)

    async def watch() -> list[str]:
        await asyncio.gather(clocks.watch(), other.watch(), clocks.watch())
        return await notices(town)

    assert await watch() == []
    town.office.clock.advance(deadline.warn_at - clocks.clock.now() - 1)
    assert await watch() == []
    town.office.clock.advance(1)
    assert await watch() == ["deadline warned: matter 1 (conditional-reply)"]
    town.office.clock.advance(deadline.due_at - deadline.warn_at)
    expected = ["deadline warned: matter 1 (conditional-reply)", "deadline overdue: matter 1 (conditional-reply)"]
    assert await watch() == expected
    assert await watch() == expected
    [kept] = await shown(clocks)
    assert (kept.warned_at, kept.overdue_at) == (deadline.warn_at, deadline.due_at)


async def test_what_is_due_while_nobody_watches_is_told_later(town: Town, clocks: Clocks) -> None:
    for number in range(205):
        await started(clocks, f"matter {number}")
    town.office.clock.advance(60 * 86_400)
    await clocks.watch()
    told = await notices(town)
    assert len(told) == len(set(told)) == 2 * 205


async def test_what_has_ended_is_not_told(town: Town, clocks: Clocks) -> None:
    await started(clocks)
    async with clocks.engine.begin() as connection:
        await clocks.stop(connection, "matter 1", int(clocks.clock.now()))
        await clocks.stop(connection, "matter 1", int(clocks.clock.now()))
    town.office.clock.advance(60 * 86_400)
    await clocks.watch()
    assert await notices(town) == []
    async with clocks.engine.connect() as connection:
        assert await clocks.running(connection, ["matter 1"]) == {}


async def test_a_new_deadline_takes_the_place_of_the_old_one(clocks: Clocks) -> None:
    await started(clocks)
    await started(clocks, rule=Rule.ACCEPTANCE)
    first, second = await shown(clocks)
    assert (first.ended_at, second.ended_at, second.rule) == (int(clocks.clock.now()), None, Rule.ACCEPTANCE)


async def test_more_time_counts_from_the_beginning_and_is_given_once(town: Town, clocks: Clocks) -> None:
    deadline = await started(clocks)
    town.office.clock.advance(deadline.due_at - clocks.clock.now())
    await clocks.watch()
    async with clocks.engine.begin() as connection:
        longer = await clocks.extend(connection, "matter 1", Rule.REPLY_EXTENSION)
    assert longer.due_at == reckon(CALENDAR, 20, deadline.started_at).due_at
    first, second = await shown(clocks)
    # What was told in the first term stays told.
    assert (first.overdue_at, first.is_extended, second.overdue_at, second.is_extended) == (deadline.due_at, False, None, True)
    async with clocks.engine.begin() as connection:
        with pytest.raises(Problem, match="more time already"):
            await clocks.extend(connection, "matter 1", Rule.REPLY_EXTENSION)
        with pytest.raises(Problem, match="no deadline runs"):
            await clocks.extend(connection, "matter 2", Rule.REPLY_EXTENSION)
    town.office.clock.advance(longer.due_at - clocks.clock.now())
    await clocks.watch()
    assert (await notices(town)).count("deadline overdue: matter 1 (conditional-reply)") == 2


async def test_another_table_changes_nothing_of_what_runs(clocks: Clocks) -> None:
    """Neither a second extension through a longer term, nor a refused first one through a shorter."""
    deadline = await started(clocks, rule=Rule.PROVISION)
    for days in (5, 15):
        terms = dict(clocks.policy.terms) | {Rule.PROVISION: replace(clocks.policy.term(Rule.PROVISION), days=days)}
        other = replace(clocks, policy=PolicyTable(terms))
        async with clocks.engine.begin() as connection:
            if days == 5:
                longer = await other.extend(connection, "matter 1", Rule.REPLY_EXTENSION)
                assert longer.days == deadline.days + 10
            else:
                with pytest.raises(Problem, match="more time already"):
                    await other.extend(connection, "matter 1", Rule.REPLY_EXTENSION)


BROKEN = {
    "a second one that runs": "INSERT INTO registry.deadline (matter, rule, owner, days, started_at, warn_at, due_at,"
    " is_extended, days_known, is_verified) SELECT matter, rule, owner, days, started_at, warn_at, due_at, is_extended,"
    " days_known, is_verified FROM registry.deadline",
    "more days of the same one": "UPDATE registry.deadline SET days = days + 1",
    "a later end of the same term": "UPDATE registry.deadline SET due_at = due_at + 1",
    "another owner": "UPDATE registry.deadline SET owner = 'x'",
    "a notice taken back": "UPDATE registry.deadline SET warned_at = NULL",
    "a notice before its time": "UPDATE registry.deadline SET overdue_at = due_at - 1",
    "a deadline that disappears": "DELETE FROM registry.deadline",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN)
async def test_postgresql_keeps_deadlines_itself(town: Town, clocks: Clocks, statement: str) -> None:
    deadline = await started(clocks)
    town.office.clock.advance(deadline.warn_at - clocks.clock.now())
    await clocks.watch()
    connection = await asyncpg.connect(town.office.database.url("yitong_registry"))
    try:
        with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
            await connection.execute(statement)
    finally:
        await connection.close()


# --- who reads them


async def test_deadlines_are_read_by_who_must_keep_them_and_who_watches(town: Town, clocks: Clocks) -> None:
    machine = Machine(CONSUMER, await town.office.enrolled(CONSUMER))
    await town.app.state.desk.registrar.refresh_keys()
    await started(clocks, "matter 1")
    late = await started(clocks, "matter 2", Rule.UNCONDITIONAL_REPLY, "CN-YA/GOV/tax")
    town.office.clock.advance(late.due_at - clocks.clock.now())
    await clocks.watch()
    calls, supervisor = town.client.deadlines, await town.token("supervisor")
    first = await calls.page(supervisor, limit=1)
    second = await calls.page(supervisor, limit=1, after=first["next"])
    assert [row["matter"] for row in (*first["deadlines"], *second["deadlines"])] == ["matter 1", "matter 2"]
    assert [row["matter"] for row in (await calls.page(supervisor, state="overdue"))["deadlines"]] == ["matter 2"]
    for who in (machine, await town.token("integrator")):
        assert [row["matter"] for row in (await calls.page(who))["deadlines"]] == ["matter 1"]
    with pytest.raises(Problem, match="forbidden"):
        await calls.page(await town.token("officer"))


async def test_the_table_and_the_calendar_are_open_to_who_works_with_them(town: Town) -> None:
    calls, token = town.client.deadlines, await town.token("integrator")
    terms = {term["rule"]: term for term in (await calls.policy(token))["terms"]}
    assert (terms["conditional-reply"]["days"], terms["conditional-reply"]["verified"]) == (10, False)
    built_in = json.loads(BUILT_IN.read_text(encoding="utf-8"))["years"][-1]
    assert await calls.calendar(token, 2026) == {name: built_in[name] for name in ("year", "notice", "off", "worked")}
    assert (await calls.calendar(token, 2031))["notice"] is None
    with pytest.raises(Problem, match="malformed-request"):
        await calls.calendar(token, 1999)


def test_a_calendar_without_years_still_counts() -> None:
    assert WorkingCalendar({}).after(date(2026, 10, 1), 1) == date(2026, 10, 2)
