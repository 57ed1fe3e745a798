"""How the log bears size: a backlog integrated, the whole verified, entries proven, and how soon a checkpoint covers a release.

python -m tests.benchmarks.log [--entries 1000000]      this part alone, on a database of its own
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import secrets
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import asyncpg
import httpx2
from rich.console import Console
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.tiles import leaf_hash

from audit.client import EpochKeys
from audit.note import VerifierKey, open_checkpoint
from audit.published_log import PublishedLog
from audit.search_store import ReadingPool
from audit.tiles import ENTRIES, FULL_WIDTH, HeldTiles, TileName, decode_bundle
from audit.tree import inclusion_proof
from deploy.home import Home
from deploy.postgres.roles import Database, prepare_database
from deploy.postgres.sql import blocking
from deploy.process import LOOPBACK, free_port, write_private
from deploy.servers import Postgres
from deploy.supervisor import Component
from exchange.canonical import b64url
from exchange.clock import SystemClock
from exchange.keys import SigningKey
from exchange.migrate import migrate
from tests.audit.go_verifier import MISSING, find_go, go_accepts
from tests.benchmarks.figures import Latency, latency_of
from tests.benchmarks.log_figures import BY_GO, BY_SCALES, IN_DATABASE, IN_MEMORY, OVER_HTTP, PUBLISHED, LogFigures
from tests.benchmarks.own_list import measure_own_list
from tests.benchmarks.release_worker import Task
from tests.benchmarks.releases import let_work
from tests.benchmarks.stage import ROOT
from tests.benchmarks.usage import Meter
from tests.journeys.log_export import tile_names
from tests.support.sealing import write_body_keys

USUAL, FULL = 50_000, 1_000_000
PROCESSES, CALLERS, RATE, LAG_SECONDS = 2, 512, 2_000.0, 10.0
PROOFS, SAMPLE = 2_000, 500
_LOOK_S, _DRAIN_LIMIT_S = 0.005, 3_600.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Ground:
    """日志场地. Where the log lies and who works on it."""

    database: Database
    postgres_pid: int | None
    directory: Path
    key: SigningKey = field(default_factory=lambda: SigningKey.generate("Ed25519"))
    heads_key: SigningKey = field(default_factory=lambda: SigningKey.generate("Ed25519"))
    origin: str = Home(Path()).log_origin

    @property
    def vkey(self) -> VerifierKey:
        """The log's verifier key."""
        return VerifierKey.of(self.origin, self.key)

    def component(self, name: str, module: str, role: str, **env: str) -> Component:
        """A process of the audit on this log."""
        port = free_port()
        key_file = self.directory / "log.pem"
        self.key.save(key_file)
        password = self.directory / f"{role}.password"
        write_private(password, (self.database.secrets / f"{role}.password").read_text(encoding="utf-8"))
        url = self.database.url(role)
        head, _, tail = url.partition("@")
        return Component(
            name=name,
            argv=[sys.executable, "-m", module],
            log=self.directory / f"{name}.log",
            env={
                "YITONG_PORT": str(port),
                "YITONG_DATABASE_URL": f"{head.rpartition(':')[0]}@{tail}",
                "YITONG_DATABASE_PASSWORD_FILE": str(password),
                "YITONG_LOG_KEY_FILE": str(key_file),
                "YITONG_LOG_ORIGIN": self.origin,
                **env,
            },
            cwd=ROOT,
            ready_url=f"http://{LOOPBACK}:{port}/health/ready",
        )

    @contextlib.contextmanager
    def integrating(self) -> Iterator[Component]:
        """The integrator's process."""
        component = self.component("log-integrator", "audit.integrator_app", "yitong_integrator")
        component.start()
        try:
            yield component
        finally:
            component.stop()

    @contextlib.contextmanager
    def serving(self, issuer: str = f"http://{LOOPBACK}:1") -> Iterator[tuple[str, Component]]:
        """The audit's HTTP process, after its base URL. Without an issuer nobody logs in."""
        keys = self.directory / "epoch-keys.json"
        EpochKeys.generate().save(keys)
        self.heads_key.save(self.directory / "heads.pem")
        component = self.component(
            "log-audit",
            "audit.app",
            "yitong_auditor",
            YITONG_OIDC_ISSUER=issuer,
            YITONG_OIDC_JWKS_URL=f"{issuer}/jwks",
            YITONG_EPOCH_KEY_FILE=str(keys),
            YITONG_BODY_KEYS_FILE=str(write_body_keys(keys.parent)),
            YITONG_HEADS_KEY_FILE=str(self.directory / "heads.pem"),
        )
        component.start()
        try:
            yield component.ready_url.removesuffix("/health/ready"), component
        finally:
            component.stop()


def measure_log(beside: Database, postgres_pid: int | None, entries: int, say: Say) -> LogFigures:
    """Fill a log in a database `beside` another, drain it, verify it, prove from it, and grow it at a steady rate.

    Raises WorkerFailed, StartError.
    """
    database = prepare_database(beside.superuser_url, beside.secrets, "log")
    migrate("audit", database.url("yitong_audit"), "audit")
    with tempfile.TemporaryDirectory(prefix="yitong-log-") as name:
        ground, figures = Ground(database, postgres_pid, Path(name)), LogFigures(entries)
        say(f"a log of {entries} releases: filling it")
        figures.filled_per_second = fill(ground, entries)
        say("draining the backlog")
        drain(ground, entries, figures)
        say("laying it down as files")
        began = perf_counter()
        blocking(_export(ground, ground.directory / "log"))
        figures.exported_s = perf_counter() - began
        _verify(ground, figures, say)
        say("proving entries")
        _prove(ground, figures)
        say(f"{RATE:.0f} releases a second for {LAG_SECONDS:.0f} s beside the integrator")
        _keep_up(ground, figures)
    say("a person's list of 1,000 entries")
    figures.own_list = measure_own_list(beside)
    return figures


def _tasks(ground: Ground, act: str, seconds: float, rows: int, rate: float = 0.0) -> list[Task]:
    run, url = secrets.token_hex(4), ground.database.url("yitong_gateway")
    shares = [rows // PROCESSES + (number < rows % PROCESSES) for number in range(PROCESSES)]
    return [
        Task(
            act=act,
            url=url,
            seconds=seconds,
            rows=share,
            callers=CALLERS,
            counted=False,
            limited=False,
            run=run,
            withdrawals=0,
            rate=rate / PROCESSES,
            seed=number,
        )
        for number, share in enumerate(shares)
    ]


def fill(ground: Ground, entries: int) -> float:
    """Place that many releases while nothing integrates; how many a second."""
    answers = let_work(ground.directory, _tasks(ground, "fill", entries / 500, entries))
    return entries / max(float(answer["seconds"]) for answer in answers)


def drain(ground: Ground, entries: int, figures: LogFigures) -> None:
    """Have the integrator's process take in the backlog; its speed and work go into the figures."""
    component = ground.component("log-integrator", "audit.integrator_app", "yitong_integrator")
    try:
        seconds, used = blocking(_watch_drain(ground, component, entries))
    finally:
        component.stop()
    figures.drained_per_second = entries / seconds
    figures.drain_cpu_us = {name: spent * 1e6 / entries for name, spent in used.items() if spent > 0}


async def _watch_drain(ground: Ground, component: Component, entries: int) -> tuple[float, dict[str, float]]:
    """Seconds from the instant when somebody leads to that of the checkpoint over all entries, and processor seconds spent."""
    connection = await asyncpg.connect(ground.database.url("yitong_auditor"))
    epoch = await connection.fetchval("SELECT epoch FROM audit.log_head")
    starting = asyncio.create_task(asyncio.to_thread(component.start))
    try:
        await _look_until(connection, "SELECT epoch FROM audit.log_head", epoch + 1)
        began = perf_counter()
        pids = {"integrator": component.pid, "postgres": ground.postgres_pid}
        meter = Meter({name: pid for name, pid in pids.items() if pid is not None})
        before = meter.read()
        await _look_until(connection, "SELECT max(size) FROM audit.checkpoint", entries)
        seconds = perf_counter() - began
        await starting
        return seconds, dict(meter.read().since(before))
    finally:
        await connection.close()


async def _look_until(connection: asyncpg.Connection, query: str, at_least: int) -> None:
    """Return when a number is large enough. Raises TimeoutError after an hour."""
    async with asyncio.timeout(_DRAIN_LIMIT_S):
        while True:
            if (await connection.fetchval(query) or 0) >= at_least:
                return
            await asyncio.sleep(_LOOK_S)


async def _export(ground: Ground, path: Path) -> None:
    """The published log as files, by the code that publishes it."""
    pool = ReadingPool(ground.database.url("yitong_auditor"))
    await pool.open()
    try:
        log = PublishedLog(pool)
        note = await log.checkpoint()
        for name in tile_names(open_checkpoint(note, ground.vkey).checkpoint.size):
            content = await (log.bundle(name) if name.level == ENTRIES else log.tile(name))
            target = path / name.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        (path / "checkpoint").write_bytes(note)
    finally:
        await pool.close()


# --- Verified ---------------------------------------------------------------------------------------------------------------


def _verify(ground: Ground, figures: LogFigures, say: Say) -> None:
    path, vkey = ground.directory / "log", ground.vkey
    password = ground.directory / "yitong_auditor.password"
    write_private(password, (ground.database.secrets / "yitong_auditor.password").read_text(encoding="utf-8"))
    keys = ("--body-keys", str(write_body_keys(ground.directory)))
    walks: dict[str, Callable[[], bool]] = {
        PUBLISHED: lambda: _fsck("--log", str(path), "--vkey", str(vkey)),
        BY_SCALES: lambda: _scales_accept(path, vkey),
        BY_GO: lambda: go_accepts("log", path, vkey),
        IN_DATABASE: lambda: _fsck("--url", ground.database.url("yitong_auditor"), "--vkey", str(vkey), *keys),
    }
    if find_go() is None:
        figures.missing[BY_GO] = MISSING
        del walks[BY_GO]
    else:
        go_accepts("log", path / "nowhere", vkey)  # compiled before the clock runs
    for name, walk in walks.items():
        say(f"verified by {name}")
        began = perf_counter()
        figures.accepted[name] = walk()
        figures.verified_s[name] = perf_counter() - began


def _fsck(*arguments: str) -> bool:
    run = subprocess.run([sys.executable, "-m", "audit.fsck", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.returncode == 0


def _scales_accept(path: Path, vkey: VerifierKey) -> bool:
    """Its reader opens a whole bundle for each entry, so of a long log it gets a sample; the root is from all tiles."""
    reader = TilesReader(LocalBackend(path))
    checkpoint = reader.get_checkpoint()
    open_checkpoint((path / "checkpoint").read_bytes(), vkey)
    if reader.calculate_root_hash() != checkpoint.root_hash:
        return False
    for index in _sample(checkpoint.size, SAMPLE):
        leaf = leaf_hash(reader.get_entry(index))
        reader.get_inclusion_proof(index, checkpoint.size).check(leaf, checkpoint.root_hash)
    return True


def _sample(size: int, count: int) -> Sequence[int]:
    return random.Random(20260417).sample(range(size), min(count, size))


# --- Proven -----------------------------------------------------------------------------------------------------------------


def _prove(ground: Ground, figures: LogFigures) -> None:
    path = ground.directory / "log"
    size = open_checkpoint((path / "checkpoint").read_bytes(), ground.vkey).checkpoint.size
    tiles = {(name.level, name.index): (path / name.path).read_bytes() for name in tile_names(size) if name.level != ENTRIES}
    held, places = HeldTiles(tiles), _sample(size, PROOFS)
    taken: list[float] = []
    for index in places:
        began = perf_counter()
        inclusion_proof(index, size, held)
        taken.append(perf_counter() - began)
    figures.proof[IN_MEMORY] = latency_of(taken)
    leaves = [_leaf_at(path, index, size) for index in places]
    with ground.serving() as (url, _):
        figures.proof[OVER_HTTP] = latency_of(blocking(_ask(url, leaves)))


def _leaf_at(path: Path, index: int, size: int) -> bytes:
    bundle, place = divmod(index, FULL_WIDTH)
    width = min(FULL_WIDTH, size - bundle * FULL_WIDTH)
    return decode_bundle((path / TileName(ENTRIES, bundle, width).path).read_bytes())[place]


async def _ask(url: str, leaves: Sequence[bytes]) -> list[float]:
    taken: list[float] = []
    async with httpx2.AsyncClient(trust_env=False) as http:
        for number, leaf in enumerate(leaves):
            began = perf_counter()
            answer = await http.post(f"{url}/log/proof", json={"entry": b64url(leaf)})
            if number:  # the first one brings the connection up
                taken.append(perf_counter() - began)
            answer.raise_for_status()
    return taken


# --- Kept up with -----------------------------------------------------------------------------------------------------------


def _keep_up(ground: Ground, figures: LogFigures) -> None:
    """Open loop; a reader looks for new checkpoints all the time, so that what is measured is what a reader could see."""
    tasks = _tasks(ground, "keep-up", LAG_SECONDS, int(RATE * LAG_SECONDS), RATE)
    with ground.integrating():
        figures.lag, figures.lag_rate = blocking(_watch(ground, tasks))


async def _watch(ground: Ground, tasks: list[Task]) -> tuple[Latency, float]:
    connection = await asyncpg.connect(ground.database.url("yitong_auditor"))
    clock, seen = SystemClock(), list[tuple[int, int]]()
    working = asyncio.create_task(asyncio.to_thread(let_work, ground.directory, tasks))

    async def look() -> int:
        size = await connection.fetchval("SELECT size FROM audit.checkpoint ORDER BY size DESC LIMIT 1") or 0
        if not seen or seen[-1][0] < size:
            seen.append((size, clock.now_ms()))
        await asyncio.sleep(_LOOK_S)
        return int(size)

    try:
        while not working.done():
            await look()
        answers = await working
        acknowledged = {serial: at for answer in answers for serial, at in answer["acknowledged"]}
        total = await connection.fetchval("SELECT count(*) FROM audit.entry")
        while await look() < total:
            pass
        rows = await connection.fetch("SELECT serial, tree_index FROM audit.sequenced WHERE serial >= $1", min(acknowledged))
    finally:
        await connection.close()
    sizes = [size for size, _ in seen]
    lags = [
        max(0, seen[bisect_right(sizes, row["tree_index"])][1] - acknowledged[row["serial"]]) / 1000
        for row in rows
        if row["serial"] in acknowledged
    ]
    return latency_of(lags), sum(len(answer["acknowledged"]) / answer["seconds"] for answer in answers)


def main() -> None:
    """This part alone."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.log", description=__doc__)
    parser.add_argument("--entries", type=int, default=USUAL, help=f"releases in the log ({USUAL})")
    entries = parser.parse_args().entries
    with tempfile.TemporaryDirectory(prefix="yitong-bench-") as name:
        postgres = Postgres(Path(name) / "postgres")
        postgres.start()
        try:
            beside = Database(postgres.superuser_url, "postgres", Path(name) / "secrets")
            figures = measure_log(beside, postgres.pid, entries, _say_plainly)
        finally:
            postgres.stop()
    figures.show(Console(width=140))
    print(json.dumps(figures.document()))


def _say_plainly(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
