"""What public security has in its registers about the made-up district."""

from __future__ import annotations

from collections.abc import Iterator

from departments.people.shapes import Entry, Household, Person


def household_rows(household: Household) -> Iterator[Entry]:
    """Everybody's identity, also of the dead; the household of those who live."""
    living = [person for person in household.members if person.deceased_on is None]
    members = [{"name": person.name, "relation": person.relation} for person in living]
    for person in household.members:
        yield "resident-identity", _identity(person, household)
    for person in living:
        yield (
            "household",
            {
                "subject": person.id,
                "household_number": household.number,
                "head_name": household.members[0].name,
                "relation_to_head": person.relation,
                "members": members,
                "registered_address": household.registered_address,
                "registered_on": household.registered_on,
                "registered_here": household.registered_here,
            },
        )


def _identity(person: Person, household: Household) -> dict[str, object]:
    return {
        "subject": person.id,
        "id_number": person.id,
        "name": person.name,
        "gender": person.gender,
        "ethnicity": person.ethnicity,
        "birth_date": person.birth_date,
        "address": household.registered_address,
        "id_valid_until": person.id_valid_until,
        "registered_here": household.registered_here,
        "deceased_on": person.deceased_on,
    }
