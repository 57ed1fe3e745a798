"""From a form to what is registered: the checks that no form can make by itself."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from exchange.identifiers import RESERVED_SERVICES, appearance, parse_member_id, parse_service_id, parse_subsystem_id
from exchange.problem import Problem
from registry.model import Entity, Kind, Member, ServiceEntry, SharingClass, Status, parse_entity

PUBLIC_CLASS = "GOV"
_RESERVED = frozenset(map(appearance, RESERVED_SERVICES))


def entity_of(kind: Kind, form: BaseModel, instance: str) -> Entity:
    """The active entity of a form. Raises `malformed-request` for an identifier or terms that cannot be."""
    try:
        entity = parse_entity(kind, {**form.model_dump(), "status": Status.ACTIVE.value})
    except ValueError as error:
        raise Problem("malformed-request", str(error)) from None
    parse = {Kind.MEMBER: parse_member_id, Kind.SUBSYSTEM: parse_subsystem_id, Kind.SERVICE: parse_service_id}.get(kind)
    if parse is not None and (str(parse(entity.id)) != entity.id or not entity.id.startswith(f"{instance}/")):
        raise Problem("malformed-request", f"the identifier is not in its plain form, or not of {instance}")
    if kind is Kind.SERVICE and appearance(entity.id.rpartition("/")[2]) in _RESERVED:
        raise Problem("malformed-request", "this service code is X-Road's own, or looks like one of those")
    if isinstance(entity, Member) and not entity.restricted and parse_member_id(entity.id).member_class != PUBLIC_CLASS:
        raise Problem("malformed-request", f"a member of another class than {PUBLIC_CLASS} is restricted")
    if isinstance(entity, ServiceEntry) and entity.sharing_class is not SharingClass.UNCONDITIONAL and not entity.sharing_terms:
        raise Problem("malformed-request", "a data set that is not shared freely says on which conditions, or why not at all")
    return entity


def require_unlike(identifiers: Iterable[str], registered: Iterable[str] = ()) -> None:
    """Raise `conflict` if one of the identifiers looks like another of them, or like one that is registered."""
    seen = {appearance(identifier): identifier for identifier in registered}
    for identifier in identifiers:
        twin = seen.setdefault(appearance(identifier), identifier)
        if twin != identifier:
            raise Problem("conflict", f"{identifier} can be taken for {twin}")
