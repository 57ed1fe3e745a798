"""Who is measured: the exchange in four ways, and beside it plain servers that promise less and less."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from deploy.process import LOOPBACK, free_port
from deploy.supervisor import Component
from exchange.clock import SystemClock
from gateway.client import Wanted, prepare
from tests.benchmarks.believe import encode_prepared
from tests.benchmarks.frames import write_frames
from tests.benchmarks.plain import READ_PATH, RECORDED_PATH
from tests.benchmarks.stage import ITEMS, PROVIDER_ROLE, PURPOSE, ROOT, SERVICE, Stage

ALONE, RECORDED, CADDY, PROXY = "provider alone", "provider with record", "caddy before it", "httpx proxy before it"
FULL, FULL_BOTH = "exchange, gateway-1", "exchange, both gateways"
VERIFIED, VERIFIED_BOTH = "exchange, verified, gateway-1", "exchange, verified, both gateways"

_CADDYFILE = """{{
	admin off
	auto_https off
	persist_config off
	storage file_system {storage}
}}
http://{host}:{port} {{
	bind {host}
	reverse_proxy {host}:{upstream} {{
		transport http {{
			keepalive_idle_conns_per_host 256
		}}
	}}
}}
"""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to be asked: where, at which path of a plain server or as a signed request, believed or verified."""

    name: str
    targets: tuple[str, ...]
    path: str = ""
    """Of a plain server; empty for the exchange."""
    verified: bool = False


class Requests:
    """Prepares requests about residents drawn at random, each new: a request id answers once."""

    def __init__(self, stage: Stage, seed: int = 1) -> None:
        self._stage = stage
        self._subjects = stage.subjects()
        self._dice = Random(seed)
        self._consumer = stage.consumer if stage.exchange is not None else None
        self._clock = SystemClock()

    def write(self, contestant: Contestant, count: int, directory: Path) -> tuple[Path, Path]:
        """Write `count` requests, and what is needed to check their answers; the two files. Signed now, good for a minute."""
        requests, asked = directory / "requests.bin", directory / "asked.bin"
        subjects = self._dice.choices(self._subjects, k=count)
        if contestant.path:
            write_frames(requests, (_plain(contestant, subject) for subject in subjects))
            write_frames(asked, ())
            return requests, asked
        questions: list[bytes] = []
        write_frames(requests, self._signed(contestant, subjects, questions))
        write_frames(asked, questions)
        return requests, asked

    def _signed(self, contestant: Contestant, subjects: Sequence[str], questions: list[bytes]) -> Iterator[bytes]:
        if self._consumer is None:
            raise ValueError("without an exchange nobody signs")
        consumer, key = self._consumer
        accept = "application/sd-jwt" if contestant.verified else "application/json"
        for number, subject in enumerate(subjects):
            wanted = Wanted(SERVICE, subject, PURPOSE, items=ITEMS, officer="officer-007", case=f"2026-{number % 500:04}")
            prepared = prepare(consumer, key, wanted, now=self._clock.now())
            headers = [("host", contestant.targets[0]), ("accept", accept), *prepared.request.headers]
            if contestant.verified:
                questions.append(encode_prepared(prepared))
            yield _raw(prepared.request.path, headers, prepared.request.body)


def _plain(contestant: Contestant, subject: str) -> bytes:
    headers = [("host", contestant.targets[0]), ("accept", "application/json"), ("content-type", "application/json")]
    return _raw(contestant.path, headers, json.dumps({"subject": subject}).encode("ascii"))


def _raw(path: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def start_contestants(stage: Stage, caddy: Path | None) -> list[Contestant]:
    """Start the plain servers on free ports; everybody who takes part, in the order in which they are printed."""
    upstream = free_port()
    url, password_file = stage.login(PROVIDER_ROLE)
    database = ("--database-url", url, "--password-file", str(password_file))
    stage.add(_python(stage, "plain provider", upstream, "provider", *database))
    proxy = free_port()
    stage.add(_python(stage, "plain proxy", proxy, "proxy", "--upstream", f"http://{LOOPBACK}:{upstream}"))
    alone = (f"{LOOPBACK}:{upstream}",)
    contestants = [
        Contestant(ALONE, alone, READ_PATH),
        Contestant(RECORDED, alone, RECORDED_PATH),
        Contestant(PROXY, (f"{LOOPBACK}:{proxy}",), READ_PATH),
    ]
    if caddy is not None:
        port = free_port()
        stage.add(_caddy(stage, caddy, port, upstream))
        contestants.insert(2, Contestant(CADDY, (f"{LOOPBACK}:{port}",), READ_PATH))
    if gateways := stage.gateways:
        contestants += [
            Contestant(FULL, gateways[:1]),
            Contestant(FULL_BOTH, gateways),
            Contestant(VERIFIED, gateways[:1], verified=True),
            Contestant(VERIFIED_BOTH, gateways, verified=True),
        ]
    return contestants


def _python(stage: Stage, name: str, port: int, *arguments: str) -> Component:
    return Component(
        name=name,
        argv=[sys.executable, "-m", "tests.benchmarks.plain", *arguments, "--port", str(port)],
        log=stage.root / f"{name}.log",
        cwd=ROOT,
        ready_url=f"http://{LOOPBACK}:{port}/health",
    )


def _caddy(stage: Stage, program: Path, port: int, upstream: int) -> Component:
    config = stage.root / "Caddyfile"
    storage = stage.root / "caddy"
    config.write_text(_CADDYFILE.format(host=LOOPBACK, port=port, upstream=upstream, storage=storage), encoding="utf-8")
    return Component(
        name="caddy",
        argv=[str(program), "run", "--adapter", "caddyfile", "--config", str(config)],
        log=stage.root / "caddy.log",
        env={"XDG_DATA_HOME": str(storage), "XDG_CONFIG_HOME": str(storage)},
        ready_url=f"http://{LOOPBACK}:{port}/health",
    )
