"""A whole exchange on one machine: which processes there are, in which order they start, and what each is told.

Every component is an operating-system process of its own against a real PostgreSQL and a real nats-server. Between the
processes stand steps that run once: roles and migrations, the people of the district, keys, rights.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from departments.client import DEPARTMENTS, Cast, cast
from deploy import bootstrap
from deploy.home import CONSUMER, DELIVERER, GATEWAYS, INSTANCE, SANDBOX, Home, translated
from deploy.joining import Newcomers, newcomers_of
from deploy.nats.users import load_users, permissions_of
from deploy.postgres.roles import DATABASE, Database, department_schema, prepare_database
from deploy.postgres.sql import with_login
from deploy.process import LOOPBACK, free_port
from deploy.servers import NatsServer, Postgres
from deploy.supervisor import Component, Supervised, Supervisor
from exchange.migrate import migrate

PEOPLE, SEED = 1000, 20260417
FIRST_PORT = 8640
ROOT = Path(__file__).resolve().parent.parent
HTTP_COMPONENTS = (
    "identity",
    "registry",
    "audit",
    "integrator",
    *GATEWAYS,
    *DEPARTMENTS,
    "outway",
    DELIVERER,
    "recounter",
    "notary",
    "monitor",
)


@dataclass(slots=True)
class Step:
    """Something done once between two starts; to a supervisor it is a component that never dies."""

    name: str
    run: Callable[[], None]
    done: bool = False
    pid: int | None = None

    def is_running(self) -> bool:
        """Always: there is nothing to restart."""
        return True

    def start(self) -> None:
        """Do it, the first time."""
        if not self.done:
            self.run()
            self.done = True

    def stop(self) -> None:
        """Nothing to stop."""

    def signal(self, number: signal.Signals) -> None:
        """Nothing to signal."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where each HTTP component listens."""

    ports: Mapping[str, int]

    @classmethod
    def fixed(cls, first: int = FIRST_PORT) -> Addresses:
        """The same ports every time, for an exchange that people come back to."""
        return cls({name: first + offset for offset, name in enumerate(HTTP_COMPONENTS)})

    @classmethod
    def free(cls) -> Addresses:
        """Ports that nobody listens on now, for tests and demonstrations."""
        ports: dict[str, int] = {}
        while len(ports) < len(HTTP_COMPONENTS):
            port = free_port()
            if port not in ports.values():
                ports[HTTP_COMPONENTS[len(ports)]] = port
        return cls(ports)

    def url(self, name: str) -> str:
        """Base URL of a component."""
        return f"http://{LOOPBACK}:{self.ports[name]}"


@dataclass(slots=True)
class LocalExchange:
    """本地共享交换实例. Composes servers, steps and components below one home."""

    root: Path
    addresses: Addresses
    people: int = PEOPLE
    seed: int = SEED
    instance: str = INSTANCE
    say: Callable[[str], None] = lambda _line: None
    extra_env: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Component name to settings of its own, for tests."""
    home: Home = field(init=False)
    cast: Cast = field(init=False)
    postgres: Postgres = field(init=False)
    nats: NatsServer = field(init=False)
    supervisor: Supervisor = field(init=False)

    def __post_init__(self) -> None:
        """Make secrets and compose; nothing is started."""
        self.home = Home(self.root, self.instance)
        self.cast = cast(self.seed, self.people)
        self.home.make_secrets(self.cast)
        self.postgres = Postgres(self.root / "postgres")
        permissions = permissions_of(self.instance, newcomers_of(self.home))
        self.nats = NatsServer(self.root / "nats", load_users(self.home.secrets, permissions))
        witnesses = {member: self.addresses.url(member) for member in DEPARTMENTS}
        self.home.write_witness_policy(self.addresses.url("audit"), witnesses)
        self.supervisor = Supervisor(self.root, self._plan(), self.say)

    def start(self) -> None:
        """Start everything. Raises StartError after stopping what was started."""
        self.supervisor.start()

    def stop(self) -> None:
        """Stop everything, the last started first."""
        self.supervisor.stop()

    def database(self) -> Database:
        """The exchange's database on the server that runs now."""
        return Database(self.postgres.superuser_url, DATABASE, self.home.secrets)

    def urls(self) -> dict[str, str]:
        """Where everything is, for whoever comes later: components, and the database as an auditor sees it."""
        urls = {name: self.addresses.url(name) for name in HTTP_COMPONENTS}
        return urls | {"database": self._database("yitong_auditor")["YITONG_DATABASE_URL"]}

    @property
    def gateways(self) -> list[str]:
        """Base URLs of the gateways."""
        return [self.addresses.url(name) for name in GATEWAYS]

    def _plan(self) -> list[list[Supervised]]:
        """The order in which things need each other; what stands in one line is started together."""
        component = self._component
        departments = [component(name, "departments.app", partial(self._department, name)) for name in DEPARTMENTS]
        gateways = [component(name, "gateway.app", partial(self._gateway, name)) for name in GATEWAYS]
        return [
            [self.postgres, self.nats],
            [Step("database", self._prepare_database)],
            [Newcomers(self.home, self.nats, self.database, self._newcomer)],
            [
                component("identity", "identity.app", self._identity),
                component("integrator", "audit.integrator_app", self._integrator),
            ],
            [Step("keys", self._enrol_keys)],
            [component("registry", "registry.app", self._registry), component("audit", "audit.app", self._audit)],
            [component("recounter", "audit.recount_app", self._recounter)],
            [Step("rights", self._post_rights)],
            [Step("addresses", self._leave_word)],
            [
                *(*departments, *gateways),
                component("outway", "gateway.outway_app", self._outway),
                component(DELIVERER, "gateway.delivery.app", self._deliverer),
                component("notary", "audit.notary_app", self._notary),
                component("monitor", "audit.monitor_app", self._monitor),
            ],
        ]

    # Steps

    def _prepare_database(self) -> None:
        database = prepare_database(self.postgres.superuser_url, self.home.secrets)
        for package in ("audit", "identity", "registry"):
            migrate(package, database.url(f"yitong_{package}"), package)
        migrate("gateway.delivery", database.url("yitong_deliverer"), "delivery")
        for member in DEPARTMENTS:
            schema = department_schema(member)
            migrate(f"departments.{schema}", database.url(f"yitong_{schema}"), schema)
        bootstrap.load_people(database, self.seed, self.people)

    def _leave_word(self) -> None:
        (self.root / "addresses.json").write_text(json.dumps(self.urls(), indent=1), encoding="utf-8")

    def _enrol_keys(self) -> None:
        bootstrap.enrol_keys(self.home, self.addresses.url("identity"))

    def _post_rights(self) -> None:
        bootstrap.post_rights(self.home, self.addresses.url("identity"), self.addresses.url("registry"))

    # Settings of each component; read when it starts, because servers get their ports only then.

    def _component(self, name: str, module: str, settings: Callable[[], Mapping[str, str]]) -> Component:
        return _Late(
            name=name,
            argv=[sys.executable, "-m", module],
            log=self.home.logs / f"{name}.log",
            cwd=ROOT,
            ready_url=f"{self.addresses.url(name)}/health/ready",
            settings=lambda: {**self._common(name), **settings(), **self.extra_env.get(name, {})},
        )

    def _common(self, name: str) -> dict[str, str]:
        return {
            "YITONG_INSTANCE": self.instance,
            "YITONG_ENVIRONMENT": "development",
            "YITONG_HOST": LOOPBACK,
            "YITONG_PORT": str(self.addresses.ports[name]),
            "PYTHONDONTWRITEBYTECODE": "",
        }

    def _database(self, role: str) -> dict[str, str]:
        url = with_login(self.postgres.superuser_url, user=role, password="", database=DATABASE).replace(f"{role}:@", f"{role}@")
        return {"YITONG_DATABASE_URL": url, "YITONG_DATABASE_PASSWORD_FILE": str(self.home.secrets / f"{role}.password")}

    def _bus(self, name: str) -> dict[str, str]:
        return {"YITONG_NATS_URL": self.nats.url, "YITONG_NATS_SEED_FILE": str(self.home.secrets / f"{name}.nkey")}

    def _anchor(self) -> dict[str, str]:
        return {
            "YITONG_REGISTRY_URL": self.addresses.url("registry"),
            "YITONG_REGISTRY_KEY_FILE": str(self.home.trust / "registry.jwk.json"),
        }

    def _tokens(self) -> dict[str, str]:
        issuer = f"{self.addresses.url('identity')}/oidc"
        return {"YITONG_OIDC_ISSUER": issuer, "YITONG_OIDC_JWKS_URL": f"{issuer}/jwks"}

    def _identity(self) -> dict[str, str]:
        return {
            **self._database("yitong_identity"),
            **self._bus("identity"),
            **self._tokens(),
            "YITONG_SIGNING_KEY_FILE": str(self.home.key_file("identity")),
            "YITONG_SEALING_KEYS_FILE": str(self.home.sealing_keys),
            "YITONG_CA_DIRECTORY": str(self.home.secrets / "ca"),
            "YITONG_TOKEN_KEY_FILE": str(self.home.key_file("issuer")),
            "YITONG_ACCOUNTS_FILE": str(self.home.secrets / "accounts.json"),
        }

    def _registry(self) -> dict[str, str]:
        return {
            **self._database("yitong_registry"),
            **self._bus("registry"),
            **self._tokens(),
            "YITONG_SIGNING_KEY_FILE": str(self.home.key_file("registry")),
            "YITONG_SEALING_KEYS_FILE": str(self.home.sealing_keys),
            "YITONG_IDENTITY_URL": self.addresses.url("identity"),
            "YITONG_AUDIT_URL": self.addresses.url("audit"),
            "YITONG_IDENTITY_KEY_FILE": str(self.home.trust / "identity.jwk.json"),
            "YITONG_BOOTSTRAP_FILE": str(bootstrap.write_bootstrap(self.home)),
            "YITONG_LOG_ORIGIN": self.home.log_origin,
            "YITONG_LOG_VKEY_FILE": str(self.home.trust / "log.vkey"),
            "YITONG_CONFORMANCE_KEY_FILE": str(self.home.trust / "checker.jwk.json"),
            "YITONG_CONFORMANCE_REQUIRED": str(self.instance != SANDBOX).lower(),
            "YITONG_CATALOGUE_REQUIRED": str(self.instance != SANDBOX).lower(),
        }

    def _integrator(self) -> dict[str, str]:
        return {
            **self._database("yitong_integrator"),
            **self._bus("integrator"),
            "YITONG_LOG_KEY_FILE": str(self.home.key_file("log")),
            "YITONG_LOG_ORIGIN": self.home.log_origin,
        }

    def _audit(self) -> dict[str, str]:
        return {
            **self._database("yitong_auditor"),
            **self._tokens(),
            "YITONG_EPOCH_KEY_FILE": str(self.home.secrets / "epoch-keys.json"),
            "YITONG_BODY_KEYS_FILE": str(self.home.body_keys),
            "YITONG_LOG_ORIGIN": self.home.log_origin,
            "YITONG_HEADS_KEY_FILE": str(self.home.key_file("heads")),
            "YITONG_REGISTRY_KEY_FILE": str(self.home.trust / "registry.jwk.json"),
            "YITONG_RECOUNTER_URL": self.addresses.url("recounter"),
            "YITONG_IDENTITY_URL": self.addresses.url("identity"),
        }

    def _recounter(self) -> dict[str, str]:
        return {
            **self._database("yitong_recounter"),
            "YITONG_LOG_ORIGIN": self.home.log_origin,
            "YITONG_HEADS_VKEY_FILE": str(self.home.trust / "heads.vkey"),
            "YITONG_RECOUNT_KEY_FILE": str(self.home.key_file("recount")),
        }

    def _notary(self) -> dict[str, str]:
        return {**self._database("yitong_notary"), "YITONG_WITNESS_POLICY_FILE": str(self.home.witness_policy)}

    def _witnesses(self) -> dict[str, str]:
        return {"YITONG_AUDIT_URL": self.addresses.url("audit"), "YITONG_WITNESS_POLICY_FILE": str(self.home.witness_policy)}

    def _monitor(self) -> dict[str, str]:
        # In a real installation somebody else runs it, on a machine of their own.
        return {
            "YITONG_AUDIT_URL": self.addresses.url("audit"),
            "YITONG_LOG_VKEY_FILE": str(self.home.trust / "log.vkey"),
            "YITONG_MONITOR_MEMORY_FILE": str(self.home.root / "monitor.json"),
            "YITONG_TOKEN_URL": f"{self.addresses.url('identity')}/oidc/token",
            "YITONG_ACCOUNT": "monitor",
            "YITONG_ACCOUNT_PASSWORD_FILE": str(self.home.monitor_password),
            # The departments need the processors of this one machine more.
            "YITONG_PIECES_A_ROUND": "8",
        }

    def _department(self, member: str) -> dict[str, str]:
        return {
            "YITONG_WITNESS_POLICY_FILE": str(self.home.witness_policy),
            "YITONG_WITNESS_NAME": self.home.witness_name(member),
            "YITONG_WITNESS_KEY_FILE": str(self.home.witness_key_file(member)),
            "YITONG_WITNESS_DIRECTORY": str(self.home.root / "witnesses" / member),
            **self._provider(member),
        }

    def _provider(self, member: str) -> dict[str, str]:
        return {
            **self._database(f"yitong_{department_schema(member)}"),
            **self._bus(member),
            **self._anchor(),
            "YITONG_DEPARTMENT": member,
            "YITONG_SIGNING_KEY_FILE": str(self.home.key_file(member)),
            "YITONG_TOKEN_KEY_FILE": str(self.home.secrets / f"{member}.token.key"),
        }

    def _newcomer(self, member: str) -> dict[str, str]:
        return {"YITONG_INSTANCE": self.instance, "YITONG_HOST": LOOPBACK, **self._provider(member)}

    def _gateway(self, gateway: str) -> dict[str, str]:
        return {
            **self._database("yitong_gateway"),
            **self._bus(gateway),
            **self._anchor(),
            **self._witnesses(),
            "YITONG_GATEWAY_ID": gateway,
            "YITONG_SIGNING_KEY_FILE": str(self.home.key_file(gateway)),
            "YITONG_EPOCH_KEYS_FILE": str(self.home.secrets / "epoch-keys.json"),
            "YITONG_SEALING_KEYS_FILE": str(self.home.sealing_keys),
            "YITONG_IDENTITY_URL": self.addresses.url("identity"),
        }

    def _deliverer(self) -> dict[str, str]:
        return {
            **self._database("yitong_deliverer"),
            **self._bus(DELIVERER),
            **self._anchor(),
            **self._tokens(),
            **self._witnesses(),
            "YITONG_SIGNING_KEY_FILE": str(self.home.key_file(DELIVERER)),
            "YITONG_TOKEN_KEY_FILE": str(self.home.secrets / f"{DELIVERER}.token.key"),
            "YITONG_EPOCH_KEYS_FILE": str(self.home.secrets / "epoch-keys.json"),
            "YITONG_SEALING_KEYS_FILE": str(self.home.sealing_keys),
            "YITONG_IDENTITY_URL": self.addresses.url("identity"),
            # Subscribers' systems run on this machine too.
            "YITONG_WEBHOOK_NETWORKS": "127.0.0.0/8",
            "YITONG_WEBHOOK_ALLOW_LOOPBACK": "true",
            "YITONG_WEBHOOK_ALLOW_HTTP": "true",
        }

    def _outway(self) -> dict[str, str]:
        systems = self.home.root / "outway-systems.json"
        consumer = translated(CONSUMER, self.instance)
        entry = {
            "name": "transfer",
            "token_file": str(self.home.secrets / "outway.token"),
            "subsystem": consumer,
            "key_file": str(self.home.key_file("transfer")),
            "services": bootstrap.services_of(consumer),
            "purpose": "real-estate-transfer",
        }
        systems.write_text(json.dumps([entry]), encoding="utf-8")
        return {
            **self._anchor(),
            "YITONG_GATEWAY_URLS": ",".join(self.gateways),
            "YITONG_DELIVERER_URL": self.addresses.url(DELIVERER),
            "YITONG_SYSTEMS_FILE": str(systems),
        }


@dataclass(slots=True)
class _Late(Component):
    """A component whose settings are asked for at each start."""

    settings: Callable[[], Mapping[str, str]] = dict

    def start(self) -> None:
        self.env = self.settings()
        Component.start(self)
