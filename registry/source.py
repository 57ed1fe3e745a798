"""Where a process finds the current snapshot: fetched when announced and every few seconds, verified, swapped in as a whole."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx2
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from exchange.clock import Clock
from exchange.keys import VerifyKey
from exchange.log import get_logger
from exchange.problem import Problem
from exchange.subjects import SNAPSHOT_CHANGED
from registry.reading import Snapshot, SnapshotReader, refuse
from registry.snapshot import Manifest, Part

MAX_MANIFEST_BYTES = 2_097_152
MANIFEST_SECONDS, PART_SECONDS = 5.0, 60.0

log = get_logger(__name__)


class SnapshotSource:
    """快照来源. Keeps the newest valid snapshot of one registry; what cannot be verified is as good as not there."""

    def __init__(
        self,
        url: str,
        anchor: VerifyKey,
        http: httpx2.AsyncClient,
        clock: Clock,
        *,
        instance: str | None = None,
        provider: str | None = None,
        poll_seconds: float = 5.0,
    ) -> None:
        """`anchor` is the registry's key, the one thing that is trusted unseen.

        `instance` is the one that manifests must be of (else the first one decides); with `provider` (a member in its slash
        form) only that provider's services and rights are fetched.
        """
        self._url, self._http, self._clock, self._poll_seconds = url.rstrip("/"), http, clock, poll_seconds
        self._reader = SnapshotReader(anchor, instance=instance, provider=provider)
        self._snapshot: Snapshot | None = None
        self._turn = asyncio.Lock()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None

    def current(self) -> Snapshot:
        """The newest snapshot. Raises `registry-stale` if there is none, or it has expired."""
        snapshot = self._snapshot
        if snapshot is None or self._clock.now() >= snapshot.expires_at:
            raise Problem("registry-stale", reason="no snapshot" if snapshot is None else "the snapshot has expired")
        return snapshot

    @property
    def is_current(self) -> bool:
        """Whether `current` would answer."""
        return self._snapshot is not None and self._clock.now() < self._snapshot.expires_at

    async def start(self, bus: Client | None = None) -> None:
        """Try once, then follow in the background; `bus` brings announcements. The registry need not be there yet."""
        if bus is not None:
            with suppress(NatsError):  # polling alone is slower, not wrong
                self._subscription = await bus.subscribe(SNAPSHOT_CHANGED, cb=self._heard)
        await self._try()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following."""
        if self._subscription is not None:
            with suppress(NatsError):
                await self._subscription.unsubscribe()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def refresh(self) -> Snapshot:
        """Fetch what is new; what counts now. Raises `registry-stale`; the snapshot before stays until it expires."""
        async with self._turn:
            manifest = self._reader.manifest(await self._fetch_manifest(), now=self._clock.now())
            if not self._reader.is_current(manifest):
                bodies = {part.name: await self._fetch_part(part) for part in self._reader.unknown_parts(manifest)}
                self._snapshot = await self._read(manifest, bodies)
            return self.current()

    async def _read(self, manifest: Manifest, bodies: dict[str, bytes]) -> Snapshot:
        # Off the event loop: a hundred thousand rights take seconds to verify the first time.
        return await asyncio.to_thread(self._reader.read, manifest, bodies)

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._woken.wait()
            self._woken.clear()
            await self._try()

    async def _try(self) -> None:
        try:
            await self.refresh()
        except Problem as problem:
            log.warning("snapshot-not-refreshed", reason=problem.reason)
        except Exception:
            # Whoever follows goes on following, whatever it was: a task that ends unseen would starve the process.
            log.exception("snapshot-not-refreshed")

    async def _heard(self, _message: Msg) -> None:
        self._woken.set()

    async def _fetch_manifest(self) -> str:
        raw = await self._fetch("/snapshot", limit=MAX_MANIFEST_BYTES, seconds=MANIFEST_SECONDS)
        if not raw.isascii():
            raise refuse("the manifest is no compact JWS")
        return raw.decode("ascii")

    async def _fetch_part(self, part: Part) -> bytes:
        return await self._fetch(f"/snapshot/parts/{part.sha256}", limit=part.size, seconds=PART_SECONDS)

    async def _fetch(self, path: str, *, limit: int, seconds: float) -> bytes:
        body = bytearray()
        headers = {"accept-encoding": "identity"}  # what is sent is what is hashed, and a small body stays small
        try:
            async with asyncio.timeout(seconds), self._http.stream("GET", self._url + path, headers=headers) as answer:
                if answer.status_code != 200:
                    raise refuse(f"{path} answered {answer.status_code}")
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > limit:
                        raise refuse(f"{path} is larger than it may be")
        except (httpx2.HTTPError, TimeoutError, OSError) as error:
            raise refuse(f"{path}: {type(error).__name__}") from None
        return bytes(body)
