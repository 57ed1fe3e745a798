"""Where one local exchange keeps what it owns: secrets, public keys, logs, data. Outside the repository, private to its user."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from audit.client import BodyKeys, EpochKeys, SignatureType, VerifierKey, heads_name, month_of, teller_name
from departments.client import DEPARTMENTS, Cast
from deploy.process import write_private
from exchange.clock import SystemClock
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
            _make_text(self.secrets / f"{member}.token.key", secrets.token_hex(32))
        if not (self.secrets / "epoch-keys.json").exists():
            EpochKeys.generate().save(self.secrets / "epoch-keys.json")
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

    def accounts(self) -> dict[str, dict[str, object]]:
        """The development accounts by name."""
        entries = json.loads((self.secrets / "accounts.json").read_text(encoding="utf-8"))
        return {entry["account"]: entry for entry in entries}


def _make_key(path: Path, alg: str) -> None:
    if not path.exists():
        SigningKey.generate(alg).save(path)


def _make_text(path: Path, text: str) -> None:
    if not path.exists():
        write_private(path, text)


def _accounts(cast: Cast, instance: str) -> list[dict[str, object]]:
    """One development account for each role, and the citizens of the story."""
    real_estate, civil_affairs = f"{instance}/GOV/real-estate", f"{instance}/GOV/civil-affairs"
    rows: list[tuple[str, str, str | None, str | None, str]] = [
        ("officer", "officer", real_estate, None, "经办人员"),
        ("auditor", "auditor", None, None, "审计员"),
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
