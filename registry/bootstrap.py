"""The first state of a new registry: one reviewed file, loaded once, and recorded in the log as it was loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from exchange.canonical import parse_json
from exchange.problem import Problem
from registry import forms
from registry.catalogue.forms import parse_catalogue
from registry.catalogue.validate import find_faults
from registry.entities import entity_of, require_unlike
from registry.model import Kind, Registered, ServiceEntry

MAX_FILE_BYTES = 1_048_576
MAX_ENTRIES = 1000


class BootstrapForm(BaseModel):
    """初始登记文件. What the file holds; each list in the form of its endpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    v: Literal[1]
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    members: Annotated[list[forms.MemberForm], Field(max_length=MAX_ENTRIES)]
    subsystems: Annotated[list[forms.SubsystemForm], Field(max_length=MAX_ENTRIES)]
    gateways: Annotated[list[forms.GatewayForm], Field(max_length=MAX_ENTRIES)]
    purposes: Annotated[list[forms.PurposeForm], Field(max_length=MAX_ENTRIES)]
    services: Annotated[list[forms.ServiceForm], Field(max_length=MAX_ENTRIES)]
    catalogue: Annotated[dict[str, dict[str, Any]], Field(max_length=MAX_ENTRIES)] = {}


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """初始登记. The file's bytes, its entries, parents before what belongs to them, and catalogue entries by service."""

    raw: bytes
    entries: Sequence[Registered]
    catalogue: Mapping[str, Mapping[str, Any]]


def read_bootstrap(path: Path, instance: str) -> Bootstrap:
    """Read the file.

    Raises ValueError, naming the places, for a file that is not of the form or of another instance.
    """
    raw = path.read_bytes()
    try:
        form = BootstrapForm.model_validate(parse_json(raw, max_bytes=MAX_FILE_BYTES))
        if form.instance != instance:
            raise ValueError(f"the bootstrap file is for instance {form.instance}")
        listed = (
            (Kind.MEMBER, form.members),
            (Kind.SUBSYSTEM, form.subsystems),
            (Kind.GATEWAY, form.gateways),
            (Kind.PURPOSE, form.purposes),
            (Kind.SERVICE, form.services),
        )
        for _, entries in listed:
            require_unlike(entry.id for entry in entries)
        found = [Registered(kind, entity_of(kind, entry, instance), 1) for kind, entries in listed for entry in entries]
        _require_catalogue(form.catalogue, found)
        return Bootstrap(raw, found, form.catalogue)
    except ValidationError as error:
        places = sorted({".".join(map(str, item["loc"])) for item in error.errors()})
        raise ValueError(f"the bootstrap file is wrong at {', '.join(places[:10])}") from None
    except Problem as problem:
        raise ValueError(f"the bootstrap file is refused: {problem.detail}") from None


def _require_catalogue(catalogue: Mapping[str, Mapping[str, Any]], entries: Sequence[Registered]) -> None:
    """Raise ValueError or Problem unless each catalogue entry belongs to a data set of the file and has no fault."""
    members = {found.entity.id.rpartition("/")[2] for found in entries if found.kind is Kind.MEMBER}
    services = {found.entity.id: found.entity for found in entries if isinstance(found.entity, ServiceEntry)}
    for identifier, value in catalogue.items():
        service = services.get(identifier)
        if service is None:
            raise ValueError("the bootstrap file has a catalogue entry for a service that it has not")
        if faults := find_faults(parse_catalogue(value), service, members):
            raise ValueError(f"the catalogue entry of {identifier} has faults: {'; '.join(faults[:10])}")
