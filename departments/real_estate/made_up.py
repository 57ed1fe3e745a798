"""What the real-estate register has about the made-up district."""

from __future__ import annotations

from collections.abc import Iterator

from departments.people.shapes import Entry, Flat, Household, Mortgage, Person, Seizure


def household_rows(household: Household) -> Iterator[Entry]:
    """Ownership and encumbrance of each owner."""
    if household.flat is None:
        return
    owners = [household.members[position] for position in household.flat.owners]
    for person in owners:
        yield "ownership", _ownership(person, owners, household.flat)
        yield (
            "encumbrance",
            {
                "subject": person.id,
                "mortgages": [_mortgage(mortgage) for mortgage in household.flat.mortgages],
                "seizures": [_seizure(seizure) for seizure in household.flat.seizures],
                "seized_until": max((seizure.until for seizure in household.flat.seizures), default=None),
            },
        )


def _ownership(person: Person, owners: list[Person], flat: Flat) -> dict[str, object]:
    return {
        "subject": person.id,
        "certificate_number": flat.certificate_number,
        "property_unit": flat.unit,
        "location": flat.location,
        "area": flat.area_hundredths,
        "share": "单独所有" if len(owners) == 1 else "共同共有",
        "acquired_on": flat.acquired_on,
        "co_owners": [{"name": other.name, "share": "共同共有"} for other in owners if other is not person],
    }


def _mortgage(mortgage: Mortgage) -> dict[str, object]:
    return {
        "holder": mortgage.holder,
        "amount_fen": mortgage.amount_fen,
        "registered_on": mortgage.registered_on.isoformat(),
    }


def _seizure(seizure: Seizure) -> dict[str, object]:
    return {
        "court": seizure.court,
        "document": seizure.document,
        "since": seizure.since.isoformat(),
        "until": seizure.until.isoformat(),
    }
