"""A small registry on paper: members, a data set, keys and signed rights, from which tests make snapshots without any server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exchange.canonical import canonical
from exchange.keys import SigningKey
from registry.model import (
    FactEntry,
    Gateway,
    ItemEntry,
    KeyEntry,
    Member,
    Purpose,
    ServiceEntry,
    SharingClass,
    SubjectKind,
    Subsystem,
)
from registry.reading import Snapshot, SnapshotReader
from registry.rights import Surroundings, sign_right
from registry.snapshot import (
    AUTHORITIES,
    GATEWAYS,
    LIFE_SECONDS,
    MEMBERS,
    PURPOSES,
    Authorities,
    Manifest,
    authorities_part,
    gateways_part,
    members_part,
    part_of,
    provider_part,
    provider_part_name,
    purposes_part,
    right_line,
    sign_manifest,
)

NOW = 1_790_000_000
INSTANCE = "CN-YA"
PROVIDER_MEMBER = f"{INSTANCE}/GOV/social-security"
PROVIDER = f"{PROVIDER_MEMBER}/insurance"
SERVICE = f"{PROVIDER}/contributions"
CONSUMER_MEMBER = f"{INSTANCE}/GOV/real-estate"
CONSUMER = f"{CONSUMER_MEMBER}/transfer"
BANK = f"{INSTANCE}/COM/anju-bank/lending"
PROVIDER_PART = provider_part_name(PROVIDER_MEMBER)
PURPOSE = "real-estate-transfer"

members = [
    Member(PROVIDER_MEMBER, "社保中心", "Social security"),
    Member(CONSUMER_MEMBER, "登记中心", "Real estate"),
    Member(f"{INSTANCE}/COM/anju-bank", "安居银行", "Anju Bank", restricted=True),
]
subsystems = [
    Subsystem(PROVIDER, "社保", "Insurance"),
    Subsystem(CONSUMER, "转移登记", "Transfer"),
    Subsystem(BANK, "信贷", "Lending"),
]
gateways = [Gateway("gateway-1", "一号网关", "Gateway 1")]
purposes = [Purpose(PURPOSE, "转移登记", "Transfer"), Purpose("loan", "贷款", "Loan")]
service = ServiceEntry(
    id=SERVICE,
    schema_version=1,
    title_zh="缴费记录",
    title_en="Contributions",
    subject_kind=SubjectKind.PERSON,
    sharing_class=SharingClass.CONDITIONAL,
    sharing_terms="依法履职所必需",
    items={
        "months": ItemEntry("缴费月份", "Months", 3, "count", "social-security", ranged=True),
        "account": ItemEntry("账号", "Account", 3, None, "social-security"),
    },
    fact_entries={
        "contributed_months_at_least": FactEntry("缴费满", "Contributed", "n", (12, 24, 60)),
        "is_insured": FactEntry("在保", "Insured", None, ()),
    },
    events=("insurance.enrolled",),
)


def right_document(**changed: Any) -> dict[str, Any]:
    """A document that the catalogue above allows, with some members changed; those of `conditions` by their own names."""
    conditions: dict[str, Any] = {
        "hours": None,
        "officer_required": True,
        "case_required": True,
        "subjects_a_day": 100,
        "requests_a_day": 1000,
        "events": "none",
    }
    value: dict[str, Any] = {
        "v": 1,
        "consumer": CONSUMER,
        "service": SERVICE,
        "purposes": [PURPOSE],
        "legal_basis": "某条例第三条",
        "items": {"months": "masked"},
        "facts": {"contributed_months_at_least": {"n": [12, 24]}, "is_insured": {}},
        "conditions": conditions | {name: value for name, value in changed.items() if name in {*conditions, "hidden_days"}},
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2031-01-01T00:00:00Z",
        "application": "YA-2026-0001",
    }
    return value | {name: value for name, value in changed.items() if name not in {*conditions, "hidden_days"}}


def surroundings(**changed: Any) -> Surroundings:
    """What the registry knows around the document above."""
    known: dict[str, Any] = {
        "service": service,
        "consumer": subsystems[1],
        "consumer_member": members[1],
        "provider": subsystems[0],
        "provider_member": members[0],
        "purposes": {purpose.id: purpose for purpose in purposes},
        "now": NOW,
    }
    return Surroundings(**known | changed)


@dataclass(slots=True)
class Paper:
    """The keys of everybody, and what stands in the parts; change what you like and take a snapshot."""

    anchor: SigningKey = field(default_factory=SigningKey.generate)
    keys: dict[str, SigningKey] = field(
        default_factory=lambda: {owner: SigningKey.generate() for owner in (PROVIDER, CONSUMER, BANK, "gateway-1", "identity")}
    )
    entries: dict[str, KeyEntry] = field(default_factory=dict)
    lines: list[bytes] = field(default_factory=list)
    parts: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for owner in self.keys:
            self.register_key(owner)
        self.lines.append(self.line())
        self.write()

    def register_key(self, holder: str, **changed: Any) -> None:
        """Put the key of a holder into the list, or change its entry."""
        use = {"gateway-1": "gateway", "identity": "identity"}.get(holder, "subsystem")
        key = self.keys[holder].public
        known: dict[str, Any] = {
            "kid": key.kid,
            "owner": holder,
            "use": use,
            "key": key,
            "valid_from": NOW - 1000,
            "valid_until": NOW + 86_400,
            "revoked_at": None,
        }
        self.entries[holder] = KeyEntry(**known | changed)

    def line(self, *, grant_by: str = PROVIDER, acceptance_by: str | None = None, at: int = NOW - 10, **changed: Any) -> bytes:
        """A right's line, signed by the two parties of its document or by somebody else."""
        value = right_document(**changed)
        raw = canonical(value)
        grant = sign_right(value, self.keys[grant_by])
        acceptance = sign_right(value, self.keys[acceptance_by or value["consumer"]])
        return right_line(raw, grant, acceptance, at)

    def write(self) -> None:
        """Write the parts from the lists."""
        entries = list(self.entries.values())
        self.parts = {
            AUTHORITIES: authorities_part(
                Authorities(self.keys["identity"].public.jwk, "log.test/a", "log.test/a+00000000+AAAA")
            ),
            MEMBERS: members_part(members, subsystems, entries),
            GATEWAYS: gateways_part(gateways, entries),
            PURPOSES: purposes_part(purposes),
            PROVIDER_PART: provider_part(PROVIDER_MEMBER, [service], self.lines),
        }

    def manifest(self, version: int = 1, *, at: int = NOW, **changed: Any) -> Manifest:
        """The manifest of the parts as they stand."""
        known: dict[str, Any] = {
            "instance": INSTANCE,
            "version": version,
            "issued_at": at,
            "expires_at": at + LIFE_SECONDS,
            "floor": 0,
            "parts": tuple(part_of(name, body) for name, body in sorted(self.parts.items())),
        }
        return Manifest(**known | changed)

    def token(self, version: int = 1, *, key: SigningKey | None = None, **changed: Any) -> str:
        """The same, signed."""
        return sign_manifest(key or self.anchor, self.manifest(version, **changed))

    def reader(self, **more: Any) -> SnapshotReader:
        """A reader that trusts this paper's anchor."""
        return SnapshotReader(self.anchor.public, **more)

    def read(
        self, reader: SnapshotReader | None = None, version: int = 1, *, bodies: Mapping[str, bytes] | None = None
    ) -> Snapshot:
        """The snapshot of the parts as they stand, through a reader."""
        reader = reader or self.reader()
        return reader.read(reader.manifest(self.token(version), now=NOW), self.parts if bodies is None else bodies)
