"""The batch writer alone, over lanes that are told what to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.batch import BatchFailed, BatchRefused, BatchWriter, OutcomeUnknown
from exchange.problem import Problem


@dataclass(slots=True)
class Line:
    """A lane that keeps what it was given, and waits at the gate before it answers."""

    available: bool = True
    calls: list[list[int]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    poison: frozenset[int] = frozenset()
    failure: Exception | None = None
    under_way: int = 0

    async def run(self, items: Sequence[int]) -> list[str]:
        assert self.under_way == 0, "two calls at a time on one lane"
        self.under_way += 1
        self.calls.append(list(items))
        await self.gate.wait()
        self.under_way -= 1
        if self.failure is not None:
            raise self.failure
        if self.poison & set(items):
            raise BatchRefused("poison")
        return [f"done {item}" for item in items]


async def run_on(line: Line, items: Sequence[int]) -> list[str]:
    return await line.run(items)


def open_line(**options: object) -> Line:
    line = Line(**options)  # type: ignore[arg-type]  # handed on as they came
    line.gate.set()
    return line


Writer = BatchWriter[int, str, Line]


async def put_all(writer: Writer, items: Sequence[int]) -> list[str | BaseException]:
    return await asyncio.gather(*(writer.put(item) for item in items), return_exceptions=True)


async def test_what_arrives_while_a_call_is_under_way_goes_with_the_next() -> None:
    line = Line()
    writer: Writer = BatchWriter([line], run_on, limit=4)
    first = asyncio.create_task(writer.put(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(writer.put(item)) for item in range(1, 10)]
    await asyncio.sleep(0)
    line.gate.set()
    assert [await task for task in (first, *rest)] == [f"done {item}" for item in range(10)]
    assert line.calls == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


async def test_several_lanes_work_at_the_same_time() -> None:
    lines = [Line(), Line()]
    writer: Writer = BatchWriter(lines, run_on)
    tasks = []
    for item in range(3):
        tasks.append(asyncio.create_task(writer.put(item)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert [line.calls for line in lines] == [[[0]], [[1]]]
    lines[1].gate.set()
    assert await tasks[1] == "done 1"
    assert await tasks[2] == "done 2"
    lines[0].gate.set()
    assert await tasks[0] == "done 0"


@given(count=st.integers(1, 40), poison=st.frozensets(st.integers(0, 39), max_size=6), limit=st.integers(1, 16))
@settings(max_examples=60, deadline=None)
def test_every_good_item_is_written_once_and_every_bad_one_fails_alone(count: int, poison: frozenset[int], limit: int) -> None:
    async def check() -> None:
        line = open_line(poison=poison)
        writer: Writer = BatchWriter([line], run_on, limit=limit)
        results = await put_all(writer, range(count))
        for item, result in enumerate(results):
            assert isinstance(result, Problem) if item in poison else result == f"done {item}"
        written = [item for call in line.calls if not poison & set(call) for item in call]
        assert sorted(written) == [item for item in range(count) if item not in poison]

    asyncio.run(check())


@pytest.mark.parametrize("failure", [BatchFailed("no room"), RuntimeError("a bug"), ConnectionError()])
async def test_a_failed_call_fails_all_its_callers_and_nothing_is_tried_again(failure: Exception) -> None:
    line = open_line(failure=failure)
    results = await put_all(BatchWriter([line], run_on, code="provider-failed"), range(5))
    assert [result.code for result in results if isinstance(result, Problem)] == ["provider-failed"] * 5
    assert line.calls == [[0, 1, 2, 3, 4]]


async def test_an_unknown_outcome_is_told_for_every_item_and_never_tried_again() -> None:
    line, told = open_line(failure=OutcomeUnknown("cut", "session-1")), []
    writer: Writer = BatchWriter([line], run_on, on_unknown=lambda item, error: told.append((item, error.session)))
    results = await put_all(writer, range(3))
    assert all(isinstance(result, Problem) and "unknown outcome" in result.reason for result in results)
    assert told == [(0, "session-1"), (1, "session-1"), (2, "session-1")]
    assert line.calls == [[0, 1, 2]]


async def test_a_caller_who_leaves_early_is_passed_over_and_one_who_leaves_late_is_an_orphan() -> None:
    line, orphans = Line(), []
    writer: Writer = BatchWriter([line], run_on, limit=2, on_orphan=lambda item, result: orphans.append((item, result)))
    tasks = [asyncio.create_task(writer.put(item)) for item in range(4)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert line.calls == [[0, 1]]
    tasks[1].cancel()
    tasks[2].cancel()
    await asyncio.sleep(0)
    line.gate.set()
    assert await tasks[0] == "done 0"
    assert await tasks[3] == "done 3"
    assert line.calls == [[0, 1], [3]]
    assert orphans == [(1, "done 1")]


async def test_without_an_available_lane_a_call_fails_at_once() -> None:
    line = open_line(available=False)
    writer: Writer = BatchWriter([line], run_on)
    with pytest.raises(Problem, match="audit-unavailable"):
        await writer.put(1)
    line.available = True
    assert await writer.put(2) == "done 2"


async def test_those_who_wait_for_a_lane_that_goes_away_are_told_at_once() -> None:
    line = Line()
    writer: Writer = BatchWriter([line], run_on, limit=1)
    tasks = [asyncio.create_task(writer.put(item)) for item in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    line.available = False
    line.gate.set()
    assert await tasks[0] == "done 0"
    for task in tasks[1:]:
        with pytest.raises(Problem, match="audit-unavailable"):
            await task
    assert line.calls == [[0]]


async def test_the_queue_is_bounded_and_a_closed_writer_takes_nothing_more() -> None:
    line = Line()
    writer: Writer = BatchWriter([line], run_on, limit=1, capacity=2)
    tasks = [asyncio.create_task(writer.put(item)) for item in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="overloaded"):
        await writer.put(9)
    closing = asyncio.create_task(writer.close())
    line.gate.set()
    await closing
    assert [await task for task in tasks] == ["done 0", "done 1"]
    with pytest.raises(Problem, match="audit-unavailable"):
        await writer.put(3)
