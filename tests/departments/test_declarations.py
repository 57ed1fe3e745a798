"""The catalogue of the departments: what it must hold, and what would make it unsafe."""

from __future__ import annotations

from dataclasses import replace

import pytest

from departments.declarations import DEPARTMENTS
from departments.joint_masks import (
    FLOOR,
    THIRD_PERSON_CLUES,
    Clue,
    Knowledge,
    Trait,
    breaches,
    candidates,
    learnt,
)
from departments.mask import IdProfile
from departments.model import Classification, DataItem, Fact, MaskRule, SubjectKind
from exchange.identifiers import person_check_digit

DATA_SETS = {data_set.service: data_set for data_sets in DEPARTMENTS.values() for data_set in data_sets}
EXPECTED = {
    "resident-identity": "id_number name gender ethnicity birth_date address id_valid_until",
    "household": "household_number head_name relation_to_head members registered_address registered_on",
    "tax-status": "credit_rating rated_year arrears_amount last_filing_on",
    "deed-tax": "certificate_number property_unit taxable_amount tax_paid paid_on",
    "income-tax": "months payer_name",
    "insurance-status": "insured_kinds employer_name insured_since status account",
    "contributions": "months base",
    "business-licence": "uscc name type legal_representative representative_id capital established_on scope status address",
    "ownership": "certificate_number property_unit location area share acquired_on co_owners",
    "encumbrance": "mortgages seizures",
}
# Items with a rule for names, numbers or birthdays that speak of the subject itself or of a firm.
OF_THE_SUBJECT = {
    ("resident-identity", "id_number"), ("resident-identity", "name"), ("resident-identity", "birth_date"),
    ("income-tax", "payer_name"),
}  # fmt: skip
ALL_MASKED = {service: {item.name: "masked" for item in data_set.items} for service, data_set in DATA_SETS.items()}


def test_the_departments_declare_their_data_sets_and_items() -> None:
    assert {service: " ".join(item.name for item in data_set.items) for service, data_set in DATA_SETS.items()} == EXPECTED
    assert all(data_set.member == member for member, data_sets in DEPARTMENTS.items() for data_set in data_sets)
    enterprises = {service for service, data_set in DATA_SETS.items() if data_set.subject_kind is SubjectKind.ENTERPRISE}
    assert enterprises == {"tax-status", "business-licence"}


def test_an_item_with_the_longest_lists_takes_a_range() -> None:
    ranged = {(service, item.name) for service, data_set in DATA_SETS.items() for item in data_set.items if item.ranged}
    assert ranged == {("income-tax", "months"), ("contributions", "months")}


def test_every_source_is_a_department() -> None:
    assert {item.source for data_set in DATA_SETS.values() for item in data_set.items} <= set(DEPARTMENTS)


def test_a_list_by_month_with_a_mask_that_keeps_entries_is_refused() -> None:
    with pytest.raises(ValueError, match="by a number"):
        DataItem("months", "月", "Months", Classification.SENSITIVE, MaskRule.NAMES, "tax", ranged=True)


def test_a_name_that_is_declared_twice_is_refused() -> None:
    data_set = DATA_SETS["deed-tax"]
    with pytest.raises(ValueError, match="twice"):
        replace(data_set, items=(*data_set.items, data_set.items[0]))


def test_a_parameter_without_a_list_of_arguments_is_refused() -> None:
    with pytest.raises(ValueError, match="come together"):
        Fact("f", "事实", "Fact", "n", (), (), lambda *_: True)


def test_columns_are_those_of_the_permitted_items_and_facts_and_no_others() -> None:
    household = DATA_SETS["resident-identity"]
    assert household.columns_for(["name"], ["is_adult"]) == ("birth_date", "name")
    assert household.columns_for([], ["id_is_valid"]) == ("deceased_on", "id_valid_until")
    assert household.columns_for([], []) == ()
    with pytest.raises(KeyError):
        household.columns_for(["deceased_on"], [])  # a column that only facts need is no item
    with pytest.raises(KeyError):
        household.columns_for([], ["is_rich"])


@pytest.mark.invariant("I-33")
def test_all_masks_of_the_catalogue_together_leave_ten_thousand_numbers_for_every_third_person() -> None:
    assert breaches(ALL_MASKED, id_profile=IdProfile.STRICT) == {}
    remaining = {person: candidates(known) for person, known in learnt(ALL_MASKED).items()}
    assert set(remaining) == {"representative", "head", "member", "co-owner"}
    assert min(remaining.values()) >= FLOOR


@pytest.mark.invariant("I-33")
def test_the_usual_profile_would_break_the_floor_for_a_representative() -> None:
    assert set(breaches(ALL_MASKED, id_profile=IdProfile.USUAL)) == {"representative"}


@pytest.mark.invariant("I-33")
def test_every_item_with_a_personal_mask_says_whether_it_speaks_of_somebody_else() -> None:
    personal = {MaskRule.NAME, MaskRule.NAMES, MaskRule.ID, MaskRule.YEAR}
    found = {(service, item.name) for service, data_set in DATA_SETS.items() for item in data_set.items if item.mask in personal}
    assert found == OF_THE_SUBJECT | (set(THIRD_PERSON_CLUES) - {("household", "relation_to_head")})


@pytest.mark.invariant("I-33")
@pytest.mark.parametrize(
    ("known", "left"),
    [
        (Knowledge(id_number=IdProfile.STRICT, birth_date=True), 8),
        (Knowledge(id_number=IdProfile.USUAL, birth_date=True), 1),
        (Knowledge(birth_date=True), 999),
        (Knowledge(birth_date=True, gender=True), 499),
        (Knowledge(id_in_full=True), 1),
    ],
)
def test_a_number_beside_a_birthday_is_as_good_as_told(known: Knowledge, left: int) -> None:
    assert candidates(known) == left < FLOOR


@pytest.mark.invariant("I-33")
def test_a_birth_year_beside_a_strictly_masked_number_breaks_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the enumerator is for: an item that looks harmless by itself."""
    clues = {**THIRD_PERSON_CLUES, ("business-licence", "established_on"): (Clue("representative", Trait.BIRTH_DATE),)}
    monkeypatch.setattr("departments.joint_masks.THIRD_PERSON_CLUES", clues)
    assert set(breaches(ALL_MASKED)) == {"representative"}


@pytest.mark.invariant("I-33")
def test_a_number_that_is_granted_in_full_is_the_reviewers_business() -> None:
    assert breaches({"business-licence": {"representative_id": "full"}}) == {}


@pytest.mark.invariant("I-33")
def test_counting_by_remainders_agrees_with_trying_every_number() -> None:
    """One year of birth, the last two characters shown: try all days and order numbers of a region."""
    counts: dict[str, int] = {}
    for month in range(1, 13):
        for day in range(1, 29):  # 336 days are enough to compare, and quick
            for order in range(7, 1000, 10):
                first = f"3415031990{month:02d}{day:02d}{order:03d}"
                tail = first[-1] + person_check_digit(first)
                counts[tail] = counts.get(tail, 0) + 1
    known = candidates(Knowledge(id_number=IdProfile.STRICT, birth_year=True))
    assert len(counts) == 11
    assert min(counts.values()) <= known <= max(counts.values()) * 365 // 336 + 30
