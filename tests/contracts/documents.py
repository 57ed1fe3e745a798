"""Writes the OpenAPI document of every HTTP component and the AsyncAPI document of the built-in events; a diff is reviewed.

`python -m tests.contracts.documents`
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from audit.app import document_app as audit_app
from departments.running import provider_app
from deploy.config.services import BOOTSTRAP_FILE
from deploy.home import INSTANCE
from exchange.clock import SystemClock
from exchange.keys import SigningKey
from gateway import outway_app
from gateway.app import control_app
from gateway.config import OutwaySettings
from gateway.data_door_document import data_door_paths
from gateway.delivery.app import control_app as deliverer_app
from identity import app as identity_app
from identity.config import Settings as IdentitySettings
from registry import app as registry_app
from registry.bootstrap import read_bootstrap
from registry.catalogue.asyncapi import describe_events
from registry.catalogue.compare import Version
from registry.catalogue.forms import parse_catalogue
from registry.catalogue.model import Words
from registry.config import Settings as RegistrySettings
from registry.model import ServiceEntry
from tests.support.sealing import write_sealing_keys

DIRECTORY = Path(__file__).resolve().parents[2] / "exchange" / "openapi"
EVENTS = DIRECTORY.parent / "asyncapi" / "events.json"
URL = "postgresql://nobody@127.0.0.1:1/nowhere"


def _identity(directory: Path) -> FastAPI:
    accounts = directory / "accounts.json"
    settings = IdentitySettings(
        environment="development",
        database_url=URL,
        signing_key_file=directory / "identity.pem",
        sealing_keys_file=write_sealing_keys(directory),
        ca_directory=directory / "ca",
        oidc_issuer="http://127.0.0.1:1/oidc",
        accounts_file=accounts,
        token_key_file=directory / "issuer.pem",
    )
    return identity_app.build(settings, clock=SystemClock())


def _registry(directory: Path) -> FastAPI:
    key = SigningKey.generate()
    key.save(directory / "registry.pem")
    (directory / "identity.jwk.json").write_text(json.dumps(key.public_jwk), encoding="utf-8")
    (directory / "log.vkey").write_text("log+00000000+AQ==", encoding="utf-8")
    settings = RegistrySettings(
        database_url=URL,
        signing_key_file=directory / "registry.pem",
        sealing_keys_file=write_sealing_keys(directory),
        identity_url="http://127.0.0.1:1",
        identity_key_file=directory / "identity.jwk.json",
        log_origin="log",
        log_vkey_file=directory / "log.vkey",
        oidc_issuer="http://127.0.0.1:1/oidc",
        oidc_jwks_url="http://127.0.0.1:1/oidc/jwks",
    )
    return registry_app.build(settings)


def _outway(directory: Path) -> FastAPI:
    settings = OutwaySettings(
        gateway_urls="http://127.0.0.1:1",
        deliverer_url="http://127.0.0.1:1",
        systems_file=directory / "systems.json",
        registry_url="http://127.0.0.1:1",
        registry_key_file=directory / "registry.jwk.json",
    )
    return outway_app.build(settings)


APPS: Mapping[str, Callable[[Path], FastAPI]] = {
    "identity": _identity,
    "registry": _registry,
    "audit": lambda _: audit_app(),
    "gateway": lambda _: control_app(),
    "outway": _outway,
    "deliverer": lambda _: deliverer_app(),
    "department": lambda _: provider_app("Yitong department"),
}


def document(name: str) -> str:
    """The OpenAPI document of one component, as it is committed."""
    with tempfile.TemporaryDirectory() as directory:
        app = APPS[name](Path(directory))
    made: dict[str, Any] = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    if name == "gateway":
        made["paths"] = {**data_door_paths(), **made["paths"]}
    for verbs in made["paths"].values():
        for operation in verbs.values():
            # FastAPI lists its own 422; here a body of the wrong shape is `malformed-request`, a 400.
            operation["responses"].pop("422", None)
    for schema in ("HTTPValidationError", "ValidationError"):
        made.get("components", {}).get("schemas", {}).pop(schema, None)
    return _written(made)


def events_document() -> str:
    """The AsyncAPI document of every event type of the built-in data sets, as it is committed."""
    return _written(describe_events(built_in(), Words("共享交换事件", "Events of the exchange"), "1"))


def built_in() -> list[Version]:
    """The built-in data sets that have events, with their catalogue entries."""
    first = read_bootstrap(BOOTSTRAP_FILE, INSTANCE)
    services = [found.entity for found in first.entries if isinstance(found.entity, ServiceEntry) and found.entity.events]
    return [Version(service, parse_catalogue(first.catalogue[service.id])) for service in services]


def _written(made: dict[str, Any]) -> str:
    return json.dumps(made, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write all of them."""
    EVENTS.parent.mkdir(exist_ok=True)
    EVENTS.write_text(events_document(), encoding="utf-8")
    DIRECTORY.mkdir(exist_ok=True)
    for name in APPS:
        (DIRECTORY / f"{name}.json").write_text(document(name), encoding="utf-8")


if __name__ == "__main__":
    main()
