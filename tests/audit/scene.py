"""A log with real entries in it: gateways that release and refuse, owners who withdraw, an integrator that signs."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx2
from fastapi import FastAPI

from audit.api_config import ApiSettings
from audit.app import build
from audit.append import EntryDesk
from audit.auditor_client import AuditClient
from audit.entries import (
    blinded,
    commit_body,
    make_deny_leaf,
    make_fence_leaf,
    make_lift_leaf,
    make_release_leaf,
    new_blind,
    plain_body,
)
from audit.epoch import EpochKeys
from audit.fence import FenceDesk
from audit.head_memory import HeadMemory
from audit.heads import heads_name
from audit.indexing import SubjectIndex
from audit.model import Answer, Content, DailyQuota, EntryKind, EntryRow, FenceRow, GroundKind, Grounds, Heading, ReleaseRow
from audit.note import VerifierKey
from audit.release import ReleaseDesk
from audit.sequence import Integrator
from deploy.postgres.roles import Database
from exchange.canonical import b64url
from exchange.clock import Clock, ManualClock
from exchange.jws import sign_compact
from exchange.keys import SigningKey
from exchange.tokens import ACCESS_TOKEN_TYPE, TokenVerifier
from tests.audit.reference import LOG, LOG_KEY, ORIGIN
from tests.support.audit_rows import SERVICE, connected, now_ms, opened
from tests.support.sealing import SEALER, write_body_keys

CONSUMER: Final = "CN-YA/GOV/real-estate/transfer"
BANK: Final = "CN-YA/COM/anju-bank/lending"
PROVIDER: Final = SERVICE.rpartition("/")[0]
TAX_SERVICE: Final = "CN-YA/GOV/tax/taxation/deed-tax"
PURPOSE: Final = "real-estate-transfer"
RIGHT: Final = "sha256:" + "0" * 64
BY_STATUTE: Final = "不动产登记暂行条例 第二十四条"
ALICE, BOB = "11010519491231002X", "440524188001010014"
OFFICER: Final = "officer-007"
CASE: Final = "2026-0417"
ISSUER: Final = "http://issuer.test/oidc"
AUDIT_URL: Final = "http://audit.test"
HEADS_KEY: Final = SigningKey.generate("Ed25519")
REGISTRY_KEY: Final = SigningKey.generate()
HEADS: Final = VerifierKey.of(heads_name(ORIGIN), HEADS_KEY)
REASON: Final = "年度监督检查"


@dataclass(slots=True)
class Scene:
    """日志场景. What a test needs to write a log and read it again."""

    database: Database
    keys: EpochKeys
    gateway: ReleaseDesk
    denials: EntryDesk
    identity: FenceDesk
    registry: FenceDesk
    memory: HeadMemory
    vkey: VerifierKey = LOG

    async def release(
        self,
        subject: str = ALICE,
        *,
        officer: str = OFFICER,
        case: str = CASE,
        consumer: str = CONSUMER,
        service: str = SERVICE,
        purpose: str = PURPOSE,
        consent: str | None = None,
        at_ms: int | None = None,
        sd_hash: str | None = None,
        hidden_until_ms: int | None = None,
    ) -> int:
        """Place a release and return its serial."""
        row = self.release_row(
            subject,
            officer=officer,
            case=case,
            consumer=consumer,
            service=service,
            purpose=purpose,
            consent=consent,
            at_ms=at_ms or now_ms(),
            sd_hash=sd_hash,
            hidden_until_ms=hidden_until_ms,
        )
        verdict = await self.gateway.place(row)
        assert verdict.answer is Answer.RELEASED
        assert verdict.serial is not None
        return verdict.serial

    def release_row(
        self,
        subject: str,
        *,
        officer: str = OFFICER,
        case: str = CASE,
        consumer: str = CONSUMER,
        service: str = SERVICE,
        purpose: str = PURPOSE,
        consent: str | None = None,
        by_consent: bool = True,
        at_ms: int,
        sd_hash: str | None = None,
        hidden_until_ms: int | None = None,
    ) -> ReleaseRow:
        """A release as a gateway writes it, with leaf, body and tokens; `by_consent` False: a consent named without need."""
        by_consent = by_consent and consent is not None
        req, req_blind, consent_blind = secrets.token_bytes(32), new_blind(), new_blind()
        rid = self.keys.rid(consumer, secrets.token_hex(8))
        members: dict[str, Any] = {"subject": subject, "officer": officer, "case": case, "req_blind": b64url(req_blind)}
        if consent is not None:
            members |= {"consent": consent, "consent_blind": b64url(consent_blind)}
        provider = service.rpartition("/")[0]
        grounds = Grounds(
            consumer_member=consumer.rpartition("/")[0],
            consumer_subsystem=consumer,
            consumer_key="consumer-kid",
            provider_member=provider.rpartition("/")[0],
            provider_subsystem=provider,
            provider_key="provider-kid",
            service_version=f"{service}@1",
            right_id=RIGHT,
            purpose=purpose,
            gateway="gateway-1",
            consent=consent if by_consent else None,
            basis_is_consent=by_consent,
            consent_max_uses=None,
            snapshot_version=1000,
            not_after_ms=now_ms() + 3_600_000,
        )

        def leaf(commitment: str) -> bytes:
            return make_release_leaf(
                at_ms=at_ms,
                gateway="gateway-1",
                consumer=consumer,
                consumer_key="consumer-kid",
                provider=provider,
                provider_key="provider-kid",
                service=service,
                schema=1,
                right=RIGHT,
                purpose=purpose,
                legal_basis="consent" if by_consent else BY_STATUTE,
                snapshot=1000,
                full=["name"],
                masked=["address"],
                facts=[],
                withheld={},
                sd_hash=sd_hash or b64url(secrets.token_bytes(32)),
                not_after_ms=grounds.not_after_ms,
                rid=rid,
                consent=None if consent is None else blinded(consent.encode(), consent_blind),
                req=blinded(req, req_blind),
                body_commit=commitment,
                hidden_until_ms=hidden_until_ms,
            )

        content = self._content(leaf, members, at_ms, subject=subject, officer=officer, case=case)
        quota = DailyQuota(1_000_000, 1_000_000, self.keys.quota_token(RIGHT, subject))
        return ReleaseRow(grounds, service, rid, req, at_ms, content, quota)

    async def deny(
        self, code: str = "right-missing", *, subject: str = ALICE, consumer: str = CONSUMER, at_ms: int | None = None
    ) -> int:
        """Record a refusal and return its serial."""
        at = at_ms or now_ms()
        rid = self.keys.rid(consumer, secrets.token_hex(8))

        def leaf(commitment: str) -> bytes:
            return make_deny_leaf(
                at_ms=at,
                gateway="gateway-2",
                code=code,
                body_commit=commitment,
                consumer=consumer,
                provider=PROVIDER,
                service=SERVICE,
                purpose=PURPOSE,
                rid=rid,
            )

        content = self._content(leaf, {"subject": subject, "officer": OFFICER}, at, subject=subject, officer=OFFICER)
        heading = Heading(EntryKind.DENY, at, "gateway-2", consumer, PROVIDER, SERVICE, PURPOSE, code)
        return await self.denials.append(EntryRow(heading, content, rid))

    async def withdraw(self, consent: str) -> int:
        """Withdraw a consent; the serial of the entry."""
        return (await self.identity.fence(self.fence_row(GroundKind.CONSENT, consent))).serial

    async def fence(self, kind: GroundKind, ground: str) -> int:
        """Withdraw something that is the registry's; the serial of the entry."""
        return (await self.registry.fence(self.fence_row(kind, ground))).serial

    async def lift(self, kind: GroundKind, ground: str, floor: int = 1) -> int:
        """End that withdrawal; the serial of the entry."""
        at_ms = now_ms()

        def leaf(commitment: str) -> bytes:
            return make_lift_leaf(at_ms=at_ms, ground_kind=kind, ground=ground, cause="test", floor=floor, body_commit=commitment)

        row = FenceRow(kind, ground, "test", at_ms, self._content(leaf, {"by": "registrar"}, at_ms))
        serial = await self.registry.lift(row, floor=floor)
        assert serial is not None
        return serial

    def fence_row(self, kind: GroundKind, ground: str) -> FenceRow:
        """A withdrawal as its owner writes it."""
        at_ms, blind = now_ms(), new_blind()
        named = blinded(ground.encode(), blind) if kind is GroundKind.CONSENT else ground
        members = {"ground": ground, "ground_blind": b64url(blind)} if kind is GroundKind.CONSENT else {"by": "registrar"}

        def leaf(commitment: str) -> bytes:
            return make_fence_leaf(at_ms=at_ms, ground_kind=kind, ground=named, cause="test", body_commit=commitment)

        return FenceRow(kind, ground, "test", at_ms, self._content(leaf, members, at_ms))

    def _content(self, leaf: Callable[[str], bytes], members: Mapping[str, Any], at_ms: int, **named: str) -> Content:
        body, blind = plain_body(members), new_blind()
        return Content(leaf(commit_body(body, blind)), body, blind, self.keys.tokens(at_ms, **named) if named else None)

    async def integrate(self) -> None:
        """Give every entry its place, and sign a checkpoint."""
        async with connected(self.database, "yitong_integrator") as connection:
            integrator = Integrator(connection, LOG_KEY, ORIGIN, self.memory, ManualClock(now_ms() / 1000))
            assert await integrator.take_lead()
            while await integrator.step() is not None:
                pass

    async def number(self, clock: Clock | None = None) -> None:
        """Give every entry its place, and every entry about somebody its number in that person's list."""
        await self.integrate()
        async with connected(self.database, "yitong_integrator") as connection:
            index = SubjectIndex(connection, clock or ManualClock(now_ms() / 1000))
            await index.step()
            await index.reveal()
            await self.integrate()
            await index.step()
        await self.integrate()

    async def as_owner(self, *statements: str) -> None:
        """What a superuser who knows all about triggers could do to the tables."""
        async with connected(self.database) as connection:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                status = await connection.execute(statement)
                assert not status.endswith(" 0"), statement

    async def index_of(self, serial: int) -> int:
        """The place of an entry in the tree."""
        async with connected(self.database) as connection:
            index: int = await connection.fetchval("SELECT tree_index FROM audit.sequenced WHERE serial = $1", serial)
            return index

    async def count(self, kind: str) -> int:
        """How many entries of a kind there are."""
        async with connected(self.database) as connection:
            counted: int = await connection.fetchval("SELECT count(*) FROM audit.entry WHERE kind = $1", kind)
            return counted


@asynccontextmanager
async def open_scene(database: Database, directory: Path, keys: EpochKeys | None = None) -> AsyncIterator[Scene]:
    """A scene on a database, with desks for everybody."""
    scene = Scene(
        database,
        keys or EpochKeys.generate(),
        ReleaseDesk(database.url("yitong_gateway"), SEALER, connections=1),
        EntryDesk(database.url("yitong_gateway"), SEALER),
        FenceDesk(database.url("yitong_identity"), SEALER),
        FenceDesk(database.url("yitong_registry"), SEALER),
        HeadMemory(directory / "head.json"),
    )
    async with opened(scene.gateway, scene.denials, scene.identity, scene.registry):
        yield scene


# --- The audit over HTTP ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ReadingSide:
    """查阅端. The audit's app as it is composed in production, in this process, and log-ins for it."""

    app: FastAPI
    http: httpx2.AsyncClient
    clock: ManualClock
    issuer_key: SigningKey

    def token(self, *roles: str, account: str = "auditor-1", **more: str) -> str:
        """An access token as the issuer gives it."""
        now = int(self.clock.now())
        claims = {"iss": ISSUER, "aud": "yitong", "sub": account, "roles": list(roles), "iat": now, "exp": now + 600, "acr": "2"}
        claims |= more
        return sign_compact(self.issuer_key, ACCESS_TOKEN_TYPE, claims)

    def client(self, *roles: str, account: str = "auditor-1", **more: str) -> AuditClient:
        """A client with such a token, or without any if there are no roles."""
        return AuditClient(AUDIT_URL, self.http, (lambda: self.token(*roles, account=account, **more)) if roles else None)


@asynccontextmanager
async def open_reading_side(scene: Scene, directory: Path, recounter: str | None = None) -> AsyncIterator[ReadingSide]:
    """The app over ASGI; only the issuer is another than in production."""
    clock, issuer_key = ManualClock(now_ms() / 1000), SigningKey.generate()
    app = build(reading_settings(scene, directory, recounter=recounter), clock)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport) as http, httpx2.AsyncClient(transport=_issuer(issuer_key)) as issuer:
            app.state.tokens = TokenVerifier(
                issuer=ISSUER, audience="yitong", jwks_url=f"{ISSUER}/jwks", clock=clock, client=issuer
            )
            yield ReadingSide(app, http, clock, issuer_key)


def reading_settings(scene: Scene, directory: Path, port: int = 0, recounter: str | None = None) -> ApiSettings:
    """Settings for the audit's HTTP process on the scene's database."""
    key_file = directory / "epoch-keys.json"
    scene.keys.save(key_file)
    return ApiSettings(
        port=port,
        database_url=scene.database.url("yitong_auditor"),
        oidc_issuer=ISSUER,
        oidc_jwks_url=f"{ISSUER}/jwks",
        epoch_key_file=key_file,
        body_keys_file=write_body_keys(directory),
        log_origin=ORIGIN,
        heads_key_file=save_key(HEADS_KEY, directory / "heads.pem"),
        recounter_url=recounter,
        registry_key_file=_save_public(REGISTRY_KEY, directory / "registry.jwk.json"),
    )


def _save_public(key: SigningKey, path: Path) -> Path:
    path.write_text(json.dumps(key.public_jwk), encoding="utf-8")
    return path


def save_key(key: SigningKey, path: Path) -> Path:
    """A key as a file, for a process."""
    if not path.exists():
        key.save(path)
    return path


def _issuer(key: SigningKey) -> httpx2.ASGITransport:
    app = FastAPI()

    @app.get("/oidc/jwks")
    async def jwks() -> dict[str, Any]:
        return {"keys": [key.public_jwk]}

    return httpx2.ASGITransport(app=app)


def changed(row: ReleaseRow, **grounds: Any) -> ReleaseRow:
    """The row as it would be for the database, standing on other grounds than its leaf says."""
    return replace(row, grounds=replace(row.grounds, **grounds))
