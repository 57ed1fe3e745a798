"""An adapter's process: a provider whose rows come from an existing system, by one declaration file."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from departments.adapter import Adapter
from departments.adapter_config import AdapterSettings
from departments.adapting.back_end import BackEndSystem
from departments.adapting.model import Declaration
from departments.adapting.reading import Allowances, load_declaration
from departments.registers import PostgresRegisters
from departments.running import Running, ServedRegisters
from departments.service_form import MEMBER_CLASS
from exchange.address import AddressRules
from exchange.identifiers import parse_service_id
from exchange.log import configure_logging, get_logger
from exchange.subjects import request_subject
from exchange.web import serve

log = get_logger(__name__)


def build(settings: AdapterSettings) -> FastAPI:
    """Compose the process. Raises ValueError with every fault of a declaration that is wrong, or of another member."""
    declaration = _declared(settings)
    if settings.adapter_schema_version is not None:
        declaration = declaration.at_version(settings.adapter_schema_version)
    rules = AddressRules(declaration.back_end.pins, settings.adapter_allow_loopback, settings.denied)
    # Secrets are read before anything is opened: a process that lacks one does not begin.
    back_end = BackEndSystem(declaration.back_end, rules, connections=settings.back_end_connections)

    async def open_adapter(records: PostgresRegisters, metrics: CollectorRegistry, stack: AsyncExitStack) -> ServedRegisters:
        stack.push_async_callback(back_end.aclose)
        return Adapter(declaration, back_end, records, metrics)

    app = Running(settings, declaration.data_sets, _subjects(settings.instance, declaration), open_adapter).app()

    @app.get("/health/back-end", include_in_schema=False)
    async def look_at_back_end() -> dict[str, object]:
        return {"reachable": await back_end.is_reachable(), **back_end.state}

    return app


def _declared(settings: AdapterSettings) -> Declaration:
    allowed = Allowances(http=settings.adapter_allow_http, loopback=settings.adapter_allow_loopback)
    loaded = load_declaration(settings.declaration_file, allowed)
    if isinstance(loaded, Declaration):
        if loaded.member == settings.department:
            return loaded
        raise ValueError(f"{settings.declaration_file.name} is a declaration of {loaded.member}, not {settings.department}")
    raise ValueError("\n".join(map(str, loaded)))


def _subjects(instance: str, declaration: Declaration) -> list[str]:
    """Its own services' subjects, not all of the member's: a member may run an adapter for each of its systems."""
    prefix = f"{instance}/{MEMBER_CLASS}/{declaration.member}/{declaration.subsystem}"
    return [request_subject(parse_service_id(f"{prefix}/{data_set.service}")) for data_set in declaration.data_sets]


def main() -> None:
    """`python -m departments.adapter_app`, configured by YITONG_… variables."""
    settings = AdapterSettings()  # type: ignore[call-arg]  # the fields come from the environment
    configure_logging(settings.department, settings.log_level)
    try:
        app = build(settings)
    except (OSError, ValueError) as error:
        log.error("adapter-not-started", reason=str(error))  # noqa: TRY400 - the sentence is for the operator, a stack is not
        sys.exit(1)
    serve(app, host=settings.host, port=settings.port)


if __name__ == "__main__":
    main()
