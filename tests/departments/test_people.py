"""The made-up district: the same every time, right in every number, and of one mind across the registers."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from datetime import date
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import luhn
from stdnum.cn import uscc

from departments.declarations import DEPARTMENTS
from departments.loading import rows_for
from departments.people.casting import Cast, cast
from departments.people.dates import REFERENCE_ON
from departments.people.firms import Firms
from departments.people.identity_numbers import CELLS, Role, birth_date, compose_person_id, person_id
from departments.people.places import ELSEWHERE, place
from departments.people.population import MINIMUM, Population, generate
from departments.people.scenes import SCENES
from departments.people.shapes import Household, Person
from exchange.identifiers import parse_enterprise_id, parse_person_id

SEED, COUNT = 7, 1_000
Registers = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def households() -> list[Household]:
    return list(generate(SEED, COUNT))


@pytest.fixture(scope="module")
def people(households: list[Household]) -> list[Person]:
    return [person for household in households for person in household.members]


@pytest.fixture(scope="module")
def registers() -> Registers:
    """Give service to subject to row; a subject that occurs twice in one register fails here."""
    found: Registers = defaultdict(dict)
    for member in DEPARTMENTS:
        for service, row in rows_for(member, SEED, COUNT):
            subject = str(row["subject"])
            assert subject not in found[service]
            found[service][subject] = row
    return found


@pytest.fixture(scope="module")
def roles() -> Cast:
    return cast(SEED, COUNT)


def test_the_same_seed_makes_the_same_district(households: list[Household]) -> None:
    assert list(generate(SEED, COUNT)) == households
    assert list(generate(SEED + 1, COUNT)) != households


def test_a_household_needs_no_other_to_be_made(households: list[Household]) -> None:
    alone = Population(SEED, COUNT)
    for household in reversed(households[:-1]):
        assert alone.household(household.index) == household


def test_a_population_has_exactly_as_many_people_as_asked_for() -> None:
    for count in (MINIMUM, 201, 333, 999):
        assert sum(len(household.members) for household in generate(3, count)) == count
    with pytest.raises(ValueError, match="at least"):
        Population(3, MINIMUM - 1)
    with pytest.raises(ValueError, match="not older"):
        Population(3, MINIMUM, date(2020, 1, 1))


def test_a_later_day_adds_months_and_changes_nobody(households: list[Household]) -> None:
    later = list(generate(SEED, COUNT, date(2026, 11, 22)))
    assert [[p.id for p in h.members] for h in later] == [[p.id for p in h.members] for h in households]
    last = [h.members[0].employment.months[-1] for h in (households[0], later[0]) if h.members[0].employment]
    assert last == ["2026-02", "2026-10"]
    known = {p.id: dict(p.employment.tax_fen()) for h in households for p in h.members if p.employment}
    for person in (person for household in later[len(SCENES) :] for person in household.members):
        for month, tax in person.employment.tax_fen() if person.employment else ():
            assert known[person.id].get(month, tax) == tax


def test_every_id_number_is_right_by_the_standards_own_formula(people: list[Person]) -> None:
    """ISO 7064 MOD 11-2: the digits, weighted by powers of two, leave 1; a different way than the generator's table."""
    for person in people:
        digits = [10 if digit == "X" else int(digit) for digit in person.id]
        assert sum(digit * pow(2, 17 - place, 11) for place, digit in enumerate(digits)) % 11 == 1
        assert person.id[6:14] == f"{person.birth_date:%Y%m%d}"
        assert int(person.id[16]) % 2 == (person.gender == "男")
        assert parse_person_id(person.id) == person.id


def test_every_credit_code_is_right_by_both_of_its_standards(registers: Registers) -> None:
    weights = (3, 7, 9, 10, 5, 8, 4, 2)
    for code in registers["business-licence"]:
        assert uscc.is_valid(code)
        assert parse_enterprise_id(code) == code
        organisation = sum(weight * int(letter, 36) for weight, letter in zip(weights, code[8:16], strict=True))
        assert code[16] == {10: "X", 11: "0"}.get(11 - organisation % 11, str(11 - organisation % 11))


def test_no_bank_account_can_be_a_real_one(people: list[Person]) -> None:
    assert all(len(person.account) == 19 and not luhn.is_valid(person.account) for person in people)


@settings(max_examples=25)
@given(seed=st.integers(-(2**70), 2**70), role=st.sampled_from(Role), position=st.integers(0, CELLS - 1))
def test_numbers_are_given_once_though_nobody_keeps_a_list(seed: int, role: Role, position: int) -> None:
    """Two households of one block never share a birthday's cell; those that do, in other blocks, have other order numbers."""
    block = {birth_date(seed, role, slot).toordinal() for slot in range(position, min(position + 300, CELLS))}
    assert len(block) == min(300, CELLS - position)
    numbers = set()
    for slot in range(position, 83 * CELLS, CELLS):
        born = birth_date(seed, role, slot)
        numbers.add(person_id(seed, role, slot, born, male=True, region="341503"))
    assert len(numbers) == 83


def test_people_have_numbers_of_their_own_and_flats_places_of_their_own() -> None:
    numbers = [person.id for household in generate(23, 8_000) for person in household.members]
    assert len(set(numbers)) == 8_000
    places = [place(23, number) for number in range(8_000)]
    assert len({at.address for at in places}) == len({at.unit for at in places}) == 8_000
    assert all(len(at.unit) == 28 for at in places)


def test_two_thousand_firms_have_two_thousand_names_and_codes() -> None:
    firms = Firms(23, 2_000, REFERENCE_ON)
    made = [firms.at(index) for index in range(2_000)]
    assert len({firm.name for firm in made}) == len({firm.id for firm in made}) == 2_000


def test_a_million_people_are_a_stream_and_not_a_list() -> None:
    stream = generate(5, 1_000_000)
    tracemalloc.start()
    try:
        for _household in islice(stream, 200):
            pass
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        for _household in islice(stream, 400):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 1_000_000  # some firms more, in a cache of fixed size; a list of 400 households would be 2 MB


def test_the_last_of_more_than_a_million_people_can_be_made_at_once() -> None:
    household = Population(5, 1_200_000).household(590_000)
    assert all(parse_person_id(person.id) for person in household.members)
    with pytest.raises(ValueError, match="households"):
        Population(5, 1_200_000).household(700_000)


def test_who_owns_a_flat_lives_in_a_household_has_paid_deed_tax_and_works_for_a_licensed_firm(registers: Registers) -> None:
    licences = {row["name"]: row for row in registers["business-licence"].values()}
    assert len(registers["ownership"]) > 150
    for subject, flat in registers["ownership"].items():
        assert subject in registers["household"]
        tax = registers["deed-tax"][subject]
        assert tax["property_unit"] == flat["property_unit"]
        assert tax["paid_on"] < flat["acquired_on"]
        assert registers["contributions"][subject]["months"]
        employer = licences[registers["insurance-status"][subject]["employer_name"]]
        assert employer["status"] == "存续"
        assert employer["established_on"] <= registers["insurance-status"][subject]["insured_since"].replace(day=28)
        assert subject in registers["encumbrance"]


def test_registers_name_the_same_people_by_the_same_name(registers: Registers) -> None:
    residents = registers["resident-identity"]
    for service in ("household", "deed-tax", "income-tax", "insurance-status", "contributions", "ownership", "encumbrance"):
        assert set(registers[service]) <= set(residents)
    for licence in registers["business-licence"].values():
        assert residents[licence["representative_id"]]["name"] == licence["legal_representative"]
    for subject, row in registers["household"].items():
        assert {"name": residents[subject]["name"], "relation": row["relation_to_head"]} in row["members"]
    for row in registers["ownership"].values():
        assert (row["co_owners"] == []) == (row["share"] == "单独所有")
    assert set(registers["tax-status"]) == set(registers["business-licence"])


def test_families_are_possible(households: list[Household]) -> None:
    for household in households:
        head = household.members[0]
        assert head.relation == "户主"
        for person in household.members[1:]:
            years = (person.birth_date - head.birth_date).days / 365.25
            low, high = {"子": (16, 40), "女": (16, 40), "父亲": (-40, -16), "母亲": (-40, -16)}.get(person.relation, (-10, 10))
            assert low < years < high
        assert max(person.birth_date for person in household.members) < REFERENCE_ON
        children = sorted(p.birth_date for p in household.members if p.relation in "子女")
        assert all((later - earlier).days > 280 for earlier, later in pairwise(children))


def test_a_firm_has_a_grown_representative_of_its_own(registers: Registers) -> None:
    ids = [row["representative_id"] for row in registers["business-licence"].values()]
    assert len(set(ids)) == len(ids)
    assert all(int(number[6:10]) <= 2005 for number in ids)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 42, 2**63, -5])
@pytest.mark.parametrize("count", [MINIMUM, 5_000])
def test_every_edge_case_is_there_whatever_the_seed_and_the_size(seed: int, count: int) -> None:
    roles = cast(seed, count)
    assert roles.ends_in_x.id.endswith("X")
    assert parse_person_id(roles.ends_in_x.id[:17] + "x") == roles.ends_in_x.id
    one, other = roles.same_name
    assert one.name == other.name
    assert one.id != other.id
    assert len(roles.four_characters.name) == 4
    assert "·" in roles.dotted_name.name
    assert roles.deceased.deceased_on is not None
    assert roles.minor.birth_date.year > 2012
    assert (roles.guardian.relation, roles.minor.relation) == ("户主", "子")
    assert parse_person_id(roles.nobody)
    assert parse_enterprise_id(roles.no_firm)
    assert roles.buying_firm.is_active
    assert roles.firm_in_arrears.arrears_fen > 0
    assert roles.abnormal_firm.abnormal_since is not None
    assert not roles.deregistered_firm.is_active
    assert roles.expired_card.id_valid_until < REFERENCE_ON
    members = [person for index in SCENES for person in Population(seed, count).household(index).members]
    assert len({person.id for person in members} | {roles.nobody}) == len(members) + 1


def test_some_region_outside_the_district_makes_any_number_end_in_x() -> None:
    for order in range(498):
        ends = {compose_person_id(county.region, date(1981, 11, 1), order, male=False)[-1] for county in ELSEWHERE}
        assert ends == set("0123456789X")


def test_the_buyer_can_buy(registers: Registers, roles: Cast) -> None:
    buyer, seller = roles.buyer.id, roles.seller.id
    assert buyer in registers["household"]
    assert buyer not in registers["ownership"]
    assert registers["deed-tax"][buyer]["property_unit"] == roles.transferred_unit
    assert registers["deed-tax"][buyer]["paid_on"] is not None
    assert len(registers["contributions"][buyer]["months"]) >= 24
    assert registers["ownership"][seller]["property_unit"] == roles.transferred_unit
    assert registers["encumbrance"][seller]["seizures"] == registers["encumbrance"][seller]["mortgages"] == []


def test_those_for_whom_a_transfer_must_stop_are_there(registers: Registers, roles: Cast) -> None:
    assert registers["encumbrance"][roles.seized_seller.id]["seized_until"] > date(2028, 1, 1)
    assert len(registers["encumbrance"][roles.mortgagor.id]["mortgages"]) == 1
    assert registers["ownership"][roles.mortgagor.id]["co_owners"] == [{"name": roles.mortgagor_spouse.name, "share": "共同共有"}]
    assert registers["deed-tax"][roles.indebted_buyer.id]["paid_on"] is None
    assert 12 <= len(registers["contributions"][roles.indebted_buyer.id]["months"]) < 24
    assert registers["tax-status"][roles.firm_in_arrears.id]["arrears_amount"] > 0
    assert not registers["resident-identity"][roles.registered_elsewhere.id]["registered_here"]


def test_the_company_that_buys_is_sound_and_its_representative_is_found(registers: Registers, roles: Cast) -> None:
    licence = registers["business-licence"][roles.buying_firm.id]
    assert (licence["status"], licence["abnormal_since"]) == ("存续", None)
    assert licence["representative_id"] == roles.representative.id
    assert registers["tax-status"][roles.buying_firm.id]["arrears_amount"] == 0


def test_the_dead_have_an_identity_and_no_household(registers: Registers, roles: Cast, households: list[Household]) -> None:
    assert registers["resident-identity"][roles.deceased.id]["deceased_on"] is not None
    assert roles.deceased.id not in registers["household"]
    head = next(household.members[0] for household in households if roles.deceased in household.members)
    assert registers["household"][head.id]["members"] == [{"name": head.name, "relation": "户主"}]


def test_nobody_stands_in_no_register(registers: Registers, roles: Cast) -> None:
    for rows in registers.values():
        assert roles.nobody not in rows
        assert roles.no_firm not in rows


def test_money_and_areas_are_whole_numbers(registers: Registers) -> None:
    def check(value: Any) -> None:
        assert not isinstance(value, float)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(inner)

    for rows in registers.values():
        for row in rows.values():
            check(row)


def test_a_department_that_is_not_built_in_has_no_rows() -> None:
    with pytest.raises(KeyError):
        next(rows_for("civil-affairs", SEED, COUNT))
