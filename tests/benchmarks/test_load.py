"""The instruments of the benchmarks: what they count is what happened. Nothing here is timed."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import parse_settings
from tests.benchmarks.extras import LOCK
from tests.benchmarks.figures import latency_of, middle, plain_number, quantile
from tests.benchmarks.frames import read_frames, write_frames
from tests.benchmarks.load import Plan, Result, Run, UnreadableAnswer, read_response
from tests.benchmarks.profile import read_stacks
from tests.benchmarks.report import Report, Target
from tests.benchmarks.rounds import Measured, all_errors, median_cpu, paired_ratio
from tests.benchmarks.usage import ENDED, Machine, Reading

Answering = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def answer(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[str]:
    """A server that reads lines and lets `answering` write; its host:port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await answering(line.strip(), writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def by_name(line: bytes, writer: asyncio.StreamWriter) -> None:
    """Good, refused with a code, refused without words, or gone."""
    if line == b"good":
        whole = answer("200 OK", b'{"found": true}')
        for at in range(0, len(whole), 7):
            writer.write(whole[at : at + 7])
            await writer.drain()
    elif line == b"refused":
        writer.write(answer("403 Forbidden", json.dumps({"code": "right-missing"}).encode()))
    elif line == b"mute":
        writer.write(answer("500 Internal Server Error", b""))
    else:
        writer.close()


def plan(target: str, *, connections: int, rate: float = 0.0) -> Plan:
    return Plan(targets=(target,), requests="", connections=connections, seconds=60, rate=rate)


async def test_every_answer_is_counted_once_and_refusals_by_their_code() -> None:
    requests = [b"good\n"] * 20 + [b"refused\n"] * 7 + [b"mute\n"] * 3
    async with serving(by_name) as target:
        result = await Run(plan(target, connections=4), requests, None).measure()
    assert result.answered == 20
    assert result.errors == {"403 right-missing": 7, "500": 3}


async def test_a_lost_connection_is_an_error_and_the_others_go_on() -> None:
    requests = [b"gone\n", *[b"good\n"] * 10]
    async with serving(by_name) as target:
        result = await Run(plan(target, connections=2), requests, None).measure()
    assert result.answered == 10
    assert result.errors == {"connection-lost": 1}


async def test_an_answer_that_is_not_believed_does_not_count_as_answered() -> None:
    async with serving(by_name) as target:
        run = Run(plan(target, connections=2), [b"good\n"] * 6, lambda index, _body: "not believed" if index % 2 else None)
        result = await run.measure()
    assert result.answered == 3
    assert result.errors == {"not believed": 3}


async def test_in_an_open_loop_requests_that_find_no_idle_connection_are_sent_later() -> None:
    async with serving(by_name) as target:
        result = await Run(plan(target, connections=1, rate=1_000_000.0), [b"good\n"] * 50, None).measure()
    assert result.answered == 50
    assert result.errors == {}


def test_a_response_is_read_when_it_is_whole_and_not_before() -> None:
    whole = answer("200 OK", b"12345")
    assert all(read_response(bytearray(whole[:end])) is None for end in range(len(whole)))
    assert read_response(bytearray(whole)) == (200, b"12345")


def test_where_a_response_without_a_length_ends_is_not_guessed() -> None:
    with pytest.raises(UnreadableAnswer):
        read_response(bytearray(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"))


def test_frames_come_back_as_they_were_written_and_half_a_frame_is_noticed(tmp_path: Path) -> None:
    path, frames = tmp_path / "frames", [b"", b"one", b"\x00" * 70_000]
    assert write_frames(path, frames) == 3
    assert read_frames(path) == frames
    for cut in (1, 70_000):
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises((ValueError, struct.error)):
            read_frames(path)


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [quantile(values, share) for share in (0.01, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert math.isnan(quantile([], 0.5))
    assert latency_of([0.003, 0.001, 0.002]).p50_ms == 2
    assert middle([math.nan, 3.0, 1.0, 2.0]) == 2
    assert plain_number(math.nan) is None


def measured(throughput: float, **cpu_ms: float) -> Measured:
    result = Result(
        answered=1,
        errors={"503": 1},
        seconds=1,
        throughput=throughput,
        p50_ms=1,
        p99_ms=2,
        max_ms=3,
        cpu_seconds=0.1,
        process_cpu_seconds=0.2,
    )
    return Measured(result, cpu_ms, {})


def test_ratios_are_taken_within_a_round() -> None:
    above = [measured(100), measured(10), measured(30)]
    below = [measured(200), measured(40), measured(100)]
    assert paired_ratio(above, below) == pytest.approx(0.3)
    assert all_errors(above) == {"503": 3}
    assert list(median_cpu([measured(1, a=1.0, b=2.0), measured(1, a=1.0, b=4.0)]).items()) == [("b", 3.0), ("a", 1.0)]


def test_processor_time_of_a_process_that_came_later_counts_from_nothing() -> None:
    before, after = Reading({1: ("a", 2.0)}), Reading({1: ("a", 5.0), 2: ("a", 1.0), 3: ("b", 0.5)})
    assert after.since(before) == {"a": 4.0, "b": 0.5}


def test_processor_time_of_an_ended_session_of_the_database_is_found_with_its_parent() -> None:
    before = Reading({-9: (ENDED, 1.0), 5: ("postgres: gateway", 2.0)})
    after = Reading({-9: (ENDED, 6.0)})
    assert after.since(before) == {ENDED: 3.0}


def test_what_neither_we_nor_nobody_used_of_the_processors_was_used_by_others() -> None:
    before, after = Machine(busy=100.0, total=1000.0), Machine(busy=107.0, total=1010.0)
    assert after.share_of_others(before, ours=4.0) == pytest.approx(0.3)
    assert math.isnan(before.share_of_others(before, ours=0.0))


def test_a_target_holds_on_its_side_of_what_is_wanted_and_says_nothing_when_nothing_was_measured() -> None:
    assert Target("x", 0.3, 0.25).holds is True
    assert Target("x", 0.3, 0.25, at_most=True).holds is False
    assert Target("x", math.nan, 0.25).holds is None


def test_a_report_of_nothing_is_still_a_document(tmp_path: Path) -> None:
    report = Report(machine={}, settings={}, at="2026-01-01T00:00:00Z")
    report.write(tmp_path / "build" / "bench.json")
    document = json.loads((tmp_path / "build" / "bench.json").read_text(encoding="utf-8"))
    assert {target["holds"] for target in document["targets"]} == {None}


def test_a_profile_counts_recursion_once() -> None:
    profile = read_stacks(["a (x.py:1);b (x.py:2);a (x.py:1) 3", "a (x.py:1) 2", "nonsense"])
    assert profile.total == 5
    assert profile.own == {"a  x.py:1": 5}
    assert profile.whole == {"a  x.py:1": 5, "b  x.py:2": 3}


def test_a_quick_run_is_shorter() -> None:
    quick, usual = parse_settings(["--quick"]), parse_settings([])
    assert quick.rounds * quick.seconds < usual.rounds * usual.seconds


def test_every_package_of_the_benchmarks_is_pinned_by_hashes() -> None:
    lines = [line.strip().removesuffix("\\").strip() for line in LOCK.read_text(encoding="utf-8").splitlines()]
    assert all("==" in line or line.startswith("--hash=sha256:") for line in lines if line)
