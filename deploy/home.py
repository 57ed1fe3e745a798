"""Where one local exchange keeps what it owns: secrets, public keys, logs, data. Outside the repository, private to its user."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audit.client import (
    YEARS_AHEAD,
    BodyKeys,
    EpochKeys,
    Group,
    KnownLog,
    KnownWitness,
    Policy,
    SignatureType,
    VerifierKey,
    heads_name,
    month_of,
    teller_name,
    year_of,
)
from departments.client import DEPARTMENTS, Cast
from deploy.process import write_private
from exchange.clock import Clock, SystemClock
from exchange.keys import SigningKey

INSTANCE, SANDBOX = "CN-YA", "CN-YA-TEST"
GATEWAYS = ("gateway-1", "gateway-2")
DELIVERER = "deliverer"
CONSUMER = f"{INSTANCE}/GOV/real-estate/transfer"
BANK = f"{INSTANCE}/COM/anju-bank/lending"
CHECKER = "checker"


def provider_subsystems(instance: str = INSTANCE) -> dict[str, str]:
    """Member code to the subsystem (slash form) under which that department provides."""
    return {member: f"{instance}/GOV/{member}/{sets[0].subsystem}" for member, sets in DEPARTMENTS.items()}


def key_owners(instance: str = INSTANCE) -> dict[str, str]:
    """File stem of each signing key to the owner it is registered for."""
    gateways = {gateway: gateway for gateway in (*GATEWAYS, DELIVERER)}
    consumers = {"transfer": translated(CONSUMER, instance), "bank": translated(BANK, instance)}
    return provider_subsystems(instance) | gateways | consumers | {"registry": "registry"}


def translated(identifier: str, instance: str) -> str:
    """The same member, system or service in another instance."""
    return f"{instance}/{identifier.partition('/')[2]}"


def default_home() -> Path:
    """`YITONG_HOME`, or the user's state directory."""
    named = os.environ.get("YITONG_HOME")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "yitong"


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of one local exchange."""

    root: Path
    instance: str = INSTANCE

    @property
    def sandbox(self) -> Home:
        """The home of the sandbox that belongs to this installation: an instance of its own, with nothing shared."""
        return Home(self.root / "sandbox", SANDBOX)

    @property
    def log_origin(self) -> str:
        """The origin line of this instance's log."""
        return f"yitong.{self.instance}/audit"

    @property
    def secrets(self) -> Path:
        """Private keys, passwords, seeds: mode 0600."""
        return self.root / "secrets"

    @property
    def trust(self) -> Path:
        """Public keys that others need."""
        return self.root / "trust"

    @property
    def body_keys(self) -> Path:
        """The audit readers' keys to the bodies of the log."""
        return self.secrets / "body-keys.json"

    @property
    def sealing_keys(self) -> Path:
        """Their public halves, which every writer of the log needs."""
        return self.trust / "sealing-keys.json"

    @property
    def logs(self) -> Path:
        """One file a component."""
        return self.root / "logs"

    @property
    def monitor_password(self) -> Path:
        """The password of the account with which the monitor reads the log."""
        return self.secrets / "monitor.password"

    @property
    def witness_policy(self) -> Path:
        """Who witnesses the log, where they are, and how many of them are enough (C2SP tlog-policy)."""
        return self.trust / "witnesses.policy"

    def witness_name(self, member: str) -> str:
        """Name of a department's witness key."""
        return f"yitong.{self.instance}/witness/{member}"

    def witness_key_file(self, member: str) -> Path:
        """The key with which a department cosigns checkpoints, and does nothing else."""
        return self.secrets / f"{member}-witness.pem"

    def write_witness_policy(self, audit_url: str, urls: Mapping[str, str]) -> None:
        """Every department with its address is a witness, and most of them are a quorum."""
        log = KnownLog(VerifierKey.of(self.log_origin, self.key("log")), f"{audit_url}/log")
        witnesses = tuple(
            KnownWitness(member, self._witness_vkey(member), f"{url}/witness") for member, url in sorted(urls.items())
        )
        most = Group("most", len(witnesses) // 2 + 1, tuple(witness.name for witness in witnesses))
        self.witness_policy.write_bytes(Policy((log,), witnesses, (most,), most.name).encode())

    def _witness_vkey(self, member: str) -> VerifierKey:
        return VerifierKey.of(
            self.witness_name(member), SigningKey.load(self.witness_key_file(member)), SignatureType.COSIGNATURE
        )

    def key_file(self, name: str) -> Path:
        """The signing key of a component or subsystem."""
        return self.secrets / f"{name}.pem"

    def key(self, name: str) -> SigningKey:
        """The same, loaded."""
        return SigningKey.load(self.key_file(name))

    def make_secrets(self, cast: Cast) -> None:
        """Make every secret that is not there yet, and write the public halves beside them."""
        for name in (*key_owners(self.instance), "identity", CHECKER):
            _make_key(self.key_file(name), "ES256")
        for name in ("log", "heads", "recount"):
            _make_key(self.key_file(name), "Ed25519")
        for member in DEPARTMENTS:
            _make_key(self.witness_key_file(member), "Ed25519")
        for member in DEPARTMENTS:
            _make_text(self.secrets / f"{member}.token.key", secrets.token_hex(32))
        _make_epoch_keys(self.secrets / "epoch-keys.json", SystemClock())
        if not self.body_keys.exists():
            BodyKeys.generate(month_of(SystemClock().now_ms())).save(self.body_keys)
        _make_text(self.secrets / f"{DELIVERER}.token.key", secrets.token_hex(32))
        _make_text(self.secrets / "outway.token", secrets.token_urlsafe(32))
        self.trust.mkdir(parents=True, exist_ok=True)
        BodyKeys.load(self.body_keys).public().save(self.sealing_keys)
        for name in ("registry", "identity", CHECKER):
            (self.trust / f"{name}.jwk.json").write_text(json.dumps(self.key(name).public_jwk), encoding="utf-8")
        (self.trust / "log.vkey").write_text(str(VerifierKey.of(self.log_origin, self.key("log"))), encoding="utf-8")
        self._write_statement_keys()
        self._make_accounts(cast)

    def _write_statement_keys(self) -> None:
        """Who signs, and who countersigns, how long somebody's list is."""
        signer = VerifierKey.of(heads_name(self.log_origin), self.key("heads"))
        teller = VerifierKey.of(teller_name(self.log_origin), self.key("recount"), SignatureType.COSIGNATURE)
        (self.trust / "heads.vkey").write_text(str(signer), encoding="utf-8")
        (self.trust / "recount.vkey").write_text(str(teller), encoding="utf-8")

    def _make_accounts(self, cast: Cast) -> None:
        """Add the development accounts that are not there yet; those that are keep their passwords."""
        path = self.secrets / "accounts.json"
        known = self.accounts() if path.exists() else {}
        missing = [row for row in _accounts(cast, self.instance) if row["account"] not in known]
        if missing:
            write_private(path, json.dumps([*known.values(), *missing], ensure_ascii=False, indent=1))
        _make_text(self.monitor_password, str(self.accounts()["monitor"]["password"]))

    def accounts(self) -> dict[str, dict[str, object]]:
        """The development accounts by name."""
        entries = json.loads((self.secrets / "accounts.json").read_text(encoding="utf-8"))
        return {entry["account"]: entry for entry in entries}


def _make_key(path: Path, alg: str) -> None:
    if not path.exists():
        SigningKey.generate(alg).save(path)


def _make_epoch_keys(path: Path, clock: Clock) -> None:
    """A key for this year and each of the years to come; those that are there stay."""
    year = year_of(clock.now_ms())
    held = EpochKeys.load(path) if path.exists() else None
    keys = (held or EpochKeys.generate(year)).with_years(year, year + YEARS_AHEAD)
    if keys is not held:
        keys.save(path)


def _make_text(path: Path, text: str) -> None:
    if not path.exists():
        write_private(path, text)


def _accounts(cast: Cast, instance: str) -> list[dict[str, object]]:
    """One development account for each role, and the citizens of the story."""
    real_estate, civil_affairs = f"{instance}/GOV/real-estate", f"{instance}/GOV/civil-affairs"
    rows: list[tuple[str, str, str | None, str | None, str]] = [
        ("officer", "officer", real_estate, None, "经办人员"),
        ("auditor", "auditor", None, None, "审计员"),
        ("monitor", "auditor", None, None, "监测程序"),
        # Sees what its department takes part in, and nothing else.
        ("provider-auditor", "auditor", f"{instance}/GOV/public-security", None, "提供方审计员"),
        ("operator", "operator", None, None, "运维员"),
        ("security", "security", None, None, "安全管理员"),
        ("registrar", "registrar", None, None, "共享主管部门"),
        ("reviewer", "registrar", None, None, "共享主管部门复核人员"),
        ("integrator", "integrator", real_estate, None, "对接人员"),
        # Of a department that is not there yet: whoever follows the tutorial brings it.
        ("newcomer", "integrator", civil_affairs, None, "民政局对接人员"),
        ("supervisor", "supervisor", None, None, "督办"),
        ("agent", "agent", None, cast.buying_firm.id, "企业经办人"),
        ("citizen", "citizen", None, cast.buyer.id, cast.buyer.name),
        ("guardian", "citizen", None, cast.guardian.id, cast.guardian.name),
        ("stranger", "citizen", None, cast.seller.id, cast.seller.name),
    ]
    return [
        {
            "account": account,
            "password": secrets.token_urlsafe(12),
            "roles": [role],
            "member": member,
            "subject": subject,
            "name": name,
        }
        for account, role, member, subject, name in rows
    ]
