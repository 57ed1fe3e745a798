"""Which way a status may move, and what an amendment takes away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exchange.problem import Problem
from registry.change import Change, Verb, amended, keep, moved, narrows
from registry.model import MOVES, Entity, Gateway, Kind, Registered, Status, document, is_allowed_move, parse_entity
from tests.registry.paper import PROVIDER_PART, SERVICE, gateways, members, purposes, service, subsystems

GATEWAY = Registered(Kind.GATEWAY, gateways[0], 1)


def test_the_table_of_moves_is_this() -> None:
    allowed = {(kind, before, after) for kind, moves in MOVES.items() for before, ends in moves.items() for after in ends}
    pausing = set(Kind) - {Kind.RIGHT}
    assert allowed == {
        *((kind, Status.ACTIVE, Status.SUSPENDED) for kind in pausing),
        *((kind, Status.SUSPENDED, Status.ACTIVE) for kind in pausing),
        (Kind.RIGHT, Status.ACTIVE, Status.SUSPENDED),
        (Kind.RIGHT, Status.SUSPENDED, Status.ACTIVE),
        (Kind.RIGHT, Status.ACTIVE, Status.REVOKED),
        (Kind.RIGHT, Status.SUSPENDED, Status.REVOKED),
    }
    assert not any(is_allowed_move(kind, Status.REVOKED, after) for kind in Kind for after in Status)


def test_a_suspended_entry_keeps_its_cause_until_it_is_lifted() -> None:
    suspended = moved(GATEWAY, Verb.SUSPEND, "a cause")
    assert suspended == Registered(Kind.GATEWAY, replace(gateways[0], status=Status.SUSPENDED), 2, "a cause")
    assert moved(suspended, Verb.SUSPEND, "a cause") is None
    assert moved(suspended, Verb.LIFT, None) == Registered(Kind.GATEWAY, gateways[0], 3)
    assert moved(GATEWAY, Verb.LIFT, None) is None
    with pytest.raises(Problem, match="conflict"):
        moved(suspended, Verb.SUSPEND, "another")
    with pytest.raises(Problem, match="conflict"):
        moved(GATEWAY, Verb.REVOKE, "a cause")


def test_an_amendment_keeps_the_status_and_needs_the_revision_that_is_there() -> None:
    suspended = Registered(Kind.GATEWAY, replace(gateways[0], status=Status.SUSPENDED), 4, "a cause")
    other = Gateway("gateway-1", "别名", "Other")
    assert amended(suspended, other, 4) == Registered(Kind.GATEWAY, replace(other, status=Status.SUSPENDED), 5, "a cause")
    for revision in (3, 5):
        with pytest.raises(Problem, match="conflict"):
            amended(suspended, other, revision)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (replace(members[0], name_en="Other"), False),
        (replace(members[0], restricted=True), True),
        (replace(subsystems[0], name_en="Other"), False),
        (replace(service, title_en="Other"), True),
        (replace(service, items={}, schema_version=2), True),
        (replace(purposes[0], name_en="Other"), False),
        (replace(purposes[0], witnessed=True), True),
    ],
)
def test_what_may_take_something_away_raises_the_floor(after: Entity, expected: bool) -> None:
    known: tuple[Entity, ...] = (members[0], subsystems[0], service, purposes[0])
    [before] = [entity for entity in known if type(entity) is type(after)]
    assert narrows(before, after) is expected
    assert not narrows(before, before)


def test_freeing_a_member_takes_nothing_away() -> None:
    assert not narrows(members[2], replace(members[2], restricted=False))


@pytest.mark.parametrize("entity", [members[2], subsystems[0], gateways[0], purposes[0], service], ids=lambda e: type(e).__name__)
def test_an_entity_is_read_back_as_it_was_written(entity: Entity) -> None:
    kinds = {"Member": Kind.MEMBER, "Subsystem": Kind.SUBSYSTEM, "Gateway": Kind.GATEWAY, "Purpose": Kind.PURPOSE}
    kind = kinds.get(type(entity).__name__, Kind.SERVICE)
    assert parse_entity(kind, document(entity)) == entity
    change = Change(Verb.REGISTER, kind, "-", "somebody", 0, body=keep(Registered(kind, entity, 3, None)))
    assert change.kept() == Registered(kind, entity, 3, None)


def test_a_change_knows_the_part_and_the_ground_that_it_is_about() -> None:
    of_service = Change(
        Verb.SUSPEND, Kind.SERVICE, SERVICE, "somebody", 0, cause="x", body=keep(Registered(Kind.SERVICE, service, 2, "x"))
    )
    assert (of_service.part, of_service.ground) == (PROVIDER_PART, ("service-version", f"{SERVICE}@1"))
    of_right = Change(Verb.REVOKE, Kind.RIGHT, "sha256:x", "somebody", 0, cause="x", body={"service": SERVICE})
    assert (of_right.part, of_right.ground) == (PROVIDER_PART, ("right", "sha256:x"))
    assert of_right.narrows
