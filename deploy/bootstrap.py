"""What is done once before a local exchange can work: people into the registers, keys enrolled, rights signed by both sides.

In a real installation each member does its part with its own key; here one launcher holds all keys, and signs for each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from departments.client import DEPARTMENTS, is_loaded, load
from deploy.home import INSTANCE, Home, key_owners
from deploy.postgres.roles import Database, department_schema
from deploy.postgres.sql import blocking
from exchange.clock import SystemClock
from identity.client import IdentityClient, KeyUse
from registry.client import RegistryClient, sign_right

CONFIG = Path(__file__).resolve().parent / "config"
RIGHTS_FILE, BOOTSTRAP_FILE = CONFIG / "rights.json", CONFIG / "bootstrap.json"


def load_people(database: Database, seed: int, count: int) -> None:
    """Fill the registers of every department that has none yet."""

    async def fill() -> None:
        for member in DEPARTMENTS:
            connection = await asyncpg.connect(database.url(f"yitong_{department_schema(member)}"))
            try:
                if not await is_loaded(connection, member):
                    await load(connection, member, seed, count)
            finally:
                await connection.close()

    blocking(fill())


def enrol_keys(home: Home, identity_url: str) -> None:
    """Enrol the signing key of every subsystem, gateway and the registry that is not enrolled yet."""
    blocking(_enrol(home, identity_url))


async def _enrol(home: Home, identity_url: str) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        identity = IdentityClient(identity_url, http, SystemClock())
        enrolled = {key.kid for key in await identity.list_keys()}
        missing = {name: owner for name, owner in key_owners(home.instance).items() if home.key(name).kid not in enrolled}
        if not missing:
            return
        token = await _registrar(home, identity)
        for name, owner in missing.items():
            await identity.enrol_key(token, home.key(name), owner, _use_of(owner))


def _use_of(owner: str) -> KeyUse:
    if "/" in owner:
        return KeyUse.SUBSYSTEM
    return KeyUse.REGISTRY if owner == "registry" else KeyUse.GATEWAY


async def _registrar(home: Home, identity: IdentityClient) -> str:
    return await identity.log_in("registrar", str(home.accounts()["registrar"]["password"]))


def post_rights(home: Home, identity_url: str, registry_url: str) -> None:
    """Sign each access right of the rights file with the provider's and the consumer's key, and register it."""
    blocking(_post(home, identity_url, registry_url))


async def _post(home: Home, identity_url: str, registry_url: str) -> None:
    names = {owner: name for name, owner in key_owners(home.instance).items()}
    async with httpx2.AsyncClient(trust_env=False) as http:
        registry = RegistryClient(registry_url, http)
        token = await _registrar(home, IdentityClient(identity_url, http, SystemClock()))
        for document in load_rights(home.instance):
            provider = home.key(names[document["service"].rpartition("/")[0]])
            consumer = home.key(names[document["consumer"]])
            await registry.register_right(token, document, sign_right(document, provider), sign_right(document, consumer))


def load_rights(instance: str = INSTANCE) -> list[dict[str, Any]]:
    """The right documents of the story, unsigned."""
    rights: list[dict[str, Any]] = json.loads(_of_instance(RIGHTS_FILE, instance))["rights"]
    return rights


def services_of(consumer: str) -> list[str]:
    """The services on which a consumer has a right in the story."""
    rights = load_rights(consumer.partition("/")[0])
    return sorted({document["service"] for document in rights if document["consumer"] == consumer})


def write_bootstrap(home: Home) -> Path:
    """The reviewed bootstrap file as it reads for this instance."""
    path = home.root / "bootstrap.json"
    path.write_text(_of_instance(BOOTSTRAP_FILE, home.instance), encoding="utf-8")
    return path


def _of_instance(path: Path, instance: str) -> str:
    """A file of the production instance, its identifiers in those of another."""
    text = path.read_text(encoding="utf-8")
    return text.replace(f'"{INSTANCE}/', f'"{instance}/').replace(f'"instance": "{INSTANCE}"', f'"instance": "{instance}"')
