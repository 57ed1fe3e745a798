"""The reviewed files: the bootstrap's services are what the departments declare, and the story's rights fit them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.config.services import BOOTSTRAP_FILE, declared_services
from deploy.home import key_owners
from registry.bootstrap import read_bootstrap
from registry.model import Kind, Purpose, Registered, ServiceEntry, Status
from registry.rights import Surroundings, find_faults, parse_right
from tests.registry.town import BANK, CONSUMER, RIGHTS

NOW = 1_790_000_000
ENTRIES = read_bootstrap(BOOTSTRAP_FILE, "CN-YA").entries


def entries(kind: Kind) -> dict[str, Registered]:
    """The file's entries of a kind, by id."""
    return {entry.entity.id: entry for entry in ENTRIES if entry.kind is kind}


def entity(kind: Kind, identifier: str) -> Any:
    """One entity of the file, or None."""
    found = entries(kind).get(identifier)
    return None if found is None else found.entity


def test_the_services_of_the_file_are_what_the_departments_declare() -> None:
    content = json.loads(BOOTSTRAP_FILE.read_text(encoding="utf-8"))
    assert content["services"] == declared_services("CN-YA"), "run python -m deploy.config.services, and review the difference"


@pytest.mark.parametrize("document", RIGHTS, ids=[f"{right['consumer']} on {right['service']}" for right in RIGHTS])
def test_each_right_of_the_story_fits_the_file(document: dict[str, Any]) -> None:
    right, _ = parse_right(document)
    provider = right.service.rpartition("/")[0]
    around = Surroundings(
        service=entity(Kind.SERVICE, right.service),
        consumer=entity(Kind.SUBSYSTEM, right.consumer),
        consumer_member=entity(Kind.MEMBER, right.consumer.rpartition("/")[0]),
        provider=entity(Kind.SUBSYSTEM, provider),
        provider_member=entity(Kind.MEMBER, provider.rpartition("/")[0]),
        purposes={entry.entity.id: entry.entity for entry in ENTRIES if isinstance(entry.entity, Purpose)},
        now=NOW,
    )
    assert find_faults(document, right, around) == ()
    assert {right.consumer, provider} <= set(key_owners().values()), "somebody must be able to sign it"


def test_the_bank_asks_for_facts_with_consent_and_nothing_else() -> None:
    of_bank = [parse_right(document)[0] for document in RIGHTS if document["consumer"] == BANK]
    assert of_bank
    assert all(right.by_consent and not right.items for right in of_bank)
    assert entity(Kind.MEMBER, "CN-YA/COM/anju-bank").restricted


@pytest.mark.invariant("I-33")
def test_a_third_persons_number_is_never_in_full_and_never_beside_a_full_date() -> None:
    for document in RIGHTS:
        third = {"representative_id", "co_owners", "members"} & document["items"].keys()
        assert {document["items"][name] for name in third} <= {"masked"}
    licences = [right for right in RIGHTS if right["service"].endswith("/business-licence")]
    assert licences
    assert all("birth_date" not in right["items"] for right in licences)


def test_ethnicity_is_given_to_nobody() -> None:
    """Its masked form is the word that it is hidden."""
    assert all(document["items"].get("ethnicity", "masked") == "masked" for document in RIGHTS)
    services = [entry.entity for entry in ENTRIES if isinstance(entry.entity, ServiceEntry)]
    masks = {service.items["ethnicity"].mask for service in services if "ethnicity" in service.items}
    assert masks == {"hide"}


def test_a_citation_that_nobody_has_checked_says_so() -> None:
    statutes = [document["legal_basis"] for document in RIGHTS if document["legal_basis"] != "consent"]
    assert len(statutes) == 8
    assert all(text.endswith("（条文待核实）") for text in statutes)
    assert all(document["conditions"]["officer_required"] and document["conditions"]["case_required"] for document in RIGHTS)


def test_everything_in_the_file_is_active_and_belongs_to_something() -> None:
    for entry in ENTRIES:
        assert entry.entity.status is Status.ACTIVE
    for system in entries(Kind.SUBSYSTEM):
        assert system.rpartition("/")[0] in entries(Kind.MEMBER)
    assert CONSUMER in entries(Kind.SUBSYSTEM)
